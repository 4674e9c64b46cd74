"""When a source is read: at moments of the world's clock, for a limited time, and with pauses while it fails.

What is made of its readings is the service's business.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import Source, SourceError
from server.timestamps import utc_now

log = structlog.get_logger(__name__)

#: Two, so that a machine that falls silent right after it was read is found out within the period, and shown with the
#: next status: disconnected within two periods (SPEC §6).
READS_PER_PERIOD = 2
TIMEOUT_SHARE = 0.8  # of the time between two reads
#: Shorter than any suspension in which another node takes over: a process does not go on with a read after one.
LONGEST_READ_SECONDS = 2.0
LONGEST_CLOSE_SECONDS = 1.0
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 5.0

Readings = Mapping[str, Reading | SourceError]


class Schedule:
    """The moments start, grid + period, grid + 2 periods…: none is given twice, missed ones are skipped, but the
    first never is. The grid's origin is the start, or at most half a period off."""

    def __init__(self, start: float, period: float, *, grid: float | None = None) -> None:
        self._start = start
        self._grid = start if grid is None else grid
        self._period = period
        self._given: int | None = None

    def next(self, now: float) -> float:
        """A timer may fire early: the moment that was given last is not given again even when `now` is before it."""
        if self._given is None:
            self._given = 0
            return self._start
        self._given = max(self._given + 1, math.ceil((now - self._grid) / self._period))
        return self._grid + self._given * self._period


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` is in seconds, and `sleep` sleeps by it; `now` is the world's time, aware."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = utc_now

    def schedule(self, period: float, lead: float = 0.0) -> Schedule:
        """From now on, then at the same moments on every node."""
        start = self.monotonic() + lead
        return Schedule(start, period, grid=start - math.remainder(self.now().timestamp(), period))

    async def until(self, schedule: Schedule) -> None:
        now = self.monotonic()
        await self.sleep(max(0.0, schedule.next(now) - now))


async def poll(
    source: Source,
    record: Callable[[Source, Readings], None],
    *,
    period: float,
    clock: Clock,
    held: Callable[[], bool],
) -> None:
    """As long as this node is the one that reads. Whatever ails a source is a matter of its own machines."""
    schedule = clock.schedule(period / READS_PER_PERIOD)
    timeout = min(period / READS_PER_PERIOD * TIMEOUT_SHARE, LONGEST_READ_SECONDS)
    retry = FIRST_RETRY_SECONDS
    try:
        while True:
            await clock.until(schedule)
            if not held():
                return
            try:
                readings = await _read(source, timeout)
            except Exception as error:
                record(source, dict.fromkeys(source.codes, _fault(source, error)))
                await _close(source)
                await clock.sleep(retry)
                retry = min(2 * retry, LAST_RETRY_SECONDS)
            else:
                record(source, readings)
                retry = FIRST_RETRY_SECONDS
    finally:
        await _close(source)


async def _read(source: Source, seconds: float) -> Readings:
    async with asyncio.timeout(seconds) as deadline:
        readings = dict(await source.read())
    if deadline.expired():  # it would not be cancelled: what it brings is old
        raise TimeoutError
    return readings


async def _close(source: Source) -> None:
    try:
        async with asyncio.timeout(LONGEST_CLOSE_SECONDS):
            await source.close()
    except Exception:
        log.exception("equipment source not closed", source=source.name)


def _fault(source: Source, error: Exception) -> SourceError:
    if isinstance(error, SourceError):
        return error
    if isinstance(error, TimeoutError):
        return SourceError("no answer in time")
    log.error("equipment source failed", source=source.name, exc_info=error)
    return SourceError(type(error).__name__)
