"""When machines are read, what is known of each, and the status that everyone is sent every period.

How a machine is read is its source's; who is connected is the namespace's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from server.namespaces.monitor import schemas
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.schemas import NEVER_READ, Reading
from server.namespaces.monitor.sources import Source, SourceError
from server.realtime import rooms
from server.realtime.delivery import Delivery
from server.timestamps import utc_now

log = structlog.get_logger(__name__)

#: Two, so that a machine that falls silent right after it was read is found out within the period, and shown with the
#: next status: disconnected within two periods (SPEC §6).
READS_PER_PERIOD = 2
TIMEOUT_SHARE = 0.8  # of the time between two reads
#: Seconds from a read to the status that shows it: time for devices to answer, within the 100 ms of SPEC §6.
LEAD_SECONDS = 0.05
LEAD_SHARE = 0.1  # of the period, where that is shorter
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 5.0


EVERY_MACHINE = "every machine"  # what a status conflates with: it tells of all of them


class Schedule:
    """The moments start, start + period, start + 2 periods…: none is given twice, missed ones are skipped, but the
    first never is."""

    def __init__(self, start: float, period: float) -> None:
        self._start = start
        self._period = period
        self._given: int | None = None

    def next(self, now: float) -> float:
        """A timer may fire early: the moment that was given last is not given again even when `now` is before it."""
        if self._given is None:
            self._given = 0
        else:
            self._given = max(self._given + 1, math.ceil((now - self._start) / self._period))
        return self._start + self._given * self._period


@dataclass(slots=True)
class _Known:
    """The last good reading of a machine. `connected` is None until its first read ended, well or not."""

    reading: Reading
    updated: datetime
    connected: bool | None = None


class MonitorService:
    """`clock` is monotonic and in seconds; `sleep` sleeps by it."""

    def __init__(
        self,
        delivery: Delivery,
        machines: Sequence[Machine],
        sources: Sequence[Source],
        *,
        period: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._delivery = delivery
        self._machines = machines
        self._sources = sources
        self._period = period
        self._clock = clock
        self._sleep = sleep
        self._now = now
        started = now()
        self._known = {machine.code: _Known(NEVER_READ, started) for machine in machines}
        self._sent = False

    def work(self) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs, by name, from the start of the server to its end: each source by itself, and the status."""
        start = self._clock()
        for source in self._sources:
            yield f"read {source.name}", self._read(source, Schedule(start, self._period / READS_PER_PERIOD))
        lead = min(LEAD_SECONDS, self._period * LEAD_SHARE)
        yield "status", self._tell(Schedule(start + lead, self._period))

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
            connected=known.connected is True,
            last_updated=known.updated,
        )

    async def _tell(self, schedule: Schedule) -> None:
        while True:
            await self._until(schedule)
            self._sent = True
            try:
                await self._delivery.emit(
                    "equipment_status", self._status(), room=rooms.EVERYONE, volatile=True, conflate=EVERY_MACHINE
                )
            except Exception:  # one status that is not delivered may not be the last
                log.exception("status not delivered")

    async def _read(self, source: Source, schedule: Schedule) -> None:
        retry = FIRST_RETRY_SECONDS
        timeout = self._period / READS_PER_PERIOD * TIMEOUT_SHARE
        try:
            while True:
                await self._until(schedule)
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

    async def _until(self, schedule: Schedule) -> None:
        now = self._clock()
        await self._sleep(max(0.0, schedule.next(now) - now))

    def _record(self, source: Source, readings: Mapping[str, Reading | SourceError]) -> None:
        now = self._now()
        lost: list[str] = []
        back: list[str] = []
        reason: SourceError | None = None
        for code in source.codes:
            known = self._known[code]
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
        if lost:
            log.warning("equipment disconnected", source=source.name, equipment=lost, reason=str(reason))
        if back:
            log.info("equipment connected", source=source.name, equipment=back)


def _fault(source: Source, error: Exception) -> SourceError:
    if isinstance(error, SourceError):
        return error
    if isinstance(error, TimeoutError):
        return SourceError("no answer in time")
    log.error("equipment source failed", source=source.name, exc_info=error)
    return SourceError(type(error).__name__)
