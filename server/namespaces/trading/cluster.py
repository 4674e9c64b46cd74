"""Channels that all nodes share: Redis numbers each message, keeps it, and tells every node, this one too, in order.

Without Redis each node numbers for its own clients, in epochs of its own and far above what Redis would give, so that
nobody takes one for the other. When Redis is back it is told what it missed, and counts on from there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from redis.exceptions import RedisError

from server.errors import LimitExceeded
from server.namespaces.trading import broker, channels
from server.namespaces.trading.broker import Publication, View
from server.namespaces.trading.catalogue import ChannelClass, Visible
from server.namespaces.trading.channel_scripts import FOLLOW, NEWEST, PUBLISH, VIEW
from server.namespaces.trading.channels import ChannelState, audience, conflation, room, value_of
from server.namespaces.trading.islands import Island, Rooms
from server.namespaces.trading.overview import Overview
from server.namespaces.trading.reach import Reach
from server.namespaces.trading.receipts import LIFETIME_SECONDS, Receipt, Receipts
from server.namespaces.trading.schemas import Since
from server.realtime.cluster import letters
from server.realtime.cluster.address import RedisAway, is_passing
from server.realtime.cluster.complaints import Complaints
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.ordered import LETTERS, Ordered
from server.realtime.cluster.outside import CLAIM_SECONDS, Sighting
from server.realtime.cluster.wire import Arg, promise
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

Following = tuple[str, str, ChannelClass]  # tenant, and a channel or a wildcard class's pattern

LIFETIME_MS = 32 * 86_400_000  # of a channel that nobody uses; longer than any history
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 16 * 1024 * 1024
UNHEARD_SECONDS = 10  # within which a node hears what Redis has numbered, or what it missed is read to it


@dataclass(slots=True, eq=False)
class _Outgoing:
    """`above`: the seq that it was given here, without Redis. `answer` is Redis's, or what it was given here."""

    publication: Publication
    number: int
    texts: Sequence[Arg]
    at: float
    above: int = 0
    answer: asyncio.Future[Receipt] = field(default_factory=promise)

    @property
    def bytes(self) -> int:
        return sum(len(each) for each in self.texts if isinstance(each, bytes))


