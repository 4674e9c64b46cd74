"""Rates: how often something may happen, counted by throttled-py; who is counted under which key is the caller's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

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


class RateLimits:
    """Rates by name. A name without a rate, and every name when not `enabled`, is unlimited."""

    def __init__(self, rates: Mapping[str, Rate], *, enabled: bool = True) -> None:
        self._rates = dict(rates) if enabled else {}
        store = MemoryStore(options={"MAX_SIZE": MAX_KEYS})
        self._limiters = {
            name: Throttled(
                using=RateLimiterType.SLIDING_WINDOW.value,
                quota=rate_limiter.per_duration(timedelta(seconds=rate.period), limit=rate.count),
                store=store,
            )
            for name, rate in self._rates.items()
        }

    def rate(self, name: str) -> Rate | None:
        """None: unlimited."""
        return self._rates.get(name)

    async def hit(self, name: str, *key: str | None) -> int | None:
        """Counts one use and returns how many remain (None: unlimited). Raises RateLimited."""
        limiter = self._limiters.get(name)
        if limiter is None:
            return None
        result = await limiter.limit(repr((name, key)))
        if result.limited:
            raise RateLimited(retry_after=max(1, math.ceil(result.state.retry_after * 1000)), limit=result.state.limit)
        return result.state.remaining
