"""Presence across nodes: each node writes its own connections to Redis, where one step says who came and who went.

Without Redis a node knows those who are here. When Redis is back it writes them all, and takes back what was not so.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import structlog

from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node
from server.realtime.cluster.publication import Describe, Publication
from server.realtime.cluster.scripts import Script, script
from server.realtime.cluster.wire import Arg
from server.realtime.connection import Connection
from server.realtime.presence import LEAVE_SECONDS, Change, Entry, Presence

log = structlog.get_logger(__name__)

KEPT_SECONDS = 1800  # what nobody refreshes
REFRESH_SECONDS = 600.0
PUBLISH_SECONDS = 50.0  # between publications of what did not change
ENTRIES_A_TURN = 250  # of one script
MAX_PRESUMED = 10_000

#: A room is three keys: HASH of connections ('c:' their node and user) and of how many each user has ('n:'), ZSET of
#: users by the version at which they came, HASH of notes by connection. Each node has a SET of what it entered.
_VERSIONS = """
local function next_version(key)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local version = string.format('%.0f', math.max(tonumber(redis.call('GET', key) or '0') + 1, now))
  redis.call('SET', key, version, 'EX', 86400)
  return version
end
"""

#: KEYS entered by this node, version, and three of each room. ARGV node, seconds that all is kept, whether what other
#: nodes have stays theirs, then for each entry: which room's keys, room, connection, user, note.
#: For each entry the version at which its user came, '0' where they were there.
ENTER = script(
    _VERSIONS
    + """
