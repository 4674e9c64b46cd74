"""The newest of a whole class, read once for many: after a restart a thousand clients want it at the same moment.

What it is, and where it is read, is the broker's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from server.namespaces.trading.broker import View
from server.namespaces.trading.catalogue import ChannelClass

REST_SECONDS = 0.25  # between two reads of a class: one of 10,000 channels keeps Redis for 25 ms

Views = list[tuple[str, View]]
Key = tuple[str | None, str]


class Newest:
    """Who comes while one is read, or in the rest after it, shares the next."""

    def __init__(
        self,
        read: Callable[[str | None, ChannelClass], Awaitable[Views]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._clock = clock
        self._sleep = sleep
        self._next: dict[Key, asyncio.Task[Views]] = {}  # that are not begun
        self._begun: dict[Key, float] = {}  # less than a rest ago

    async def read(self, tenant: str | None, kind: ChannelClass) -> Views:
        """As `Broker.newest`: it is read after this was called."""
        key = (tenant, kind.pattern.text)
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._read_next(key, tenant, kind), name=f"newest of {key[1]}")
        return await asyncio.shield(self._next[key])

    async def _read_next(self, key: Key, tenant: str | None, kind: ChannelClass) -> Views:
        if (begun := self._begun.get(key)) is not None:
            await self._sleep(begun + REST_SECONDS - self._clock())
        del self._next[key]
        now = self._clock()
        self._begun = {each: at for each, at in self._begun.items() if at > now - REST_SECONDS}
        self._begun[key] = now
        return await self._read(tenant, kind)
