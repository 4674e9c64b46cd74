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


class RateLimits:
    """Rates by name. A name without a rate, and every name when not `enabled`, is unlimited."""

    def __init__(self, rates: Mapping[str, Rate], *, enabled: bool = True) -> None:
        store = MemoryStore(options={"MAX_SIZE": MAX_KEYS})
        self._limiters = {
            name: Throttled(
                using=RateLimiterType.SLIDING_WINDOW.value,
                quota=rate_limiter.per_duration(timedelta(seconds=rate.period), limit=rate.count),
                store=store,
            )
            for name, rate in rates.items()
            if enabled
        }

    async def hit(self, name: str, *key: str | None) -> int | None:
        """Counts one use and returns how many remain (None: unlimited). Raises RateLimited."""
        limiter = self._limiters.get(name)
        if limiter is None:
            return None
        result = await limiter.limit(repr((name, key)))
        if result.limited:
            raise RateLimited(retry_after=max(1, math.ceil(result.state.retry_after * 1000)), limit=result.state.limit)
        return result.state.remaining
