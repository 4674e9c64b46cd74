"""What readers outside find in Redis about a room, under keys of their own; written anew after each change."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import structlog

from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.node import Node

log = structlog.get_logger(__name__)

KEPT_SECONDS = 300  # as in the seed; while somebody is there it is written more often
ROOMS_A_TURN = 100
TRIES = 5


class Published(Protocol):
    @property
    def key(self) -> str: ...

    def text(self, users: Sequence[bytes], notes: Sequence[bytes]) -> bytes:
        """Of its users, the longest there first, and of the notes about their connections."""


Describe = Callable[[str], Published | None]
Read = Callable[[str], Awaitable[tuple[list[bytes], list[bytes]]]]


class Publication:
    def __init__(self, node: Node, describe: Describe, read: Read) -> None:
        """`describe` says what is published of a room, `read` who is there."""
        self._node = node
        self._describe = describe
        self._read = read
        self._due: dict[str, None] = {}
        self._works = False

    def renew(self, rooms: Iterable[str]) -> None:
        """Soon. Without Redis never: whoever is there then is published when it is back."""
        if self._node.commands.up:
            self._due.update((room, None) for room in rooms if self._describe(room) is not None)
            if self._due and not self._works:
                self._works = True
                self._node.spawn(self._work(), "publication")

    async def _work(self) -> None:
        try:
            while self._due:
                some = list(itertools.islice(self._due, ROOMS_A_TURN))
                for room in some:
                    del self._due[room]
                await asyncio.gather(*map(self._write, some))
        except RedisAway as away:
            log.info("not published", reason=str(away))
            self._due.clear()
        finally:
            self._works = False

    async def _write(self, room: str) -> None:
        """Until what was written is what is: another node may have written what it read earlier. Raises RedisAway."""
        published = self._describe(room)
        if published is None:
            return
        written = None
        for _ in range(TRIES):
            found = await self._read(room)
            if found == written:
                return
            users, notes = written = found
            if users:
                await self._node.call("SET", published.key, published.text(users, notes), "EX", KEPT_SECONDS)
            else:
                await self._node.call("DEL", published.key)
