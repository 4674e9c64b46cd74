"""Presences whose clock stands still, and what they told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from server.identity import Identity
from server.realtime.cluster.address import connector
from server.realtime.cluster.node import Node
from server.realtime.cluster.presence import ClusterPresence
from server.realtime.cluster.publication import Describe
from server.realtime.connection import Connection
from server.realtime.presence import Change, MemoryPresence, Presence
from tests.support.proxy import Proxy
from tests.support.redis import HOST, RedisServer

PATIENCE = 20
DELAY = 3.0


def connection(id: str, user: str | None = None) -> Connection:
    return Connection(id, "/x", Identity(user or id), "")


class Watched:
    """`told` are the changes that no call returned: room, user, and whether they are there."""

    def __init__(self, presence: Presence, told: list[tuple[str, str, bool]] | None = None) -> None:
        self.presence = presence
        self.told: list[tuple[str, str, bool]] = [] if told is None else told
        self.versions: list[int] = []
        self.now = 0.0
        presence._clock = lambda: self.now
        presence.changed = self._changed

    async def _changed(self, change: Change) -> None:
        self.told.append((change.room, change.user_id, change.present))
        self.versions.append(change.version)

    async def settle(self, seconds: float = 0.0) -> None:
        self.now += seconds
        await self.presence.settle()


def in_memory() -> Watched:
    return Watched(MemoryPresence(delay=DELAY))


class Member(Watched):
    """A node of its own, and its way to Redis."""

    def __init__(self, rig: Rig, proxy: Proxy, describe: Describe | None, delay: float) -> None:
        self.node = Node(connector(rig.redis.url_on(proxy.port)), rig.prefix)
        self.node.pulses.append(self._pulse)
        self.proxy = proxy
        super().__init__(ClusterPresence(self.node, "/x", describe=describe, delay=delay), rig.told)

    async def _pulse(self) -> None:
        """A listener that hears nothing is given up; in a server the manager's pulses are heard."""
        await self.node.call("PUBLISH", self.node.channel, "pulse")

    async def cut(self) -> None:
        self.proxy.refuse()
        await self.proxy.cut()
        await until(lambda: not self.node.commands.up)

    async def heal(self) -> None:
        await self.proxy.accept()
        await self.in_step()

    async def in_step(self) -> None:
        await until(lambda: self.node.commands.up and not self._behind)

    @property
    def _behind(self) -> bool:
        assert isinstance(self.presence, ClusterPresence)
        return self.presence._behind


class Rig:
    """A Redis, and nodes that tell into one list."""

    def __init__(self, redis: RedisServer, client: Redis, stack: AsyncExitStack) -> None:
        self.redis = redis
        self.client = client
        self.prefix = secrets.token_hex(4)
        self.told: list[tuple[str, str, bool]] = []
        self._stack = stack

    async def member(self, describe: Describe | None = None, *, delay: float = DELAY) -> Member:
        proxy = await Proxy.start(HOST, self.redis.port)
        self._stack.push_async_callback(proxy.close)
        member = Member(self, proxy, describe, delay)
        await member.node.start()
        self._stack.push_async_callback(member.node.stop)
        await until(lambda: self._beats(member))
        return member

    async def _beats(self, member: Member) -> bool:
        """Its first pulse is over: what it had before would have been written."""
        found = await self.client.zscore(f"{self.prefix}:{{/x}}:presence:due", member.node.id)
        return found is not None and member.node.commands.up and not member._behind

    async def given_up(self, member: Member) -> None:
        """Nodes take it for dead."""
        await self.client.zadd(f"{self.prefix}:{{nodes}}:alive", {member.node.id: 1})

    async def restart(self, *members: Member) -> None:
        """Empty; returns when these have written to it what they know."""
        await self.redis.kill()
        await until(lambda: not any(each.node.commands.up for each in members))
        await self.redis.start()
        await self.client.connection_pool.disconnect()
        for each in members:
            await each.in_step()


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            found: Any = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)  # Redis does not say when it changes


@asynccontextmanager
async def cluster() -> AsyncIterator[Rig]:
    async with RedisServer() as redis, redis.client() as client, AsyncExitStack() as stack:
        yield Rig(redis, client, stack)
