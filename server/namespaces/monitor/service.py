"""When machines are read, what is known of each, and the status that everyone is sent every period.

How a machine is read is its source's; who is connected is the namespace's.

Of many nodes the one with the lease reads, and tells the others; each sends the status to its own clients, all at the
same moments of the world's clock, right after a read. Where nobody reads - the lease changes hands, or Redis is away
and so nobody can know that nobody else reads - machines are shown as disconnected within two periods: they may answer
one reader only, and an old value is worse than none.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from server.namespaces.monitor import schemas
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.schemas import NEVER_READ, Reading
from server.namespaces.monitor.sources import Source, SourceError
from server.realtime.leases import Lease, News, SoleLease
from server.timestamps import utc_now

log = structlog.get_logger(__name__)

#: Two, so that a machine that falls silent right after it was read is found out within the period, and shown with the
#: next status: disconnected within two periods (SPEC §6).
READS_PER_PERIOD = 2
TIMEOUT_SHARE = 0.8  # of the time between two reads
#: Shorter than any suspension in which another node takes over: a process does not go on with a read after one.
LONGEST_READ_SECONDS = 2.0
#: Seconds from a read to the status that shows it: time for devices to answer, within the 100 ms of SPEC §6.
LEAD_SECONDS = 0.05
LEAD_SHARE = 0.1  # of the period, where that is shorter
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 5.0
#: From one reading to what other nodes are told: of the other sources' in the same moment.
GATHER_SECONDS = 0.01


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


@dataclass(slots=True)
class _Known:
    """The last good reading of a machine. `connected` is None until its first read ended, well or not; that was known
    here `at` this time, from the holder of the lease with this `fence`."""

    reading: Reading
    updated: datetime
    connected: bool | None = None
    at: float = 0.0
    fence: int = 0


class MonitorService:
    """`show` sends a status to this node's clients. `clock` is monotonic and in seconds; `sleep` sleeps by it."""

    def __init__(
        self,
        show: Callable[[Mapping[str, object]], None],
        machines: Sequence[Machine],
        sources: Sequence[Source],
        *,
        period: float,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._show = show
        self._machines = machines
        self._sources = sources
        self._period = period
        self._lease = lease or SoleLease()
        self._clock = clock
        self._sleep = sleep
        self._now = now
        started = now()
        self._known = {machine.code: _Known(NEVER_READ, started) for machine in machines}
        self._sent = False
        self._unshared = asyncio.Event()
        self._lease.follow(self._hear)

    def work(self) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs, by name, from the start of the server to its end."""
        yield "poll", self._lease.hold(self._poll)
        yield "status", self._tell(self._schedule(self._period, min(LEAD_SECONDS, self._period * LEAD_SHARE)))

    def _schedule(self, period: float, lead: float = 0.0) -> Schedule:
        """From now on, then at the same moments on every node."""
        start = self._clock() + lead
        return Schedule(start, period, grid=start - math.remainder(self._now().timestamp(), period))

    def newest(self) -> dict[str, object] | None:
        """The status as it is known now; None before the first was sent, which everyone gets."""
        return self._status() if self._sent else None

    def _status(self) -> dict[str, object]:
        return schemas.equipment_status([self._equipment(machine) for machine in self._machines], self._now())

    def _equipment(self, machine: Machine) -> schemas.Equipment:
        known = self._known[machine.code]
        return schemas.equipment(
            machine.code,
            machine.name,
            known.reading,
            connected=known.connected is True and self._is_fresh(known),
            last_updated=known.updated,
        )

    def _is_fresh(self, known: _Known) -> bool:
        """It was read by this node, which still reads it, or by another one within a period."""
        reads = self._lease.held and known.fence == self._lease.fence
        return reads or self._clock() - known.at <= self._period

    async def _tell(self, schedule: Schedule) -> None:
        while True:
            await self._until(schedule)
            self._sent = True
            try:
                self._show(self._status())
            except Exception:  # one status that is not delivered may not be the last
                log.exception("status not delivered")

    async def _poll(self) -> None:
        """Each source by itself."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                schedule = self._schedule(self._period / READS_PER_PERIOD)
                group.create_task(self._read(source, schedule), name=f"read {source.name}")
            group.create_task(self._share(), name="share")

    async def _read(self, source: Source, schedule: Schedule) -> None:
        retry = FIRST_RETRY_SECONDS
        timeout = min(self._period / READS_PER_PERIOD * TIMEOUT_SHARE, LONGEST_READ_SECONDS)
        try:
            while True:
                await self._until(schedule)
                if not self._lease.held:
                    return
                try:
                    async with asyncio.timeout(timeout):
                        readings = await source.read()
                except Exception as error:  # whatever ails a source is a matter of its own machines
                    self._record(source, dict.fromkeys(source.codes, _fault(source, error)))
                    await source.close()
                    await self._sleep(retry)
                    retry = min(2 * retry, LAST_RETRY_SECONDS)
                else:
                    self._record(source, readings)
                    retry = FIRST_RETRY_SECONDS
        finally:
            await source.close()

    async def _share(self) -> None:
        """Tells other nodes what this one has read, soon after."""
        while True:
            await self._unshared.wait()
            self._unshared.clear()
            self._lease.tell(
                {
                    code: [known.connected, *_flags(known.reading), known.updated.timestamp()]
                    for code, known in self._known.items()
                    if known.fence == self._lease.fence
                }
            )
            await self._sleep(GATHER_SECONDS)

    def _hear(self, fence: int, news: News) -> None:
        """Of other machines too, while a new configuration is rolled out."""
        at = self._clock()
        for code, (connected, running, error, ready, updated) in news.items():
            reading = Reading(running=running, error=error, ready=ready)
            self._known[code] = _Known(reading, datetime.fromtimestamp(updated, UTC), connected, at, fence)

    async def _until(self, schedule: Schedule) -> None:
        now = self._clock()
        await self._sleep(max(0.0, schedule.next(now) - now))

    def _record(self, source: Source, readings: Mapping[str, Reading | SourceError]) -> None:
        if not self._lease.held:
            return  # this process was suspended: another node reads
        now, at, fence = self._now(), self._clock(), self._lease.fence
        lost: list[str] = []
        back: list[str] = []
        reason: SourceError | None = None
        for code in source.codes:
            known = self._known[code]
            known.at, known.fence = at, fence
            reading = readings.get(code) or SourceError("its source gave no reading")
            if isinstance(reading, SourceError):
                if known.connected is not False:
                    lost.append(code)
                    reason = reason or reading
                known.connected = False
            else:
                if known.connected is False:
                    back.append(code)
                known.reading, known.updated, known.connected = reading, now, True
        self._unshared.set()
        if lost:
            log.warning("equipment disconnected", source=source.name, equipment=lost, reason=str(reason))
        if back:
            log.info("equipment connected", source=source.name, equipment=back)


def _flags(reading: Reading) -> tuple[bool, bool, bool]:
    return reading.running, reading.error, reading.ready


def _fault(source: Source, error: Exception) -> SourceError:
    if isinstance(error, SourceError):
        return error
    if isinstance(error, TimeoutError):
        return SourceError("no answer in time")
    log.error("equipment source failed", source=source.name, exc_info=error)
    return SourceError(type(error).__name__)