class ClusterBroker:
    def __init__(
        self,
        rooms: Rooms,
        manager: ClusterFanout,
        namespace: str,
        *,
        following: Callable[[], Iterable[Following]] = tuple,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`following`: what tenants' clients here subscribed to of shared classes."""
        self._manager = manager
        self._following = following
        self._node = manager.node
        self._ordered = Ordered(manager, namespace)
        self._namespace = namespace
        self._base = self._node.keys.key(namespace, "")
        self._most = most
        self._clock = clock
        self._number = 0
        self._waiting: deque[_Outgoing] = deque()  # for Redis
        self._waiting_bytes = 0
        self._recent: deque[_Outgoing] = deque()  # that Redis had a moment ago, should it forget
        self._recent_bytes = 0
        self._unheard: deque[_Outgoing] = deque()
        self._unheard_bytes = 0
        self._flowing = self._node.commands.ready
        self._reach = Reach(rooms, self._node, namespace, self._follow)
        self.counted = self._reach.counted
        self._overview = Overview(self._node, self._base)
        self._island = Island(rooms, self._ordered, most=most, clock=clock)
        self._receipts = Receipts(clock=clock)
        self.counters: Counter[str] = Counter()
        self._complaints = Complaints(log)
        manager.forgets.append(self._again)
        self._node.breaks.append(self._stop)
        self._node.returns.append(self._resume)
        self._node.pulses.append(self._pulse)

    # -- what services use --------------------------------------------------------------------------------------

    async def view(self, tenant: str | None, channel: str, kind: ChannelClass, since: Since | None) -> View:
        if self._node.up:
            epoch, seq = since or ("", 0)
            ask = self._ask(tenant, channel, kind) | {"since": epoch, "seen": seq}
            try:
                answer = await self._node.run(VIEW, [self._base], [orjson.dumps(ask)])
            except RedisAway as away:
                log.info("a channel is seen without redis", reason=str(away))
            else:
                if answer is None:
                    raise _too_many()
                self._with_redis()
                return View(int(answer[0]), answer[1].decode(), bool(answer[2]), list(map(_message, answer[3])))
        return broker.view(self._island.logs, self._island.open(tenant, channel, kind), since)

    async def newest(self, tenant: str | None, kind: ChannelClass) -> list[tuple[str, View]]:
        is_copy = kind.shared and tenant is not None
        ask = self._bounds(kind) | {
            "prefix": room(tenant, ""),
            "head": kind.pattern.head,
            "followed": channels.MAX_FOLLOWED,
            "original": room(None, "") if is_copy else "",
            "followers": kind.pattern.text,
        }
        try:
            answer = await self._node.run(NEWEST, [self._base], [orjson.dumps(ask)])
        except RedisAway:
            return broker.newest(self._island.logs, tenant, kind)
        return [
            (name.decode(), View(int(seq), epoch.decode(), False, list(map(_message, entries))))
            for name, seq, epoch, entries in answer
        ]

    async def states(
        self, tenant: str | None, visible: Visible, after: str = "", limit: int = 100
    ) -> list[ChannelState]:
        try:
            return await self._overview.states(tenant, visible, after, limit)
        except RedisAway:
            return self._island.logs.states(tenant, visible, after, limit)

    async def state(self, tenant: str | None, channel: str) -> ChannelState | None:
        try:
            return await self._overview.state(tenant, channel)
        except RedisAway:
            return self._island.logs.state(tenant, channel)

    async def publish(self, publication: Publication) -> Receipt:
        """Waits for Redis no longer than a second."""
        key = publication.key
        if key is not None and (receipt := self._receipts.get(key)) is not None:
            return receipt
        outgoing = self._outgoing(publication)
        if self._node.up and (self._flowing or publication.kind.conflate_key is not None):
            try:
                return await self._receive(outgoing)
            except RedisAway as away:
                log.info("a message is numbered without redis", reason=str(away))
        self._tell_unheard()
        if not outgoing.answer.done():  # it is volatile
            self._number_here(outgoing, deliver=True)
        return outgoing.answer.result()

    async def _receive(self, outgoing: _Outgoing) -> Receipt:
        receipt: Receipt = await self._node.patient(asyncio.shield(outgoing.answer))
        return receipt

    async def publish_seen(self, publication: Publication, sighting: Sighting) -> None:
        """What each node saw and one publishes. Raises RedisAway, or LimitExceeded."""
        ask = self._ask(publication.tenant, publication.channel, publication.kind) | self._told(0, 0)
        ask |= {"heard": sighting.count, "claim": CLAIM_SECONDS * 1000}
        ask["value"] = value_of(publication.kind, publication.body)
        keys = [self._base, self._base, self._base, self._node.keys.key(self._namespace, "claim", sighting.digest)]
        if await self._node.run(PUBLISH, keys, [orjson.dumps(ask), *_texts(publication)]) is None:
            raise _too_many()

    # -- to Redis -----------------------------------------------------------------------------------------------

    def _outgoing(self, publication: Publication) -> _Outgoing:
        """On its way. What is volatile goes now, or never."""
        self._number += 1
        outgoing = _Outgoing(publication, self._number, _texts(publication), self._clock())
        if publication.kind.conflate_key is not None:
            self._send(outgoing)
            return outgoing
        self._waiting.append(outgoing)
        self._waiting_bytes += outgoing.bytes
        self._unheard.append(outgoing)
        self._unheard_bytes += outgoing.bytes
        self._bound()
        if self._flowing:
            self._flowing = self._send(outgoing)
        return outgoing

    def _bound(self) -> None:
        while len(self._waiting) > MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= self._waiting.popleft().bytes
            self.counters["lost"] += 1
        stale = self._clock() - UNHEARD_SECONDS
        while self._unheard and (
            self._unheard[0].at < stale or len(self._unheard) > MAX_WAITING or self._unheard_bytes > MAX_WAITING_BYTES
        ):
            self._unheard_bytes -= self._unheard.popleft().bytes

    def _send(self, outgoing: _Outgoing) -> bool:
        """Whether it is on its way. What comes behind one that is not waits: numbers may only rise."""
        publication = outgoing.publication
        is_volatile = publication.kind.conflate_key is not None
        ask = self._ask(publication.tenant, publication.channel, publication.kind)
        ask |= self._told(0 if is_volatile else outgoing.number, outgoing.above)
        ask["value"] = value_of(publication.kind, publication.body)
        origin = self._node.keys.origin(self._namespace, self._ordered.origin)
        keys = [self._base, origin, self._receipt(publication), self._base]
        answer = self._node.commands.run(PUBLISH, keys, [orjson.dumps(ask), *outgoing.texts])
        answer.add_done_callback(lambda done: self._answered(outgoing, done))
        return not answer.done()

    def _answered(self, outgoing: _Outgoing, done: asyncio.Future[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, RedisAway) or is_passing(error):
            if is_passing(error):
                self._flowing = False
                self._tell_unheard()
            if outgoing.publication.kind.conflate_key is not None and not outgoing.answer.done():
                self._number_here(outgoing, deliver=True)
            return  # others wait
        if outgoing.publication.kind.conflate_key is None:
            while self._waiting and self._waiting[0].number <= outgoing.number:  # answers come in order
                self._remember(self._waiting.popleft())
        if isinstance(error, RedisError):
            self._complaints.say("redis refused a message of a channel", reason=str(error))
        if outgoing.answer.done():
            return
        answer = None if error is not None else done.result()
        if isinstance(answer, list):
            self._with_redis()
            seq, epoch, subscribers = answer
            receipt = {"seq": int(seq), "epoch": epoch.decode(), "subscribers": int(subscribers)}
            if outgoing.publication.key is not None:
                self._receipts.put(outgoing.publication.key, receipt)
            outgoing.answer.set_result(receipt)
        elif error is None and answer is None:
            outgoing.answer.set_exception(_too_many())
        else:
            self._tell_unheard()

    def _remember(self, outgoing: _Outgoing) -> None:
        self._waiting_bytes -= outgoing.bytes
        self._recent.append(outgoing)
        self._recent_bytes += outgoing.bytes
        stale = self._clock() - UNHEARD_SECONDS
        while self._recent and (
            self._recent[0].at < stale or len(self._recent) > MAX_WAITING or self._recent_bytes > MAX_WAITING_BYTES
        ):
            self._recent_bytes -= self._recent.popleft().bytes

    def _again(self, namespace: str) -> None:
        """Redis forgot: what it had last is sent anew, before the rest. Who heard it does not hear it twice."""
        if namespace == self._namespace:
            self._waiting = self._recent + self._waiting
            self._waiting_bytes += self._recent_bytes
            self._recent, self._recent_bytes = deque(), 0
            if self._flowing:
                self._flow()

    def _stop(self) -> None:
        """The connection broke: what has no answer is told here, and sent again on the next one."""
        self._flowing = False
        self._tell_unheard()

    async def _resume(self) -> None:
        self._flow()

    def _flow(self) -> None:
        self._flowing = all(map(self._send, list(self._waiting)))

    def _ask(self, tenant: str | None, channel: str, kind: ChannelClass) -> dict[str, object]:
        is_copy = kind.shared and tenant is not None
        rooms = audience(tenant, channel, kind)
        return self._bounds(kind) | {
            "id": room(tenant, channel),
            "name": channel,
            "original": room(None, channel) if is_copy else "",
            "rooms": rooms,
            "reached": rooms if kind.wildcard else rooms[:1],
            "followers": kind.wildcard_name or "",
            "shared": kind.shared and not is_copy,
        }

    def _bounds(self, kind: ChannelClass) -> dict[str, object]:
        return {
            "epoch": channels.new_epoch(),
            "most": self._most,
            "tries": channels.EVICTION_TRIES,
            "conflated": kind.conflate_key is not None,
            "count": min(kind.history_count, 1) * channels.MAX_VALUES if kind.conflate_key else kind.history_count,
            "seconds": kind.history_seconds,
            "bytes": channels.MAX_LOG_BYTES,
            "total": channels.MAX_TOTAL_BYTES,
            "idle": channels.COPY_IDLE_SECONDS,
            "lifetime": LIFETIME_MS,
        }

    def _told(self, number: int, above: int) -> dict[str, object]:
        return {
            "wire": self._manager.wire(self._namespace),
            "path": self._namespace,
            "origin": self._ordered.origin,
            "number": number,
            "letters": LETTERS,
            "above": above,
            "receipt": LIFETIME_SECONDS * 1000,
        }

    def _receipt(self, publication: Publication) -> str:
        if publication.key is None:
            return self._base
        return self._node.keys.key(self._namespace, "receipt", orjson.dumps(publication.key).decode())

    # -- without Redis ------------------------------------------------------------------------------------------

    def _with_redis(self) -> None:
        """What was numbered here meanwhile is over."""
        if self._node.up:
            self._island.over()

    def _tell_unheard(self) -> None:
        """All that nobody here has heard yet, in its order."""
        while self._unheard:
            outgoing = self._unheard.popleft()
            self._unheard_bytes -= outgoing.bytes
            is_unheard = self._ordered.take(outgoing.number)
            if is_unheard or not outgoing.answer.done():
                self._number_here(outgoing, deliver=is_unheard)

    def _number_here(self, outgoing: _Outgoing, *, deliver: bool) -> None:
        publication, answer = outgoing.publication, outgoing.answer
        key = publication.key
        receipt = None if key is None else self._receipts.get(key)
        if receipt is None:
            try:
                receipt, above = self._island.publish(publication, deliver=deliver)
            except LimitExceeded as error:
                if not answer.done():
                    answer.set_exception(error)
                return
            outgoing.above = max(outgoing.above, above)
            if key is not None:
                self._receipts.put(key, receipt)
        if not answer.done():
            answer.set_result(receipt)

    async def _pulse(self) -> None:
        if not self._flowing:
            self._flow()
        await self._reach.pulse()

    async def _follow(self) -> None:
        for tenant, channel, kind in self._following():
            await self._node.run(FOLLOW, [self._base], [orjson.dumps(self._ask(tenant, channel, kind))])


def _message(entry: bytes) -> Mapping[str, object]:
    """Of history, where it stands behind its moment."""
    message: Mapping[str, object] = orjson.loads(entry.partition(b" ")[2])
    return message


def _texts(publication: Publication) -> list[Arg]:
    """What goes around the seq, as PUBLISH has it. Raises TypeError for what is not JSON."""
    head = orjson.dumps({"channel": publication.channel})[1:-1] + b',"seq":'
    tail = b"," + orjson.dumps({"timestamp": iso_utc(), **publication.body})[1:]
    conflate = conflation(publication.kind, publication.channel, publication.body)
    key = b"" if conflate is None else orjson.dumps(letters.conflation(publication.event, conflate))
    return [orjson.dumps(publication.event), head, tail, key]


def _too_many() -> LimitExceeded:
    return LimitExceeded("There are too many channels")