local node, kept, yields = ARGV[1], ARGV[2], ARGV[3] == '1'
local versions = {}
for i = 4, #ARGV, 5 do
  local at = tonumber(ARGV[i])
  local connections, users, notes = KEYS[at], KEYS[at + 1], KEYS[at + 2]
  local room, connection, user, note = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local held = redis.call('HGET', connections, 'c:' .. connection)
  local version = '0'
  if not (held and yields and held:sub(1, #node + 1) ~= node .. ' ') then
    redis.call('HSET', connections, 'c:' .. connection, node .. ' ' .. user)
    if not held and redis.call('HINCRBY', connections, 'n:' .. user, 1) == 1 then
      version = next_version(KEYS[2])
      redis.call('ZADD', users, version, user)
    end
    if note ~= '' then redis.call('HSET', notes, connection, note) end
    redis.call('SADD', KEYS[1], connection .. ' ' .. room)
  end
  for j = at, at + 2 do redis.call('EXPIRE', KEYS[j], kept) end
  versions[#versions + 1] = version
end
redis.call('EXPIRE', KEYS[1], kept)
return versions
"""
)

#: Only what this node has: a connection that another node took over is left alone. KEYS entered by this node, version,
#: what says that the node was swept, and three of each room. ARGV node, seconds that it says so (0: the node does it
#: itself), then for each entry: which room's keys, room, connection.
#: For each entry its user and the version at which they went; nothing and '0' where they are still there.
LEAVE = script(
    _VERSIONS
    + """
local node, swept = ARGV[1], ARGV[2]
local gone = {}
for i = 3, #ARGV, 3 do
  local at, room, connection = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local connections, users, notes = KEYS[at], KEYS[at + 1], KEYS[at + 2]
  local held = redis.call('HGET', connections, 'c:' .. connection)
  local user, version = '', '0'
  redis.call('SREM', KEYS[1], connection .. ' ' .. room)
  if held and held:sub(1, #node + 1) == node .. ' ' then
    redis.call('HDEL', connections, 'c:' .. connection)
    redis.call('HDEL', notes, connection)
    if swept ~= '0' then redis.call('SET', KEYS[3], '1', 'EX', swept) end
    local whose = held:sub(#node + 2)
    if redis.call('HINCRBY', connections, 'n:' .. whose, -1) <= 0 then
      redis.call('HDEL', connections, 'n:' .. whose)
      redis.call('ZREM', users, whose)
      user, version = whose, next_version(KEYS[2])
    end
  end
  gone[#gone + 1] = user
  gone[#gone + 1] = version
end
return gone
"""
)

#: A node's entries are to be swept after so many seconds unless it says so again.
#: KEYS nodes by when, what says that the node was swept. ARGV node, seconds, seconds that all is kept.
#: Whether it was swept, and the nodes that are due.
PULSE = script(
    """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], 2 * ARGV[3])
return {redis.call('DEL', KEYS[2]), redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)}
"""
)


class ClusterPresence(Presence):
    def __init__(
        self,
        node: Node,
        namespace: str,
        *,
        describe: Describe | None = None,
        delay: float = LEAVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`describe` says what is published of a room."""
        super().__init__(delay=delay, clock=clock)
        self._node = node
        self._namespace = namespace
        self._publication = None if describe is None else Publication(node, describe, self._read)
        self._behind = False  # Redis may not know what this node does
        self._swept = False  # the others were told that this node's users went
        self._presumed: dict[tuple[str, str], None] = {}  # rooms and users told to have gone, as far as was known here
        self._refresh_at = self._publish_at = -math.inf
        self._closed = False
        node.breaks.append(self._fall_behind)
        node.renewals.append(self._forgotten)
        node.pulses.append(self._pulse)
        node.sweeps.append(self.sweep)

    # -- coming and going ---------------------------------------------------------------------------------------

    async def enter(self, room: str, connection: Connection, note: str = "") -> Change | None:
        was_here = self._is_here(room, connection.user_id)
        entry = self._add(room, connection, note)
        versions = await self._try(lambda: self._enter([entry]))
        if versions is not None:
            return next(self._came([entry], versions[0]), None)
        self._presumed.pop((room, connection.user_id), None)
        return None if was_here else self._change(room, connection.user_id, present=True)

    async def _remove(self, entries: Sequence[Entry]) -> list[Change]:
        last = [entry for entry in entries if self._forget(entry)]
        gone = await self._try(lambda: self._leave(self._node.id, entries))
        if gone is not None:
            return list(self._went(entries, _joined(gone)))
        for entry in last:
            self._presumed[entry.room, entry.user_id] = None
        while len(self._presumed) > MAX_PRESUMED:
            del self._presumed[next(iter(self._presumed))]
        return [self._change(entry.room, entry.user_id, present=False) for entry in last]

    async def users(self, room: str) -> list[str]:
        found = await self._try(lambda: [self._node.commands.call("ZRANGE", self._room(room)[1], 0, -1)])
        return await super().users(room) if found is None else [user.decode() for user in found[0]]

    async def count(self, room: str) -> int:
        found = await self._try(lambda: [self._node.commands.call("ZCARD", self._room(room)[1])])
        return await super().count(room) if found is None else int(found[0])

    async def close(self) -> None:
        """Those who are still here go when they have not come back elsewhere in time: other nodes see to it."""
        self._closed = True
        if self._node.commands.up:
            try:
                await self._say_due(math.ceil(self.delay))
            except RedisAway as away:
                log.info("no farewell of those present", reason=str(away))

    # -- nodes come and go --------------------------------------------------------------------------------------

    async def sweep(self, node: str) -> None:
        """Of a node that is no more. Raises RedisAway."""
        entered = await self._node.call("SMEMBERS", self._entered(node))
        for some in _turns([_entry(each) for each in entered]):
            gone = await self._answers(self._leave(node, some, swept=True))
            for change in self._went(some, _joined(gone)):
                await self.changed(change)
        await self._node.call("ZREM", self._key("due"), node)

    async def _pulse(self) -> None:
        if self._closed:
            return
        swept, due = await self._say_due(KEPT_SECONDS)
        self._swept = self._swept or bool(swept)
        if self._behind or self._swept or self._clock() >= self._refresh_at:
            await self._renew()
        for node in due:
            await self.sweep(node.decode())
        if self._publication is not None and self._clock() >= self._publish_at:
            self._publish_at = self._clock() + PUBLISH_SECONDS
            self._publication.renew(list(self._here))

    async def _say_due(self, seconds: int) -> Any:
        keys = [self._key("due"), self._key("swept", self._node.id)]
        return await self._node.run(PULSE, keys, [self._node.id, seconds, KEPT_SECONDS])

    async def _renew(self) -> None:
        """Makes Redis know what this node does. Raises RedisAway."""
        known = await self._node.call("SMEMBERS", self._entered(self._node.id))
        # All is sent before anything is awaited: what changes meanwhile follows it.
        here = [
            Entry(room, connection, user)
            for room, users in self._here.items()
            for user, connections in users.items()
            for connection in connections
        ]
        surplus = set(map(_entry, known)) - {Entry(each.room, each.connection_id, "") for each in here}
        swept, self._swept = self._swept, False
        presumed, self._presumed = list(self._presumed), {}
        self._behind = False
        self._refresh_at = self._clock() + REFRESH_SECONDS
        left, entered = self._leave(self._node.id, list(surplus)), self._enter(here, yields=True)
        scores = [self._node.commands.call("ZSCORE", self._room(room)[1], user) for room, user in presumed]
        try:
            await self._answers(left)
            came = list(self._came(here, _joined(await self._answers(entered))))
            still = [
                self._change(room, user, present=True)
                for (room, user), score in zip(presumed, await self._answers(scores), strict=True)
                if score is not None
            ]
        except RedisAway:
            self._behind, self._swept = True, swept
            self._presumed = dict.fromkeys(presumed) | self._presumed
            raise
        for change in [*(came if swept else ()), *still]:
            await self.changed(change)

    def _fall_behind(self) -> None:
        self._behind = True

    async def _forgotten(self) -> None:
        self._refresh_at = -math.inf

    # -- Redis --------------------------------------------------------------------------------------------------

    async def _try(self, send: Callable[[], list[asyncio.Future[Any]]]) -> list[Any] | None:
        """None where Redis is away, or knows less than this node: what it says would mislead."""
        if self._node.commands.up and not self._behind:
            try:
                return await self._answers(send())
            except RedisAway:
                pass
        self._behind = True
        return None

    async def _answers(self, futures: list[asyncio.Future[Any]]) -> list[Any]:
        return list(await self._node.patient(asyncio.gather(*futures))) if futures else []

    def _enter(self, entries: Sequence[Entry], *, yields: bool = False) -> list[asyncio.Future[Any]]:
        def fields(entry: Entry) -> list[Arg]:
            note = self._here[entry.room][entry.user_id][entry.connection_id]
            return [entry.room, entry.connection_id, entry.user_id, note]

        keys = [self._entered(self._node.id), self._key("version")]
        return self._run(ENTER, keys, [self._node.id, KEPT_SECONDS, int(yields)], entries, fields)

    def _leave(self, node: str, entries: Sequence[Entry], *, swept: bool = False) -> list[asyncio.Future[Any]]:
        keys = [self._entered(node), self._key("version"), self._key("swept", node)]
        arguments: list[Arg] = [node, KEPT_SECONDS if swept else 0]
        return self._run(LEAVE, keys, arguments, entries, lambda entry: [entry.room, entry.connection_id])

    def _run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Arg],
        entries: Sequence[Entry],
        fields: Callable[[Entry], list[Arg]],
    ) -> list[asyncio.Future[Any]]:
        answers = []
        for some in _turns(entries):
            rooms = {room: len(keys) + 1 + 3 * i for i, room in enumerate(dict.fromkeys(each.room for each in some))}
            of_rooms = [key for room in rooms for key in self._room(room)]
            of_entries = [field for entry in some for field in (rooms[entry.room], *fields(entry))]
            answers.append(self._node.commands.run(script, [*keys, *of_rooms], [*arguments, *of_entries]))
            if self._publication is not None:
                self._publication.renew(rooms)
        return answers

    def _came(self, entries: Iterable[Entry], versions: Iterable[bytes]) -> Iterator[Change]:
        for entry, version in zip(entries, map(int, versions), strict=True):
            if version:
                self._version = max(self._version, version)
                yield Change(entry.room, entry.user_id, present=True, version=version)

    def _went(self, entries: Iterable[Entry], gone: Sequence[bytes]) -> Iterator[Change]:
        for entry, user, version in zip(entries, gone[::2], map(int, gone[1::2]), strict=True):
            if version:
                self._version = max(self._version, version)
                yield Change(entry.room, user.decode(), present=False, version=version)

    async def _read(self, room: str) -> tuple[list[bytes], list[bytes]]:
        """Its users, and the notes about their connections. Raises RedisAway."""
        _, users, notes = self._room(room)
        call = self._node.commands.call
        found_users, found_notes = await self._answers([call("ZRANGE", users, 0, -1), call("HVALS", notes)])
        return found_users, found_notes

    def _key(self, kind: str, *names: str) -> str:
        return self._node.keys.presence(self._namespace, kind, *names)

    def _entered(self, node: str) -> str:
        return self._key("entered", node)

    def _room(self, room: str) -> tuple[str, str, str]:
        """Its connections, users and notes."""
        return self._key("connections", room), self._key("users", room), self._key("notes", room)


def _entry(entered: bytes) -> Entry:
    """Whose it is, only its connection's hash knows."""
    connection_id, _, room = entered.decode().partition(" ")
    return Entry(room, connection_id, "")


def _joined(answers: Iterable[list[bytes]]) -> list[bytes]:
    return [each for answer in answers for each in answer]


def _turns(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for i in range(0, len(entries), ENTRIES_A_TURN):
        yield entries[i : i + ENTRIES_A_TURN]
