"""Rates: how often something may happen, counted by throttled-py; who is counted under which key is the caller's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from throttled import rate_limiter
from throttled.asyncio import MemoryStore, RateLimiterType, Throttled

from server.errors import RateLimited

#: A key is a user or an address; the least recently used go first, and count anew when they return.
MAX_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` times in any `period` seconds."""

    count: int
    period: int


class Window:
    """One counter under one rate: a period begins with the first use after the last one ended.

    What every event passes must cost less than the event (throttled-py: 6 µs, as much as all the rest), and needs no
    store: it lives and dies with its connection.
    """

    __slots__ = ("_ends", "_used")

    def __init__(self) -> None:
        self._ends = 0.0
        self._used = 0

    def hit(self, rate: Rate, now: float) -> None:
        """`now` in monotonic seconds. Raises RateLimited."""
        if now >= self._ends:
            self._ends = now + rate.period
            self._used = 0
        if self._used >= rate.count:
            raise RateLimited(retry_after=max(1, math.ceil((self._ends - now) * 1000)), limit=rate.count)
        self._used += 1

    def spare(self) -> None:
        """The last use does not count after all."""
        self._used = max(0, self._used - 1)


class Counter(Protocol):
    async def use(self, key: str, rate: Rate) -> int:
        """Counts one use of what `key` names, and returns how many remain. Raises RateLimited, and counts nothing."""


class MemoryCounter:
    """A sliding window: of the uses in the period before this one so many count as are still within a period."""

    def __init__(self) -> None:
        self._store = MemoryStore(options={"MAX_SIZE": MAX_KEYS})
        self._limiters: dict[Rate, Throttled] = {}

    async def use(self, key: str, rate: Rate) -> int:
        result = await self._limiter(rate).limit(key)
        if result.limited:
            # In the very millisecond that it names, the window is still full.
            raise RateLimited(retry_after=round(result.state.retry_after * 1000) + 1, limit=rate.count)
        return result.state.remaining

    def _limiter(self, rate: Rate) -> Throttled:
        limiter = self._limiters.get(rate)
        if limiter is None:
            limiter = self._limiters[rate] = Throttled(
                using=RateLimiterType.SLIDING_WINDOW.value,
                quota=rate_limiter.per_duration(timedelta(seconds=rate.period), limit=rate.count),
                store=self._store,
            )
        return limiter


class RateLimits:
    """Rates by name. A name without a rate, and every name when not `enabled`, is unlimited.

    What is `shared` counts for all nodes together, where there are many.
    """

    def __init__(self, rates: Mapping[str, Rate], *, enabled: bool = True, shared: Counter | None = None) -> None:
        self._rates = dict(rates) if enabled else {}
        self._local = MemoryCounter()
        self._shared = shared or self._local

    def rate(self, name: str) -> Rate | None:
        """None: unlimited."""
        return self._rates.get(name)

    async def hit(self, name: str, *key: str | None, shared: bool = True) -> int | None:
        """Counts one use and returns how many remain (None: unlimited). Raises RateLimited."""
        rate = self._rates.get(name)
        if rate is None:
            return None
        return await (self._shared if shared else self._local).use(repr((name, key)), rate)
