"""One connection for each user in a namespace, on whichever node; Redis says who has it.

Each claims it once, when it connects, and takes it from whoever had it, by one script: so Redis's order is what
"newer" means. From then on it is kept: a node asks every few seconds whether its connections still have theirs, and at
once where another says that it took one. A word that was lost, a node that died and a Redis that forgot all heal by
that alone. While Redis is away the newest on each node stays; when it is back, the newest of these.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.commands import STALLED_SECONDS
from server.realtime.cluster.node import PULSE_SECONDS, Body, Node
from server.realtime.cluster.scripts import script
from server.realtime.cluster.wire import Arg
from server.realtime.connection import Connection
from server.realtime.single_session import give_way, may_claim, user_of

if TYPE_CHECKING:
    from server.realtime.namespace import Namespace

log = structlog.get_logger(__name__)

KEEP_SECONDS = 5  # between two looks at each
LIFETIME_SECONDS = 3 * KEEP_SECONDS  # of what a dead node left
MAX_AT_ONCE = 500  # in one script, which nothing else in Redis runs beside

#: Each takes the place of an older one. KEYS a user's place each. ARGV lifetime (ms), Redis's time (µs) after which
#: nobody waits for the answer, then for each its holder, and since when it has been there by Redis's clock; for one
#: that Redis does not know, how long it has been there, below 0, and nothing for one that comes now.
#: Redis's time; and unless it is too late, for each, since when, or 0 where a newer one has it, and whose it was.
CLAIM = script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {string.format('%.0f', now)}
if now > tonumber(ARGV[2]) then return answers end
for i, key in ipairs(KEYS) do
  local holder, since = ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])
  local former, had = unpack(redis.call('HMGET', key, 'holder', 'since'))
  had = tonumber(had or '0')
  if not since then
    since = math.max(now, had + 1)
  elseif former == holder then
    since = had
  elseif since <= 0 then
    since = now + since
  end
  if former and former ~= holder and since <= had then
    answers[i + 1] = {'0', former}
  else
    since = string.format('%.0f', since)
    redis.call('HSET', key, 'holder', holder, 'since', since)
    redis.call('PEXPIRE', key, ARGV[1])
    answers[i + 1] = {since, former or ''}
  end
end
return answers
"""
)

#: KEYS a user's place. ARGV who leaves it.
RELEASE = script(
    """
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
)


@dataclass(slots=True, eq=False)
class _Place:
    """`taken` by this node's clock (µs), and had `since` by Redis's; None while it has not said. `claiming`: it is
    being asked for the first time; `doubted`: and meanwhile somebody said that it was taken."""

    connection: Connection
    taken: float
    since: int | None = None
    claiming: bool = False
    doubted: bool = False


class ClusterSingleSession:
    def __init__(self, namespace: Namespace, node: Node, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._namespace = namespace
        self._node = node
        self._clock = clock
        self._places: dict[str, _Place] = {}  # by user
        self._to_keep: list[_Place] = []
        self._share = 0  # of them at each pulse
        self._ahead = math.inf  # by how much Redis's clock is before this one (µs), or less; unknown at first
        self._taken = f"taken {namespace.path}"
        node.on(self._taken, self._doubt)
        node.pulses.append(self._pulse)
        node.renewals.append(self._renew)

    async def claim(self, connection: Connection) -> None:
        if not may_claim(self._namespace, connection):
            return
        user = user_of(connection)
        former = self._places.get(user)
        place = self._places[user] = _Place(connection, self._now(), claiming=self._node.up)
        # Asked before anything is awaited: in Redis this node's connections come in the order that they have here.
        answer = self._ask([place], fresh=True) if place.claiming else None
        try:
            if former is not None:
                await give_way(self._namespace, former.connection)
            if answer is not None:
                await self._heed([place], await self._node.patient(answer))
        except RedisAway as away:
            log.info("single session without redis", connection=connection.id, reason=str(away))
        finally:
            place.claiming = False
        if place.doubted:
            await self._look(place)

    def release(self, connection: Connection) -> None:
        user = user_of(connection)
        place = self._places.get(user)
        if place is not None and place.connection is connection:
            del self._places[user]
            self._node.commands.run(RELEASE, [self._key(user)], [self._holder(connection)])

    # -- who still has it ---------------------------------------------------------------------------------------

    async def _pulse(self) -> None:
        """Some at each pulse, and those that Redis has never heard of. Raises RedisAway."""
        if not self._to_keep:
            self._to_keep = list(self._places.values())
            self._share = math.ceil(len(self._to_keep) * PULSE_SECONDS / KEEP_SECONDS)
        some, self._to_keep = self._to_keep[: self._share], self._to_keep[self._share :]
        await self._keep([*some, *(each for each in self._places.values() if each.since is None)])

    async def _renew(self) -> None:
        await self._keep(list(self._places.values()))

    async def _doubt(self, body: Body) -> None:
        """Another node says that a user's place was taken. Only Redis is believed: it may be this node's again."""
        place = self._places.get(body["user"])
        if place is None:
            return
        if place.claiming:
            place.doubted = True
        else:
            await self._look(place)

    async def _look(self, place: _Place) -> None:
        try:
            await self._keep([place])
        except RedisAway as away:
            log.info("single session without redis", connection=place.connection.id, reason=str(away))

    async def _keep(self, places: Sequence[_Place]) -> None:
        """Raises RedisAway."""
        kept = list(dict.fromkeys(each for each in places if self._has(each) and not each.claiming))
        for some in (kept[start : start + MAX_AT_ONCE] for start in range(0, len(kept), MAX_AT_ONCE)):
            await self._heed(some, await self._node.patient(self._ask(some)))

    def _has(self, place: _Place) -> bool:
        return self._places.get(user_of(place.connection)) is place

    # -- Redis --------------------------------------------------------------------------------------------------

    def _ask(self, places: Sequence[_Place], *, fresh: bool = False) -> Any:
        """What waits in a Redis that hangs must not count as new when that goes on: it lapses with its answer."""
        arguments: list[Arg] = [LIFETIME_SECONDS * 1000, self._now() + self._ahead + STALLED_SECONDS * 1_000_000]
        for place in places:
            since = int(place.taken - self._now()) if place.since is None else place.since
            arguments += [self._holder(place.connection), "" if fresh else since]
        return self._node.commands.run(CLAIM, [self._key(user_of(each.connection)) for each in places], arguments)

    async def _heed(self, places: Sequence[_Place], answer: Sequence[Any]) -> None:
        now, *answers = answer
        self._ahead = int(now) - self._now()
        for place, (since, former) in zip(places, answers, strict=False):  # none, where it was too late
            place.since = int(since)
            if not place.since:
                if self._has(place):
                    await give_way(self._namespace, place.connection)
            elif former:
                node = former.decode().partition(":")[0]
                if node != self._node.id:
                    await self._node.tell(node, self._taken, {"user": user_of(place.connection)})

    def _now(self) -> float:
        return self._clock() * 1_000_000

    def _holder(self, connection: Connection) -> str:
        return f"{self._node.id}:{connection.id}"

    def _key(self, user: str) -> str:
        return self._node.keys.sole(self._namespace.path, user)
