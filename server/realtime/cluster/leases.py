"""Leases in Redis: one node at a time does what must not be done twice.

A holder trusts only its own clock: what Redis granted counts from when it was asked for, and ends before Redis gives it
to another. So a node that is suspended, or cut off, or whose Redis is gone, stops in time; and where Redis is gone for
all, nobody works until it is back: no node can tell that from being the only one cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Awaitable, Callable

import orjson
import structlog

from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.keys import NODES
from server.realtime.cluster.node import Body, Node
from server.realtime.cluster.scripts import script
from server.realtime.cluster.wire import Arg
from server.realtime.leases import Hear, Lease, News

log = structlog.get_logger(__name__)

#: Another node takes over within 5 s of a death (SPEC §6); Redis may be silent for nearly as long.
LEASE_SECONDS = 4.0
RENEWAL_SHARE = 1 / 4  # of it
ATTEMPT_SHARE = 1 / 8
SPARE_SHARE = 1 / 16  # for work to end in

#: Where Redis is not the one that gave the lease out (`run`), or forgot it, or its clock went back, somebody may still
#: hold it: nobody new gets it until that must have run out (`free`); who holds it by its own clock keeps it.
#: KEYS lease. ARGV node, its fence (0: it does not hold it), the highest fence it has heard of, length (µs).
#: The fence granted, 0 for none; the lease's fence; µs until the lease may be free.
CLAIM = script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and info:match('run_id:(%w+)') or ''
local held, seen, length = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local known = redis.call('HMGET', KEYS[1], 'holder', 'fence', 'ends', 'free', 'run')
local holder, fence = known[1], tonumber(known[2] or '0')
local ends, free = tonumber(known[3] or '0'), tonumber(known[4] or '0')
local function text(number) return string.format('%.0f', number) end
if known[5] ~= run or math.max(ends, free) > now + length then
  ends, free = 0, now + length
  redis.call('HSET', KEYS[1], 'run', run, 'ends', '0', 'free', text(free))
end
local granted = 0
if held > 0 then
  if held > fence or (held == fence and holder == ARGV[1]) then granted = held end
elseif now >= ends and now >= free then
  granted = math.max(fence, seen, now - 1) + 1
end
if granted > 0 then
  fence, ends = granted, now + length
  redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'fence', text(fence), 'ends', text(ends))
end
return {granted, fence, math.max(ends, free) - now}
"""
)

#: KEYS lease. ARGV node, fence.
RELEASE = script(
    """
local known = redis.call('HMGET', KEYS[1], 'holder', 'fence')
if known[1] == ARGV[1] and known[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'ends', '0') end
"""
)

#: Tells all other nodes, if the lease is still whose it was when it was said.
#: KEYS lease, nodes. ARGV node, fence, what nodes' channels begin with, message.
TELL = script(
    """
local time = redis.call('TIME')
local known = redis.call('HMGET', KEYS[1], 'holder', 'fence', 'ends')
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] or time[1] * 1000000 + time[2] >= tonumber(known[3]) then return end
for _, node in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if node ~= ARGV[1] then redis.call('PUBLISH', ARGV[3] .. node, ARGV[4]) end
end
"""
)


def waking_clock() -> float:
    """Seconds, those included in which the machine slept, where it can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class ClusterLease(Lease):
    def __init__(
        self, node: Node, name: str, *, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = waking_clock
    ) -> None:
        """One for each name and node."""
        self._node = node
        self._name = name
        self._verb = f"lease {name}"
        self._key = node.keys.lease(name)
        self._seconds = seconds
        self._clock = clock
        self._fence = 0
        self._newest = 0  # fence of anybody's
        self._ends = 0.0

    @property
    def held(self) -> bool:
        return self._clock() < self._ends

    @property
    def fence(self) -> int:
        return self._fence

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            pause = self._seconds * ATTEMPT_SHARE
            try:
                granted, rest = await self._claim(0)
            except RedisAway:
                granted, rest = 0, math.inf
            if granted:
                self._fence = granted
                try:
                    await self._work(work)
                finally:
                    self._release()
            await asyncio.sleep(min(rest, pause))

    async def _work(self, work: Callable[[], Awaitable[None]]) -> None:
        """While it is held."""
        log.info("lease gained", lease=self._name)
        doing = asyncio.create_task(_lasting(work), name=self._name)
        try:
            while self.held:
                pause = min(self._seconds * RENEWAL_SHARE, self._left())
                if (await asyncio.wait([doing], timeout=pause))[0]:
                    return
                if self.held:
                    await self._renew()
        finally:
            doing.cancel()
            (outcome,) = await asyncio.gather(doing, return_exceptions=True)
            log.info("lease left", lease=self._name)
            if isinstance(outcome, Exception):
                raise outcome

    async def _renew(self) -> None:
        with contextlib.suppress(RedisAway, TimeoutError):
            async with asyncio.timeout(self._left()):
                await self._claim(self._fence)

    async def _claim(self, held: int) -> tuple[int, float]:
        """The fence granted, and the seconds until it is worth asking again. Raises RedisAway."""
        asked, microseconds = self._clock(), round(self._seconds * 1e6)
        args: list[Arg] = [self._node.id, held, self._newest, microseconds]
        granted, newest, rest = await self._node.run(CLAIM, [self._key], args)
        self._newest = max(self._newest, newest)
        if not granted:
            self._ends = 0
        elif self.held or not held:  # who hears too late that it still holds it did not hold it meanwhile
            self._ends = asked + self._seconds * (1 - SPARE_SHARE)
        return granted, rest / 1e6

    def _left(self) -> float:
        return self._ends - self._clock()

    def _release(self) -> None:
        """At once, so that another node need not wait for its end."""
        self._ends = 0
        self._node.commands.run(RELEASE, [self._key], [self._node.id, self._fence])

    def tell(self, news: News) -> None:
        if self.held and self._node.commands.up:
            message = b"node " + orjson.dumps(
                ["tell", self._node.id, "", self._verb, {"fence": self._fence, "news": news}]
            )
            keys = [self._key, self._node.keys.key(NODES, "alive")]
            self._node.commands.run(TELL, keys, [self._node.id, self._fence, self._node.keys.node(""), message])

    def follow(self, hear: Hear) -> None:
        async def told(body: Body) -> None:
            if body["fence"] >= self._newest:
                self._newest = body["fence"]
                hear(body["fence"], body["news"])

        self._node.on(self._verb, told)


async def _lasting(work: Callable[[], Awaitable[None]]) -> None:
    """Work that is done is not to be done again by somebody else."""
    await work()
    await asyncio.Event().wait()
