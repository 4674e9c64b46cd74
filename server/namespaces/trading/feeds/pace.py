"""When the ticks of a feed are due, by a clock; what is in them is the feed's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

TURN_SECONDS = 0.005  # what is due within it comes at once, so that it leaves in one write
MAX_LAG_SECONDS = 0.25  # after a longer stall nothing is caught up with: nobody wants a burst of old prices


class Pace:
    """Begins when it is made. The clock is in seconds, of any origin."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._started = self._gave_way = clock()

    async def until(self, offset: float) -> None:
        """Returns when so many seconds have gone by, not counting stalls; up to a turn of the loop early. A feed that
        is late for long gives way to others every turn."""
        now = self._clock()
        early = self._started + offset - now
        if early < -MAX_LAG_SECONDS:
            self._started = now - offset
        if early > TURN_SECONDS or now - self._gave_way > TURN_SECONDS:
            await self._sleep(max(early, 0))
            self._gave_way = self._clock()
