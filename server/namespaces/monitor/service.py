"""What is known of each machine, and the status that everyone is sent every period.

How a machine is read is its source's, when is `polling.py`'s; who is connected is the namespace's.

Of many nodes the one with the lease reads, and tells the others; each sends the status to its own clients, all at the
same moments of the world's clock, right after a read. Where nobody reads - the lease changes hands, or Redis is away
and so nobody can know that nobody else reads - machines are shown as disconnected within two periods: they may answer
one reader only, and an old value is worse than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from server.namespaces.monitor import schemas
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.filters import Snapshot
from server.namespaces.monitor.polling import LAST_RETRY_SECONDS, Clock, Readings, Schedule, poll
from server.namespaces.monitor.schemas import NEVER_READ, Reading, Status
from server.namespaces.monitor.sources import Source, SourceError
from server.realtime.leases import Lease, News, SoleLease

log = structlog.get_logger(__name__)

#: Seconds from a read to the status that shows it: time for devices to answer, within the 100 ms of SPEC §6.
LEAD_SECONDS = 0.05
LEAD_SHARE = 0.1  # of the period, where that is shorter
#: From one reading that other nodes are told to the next: of the other sources' in the same moment together.
GATHER_SECONDS = 0.01
#: What this node read itself is believed for so many periods: also a source that hangs and cannot be cancelled, or a
#: loop that was held up, is shown as what it is.
BELIEVED_PERIODS = 2
#: Newcomers within so many seconds are shown the same, however many come at once.
SHARED_SECONDS = 0.02


class Journal(Protocol):
    """Keeps what became of machines: their changes, and the alarms that follow."""

    async def keep(self) -> None:
        """As long as this node reads: goes on where the last reader left off, then stores what `saw` brings; until
        cancelled. Retries where the database is away."""

    def saw(self, statuses: Mapping[str, Status], at: datetime) -> None:
        """Of machines just read, or found disconnected, by code, changed or not. Waits for nothing."""


@dataclass(slots=True)
class _Known:
    """The last good reading of a machine, and when it was `read` here or elsewhere; it was new when it was `updated`.
    `connected` is None until its first read ended, well or not; that was known here `at` this time, from the holder of
    the lease with this `fence`."""

    reading: Reading
    updated: datetime
    read: datetime | None = None
    connected: bool | None = None
    at: float = 0.0
    fence: int = 0

    @property
    def status(self) -> Status:
        return self.reading.status if self.connected else "disconnected"


class MonitorService:
    """`show` sends a status to this node's clients. Another `journal` may be put in its place before the start."""

    def __init__(
        self,
        show: Callable[[Snapshot], None],
        machines: Sequence[Machine],
        sources: Sequence[Source],
        *,
        period: float,
        lease: Lease | None = None,
        journal: Journal | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._show = show
        self._machines = machines
        self._sources = sources
        self._period = period
        self._lease = lease or SoleLease()
        self.journal = journal
        self._clock = clock or Clock()
        started = self._clock.now()
        self._known = {machine.code: _Known(NEVER_READ, started) for machine in machines}
        self._sent = False
        self._shared: tuple[float, Snapshot] | None = None
        self._untold: set[str] = set()
        self._untold_some = asyncio.Event()
        self._lease.follow(self._hear)

    def work(self) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs, by name, from the start of the server to its end."""
        yield "poll", self._lease.hold(self._poll)
        lead = min(LEAD_SECONDS, self._period * LEAD_SHARE)
        yield "status", self._tell(self._clock.schedule(self._period, lead))

    def newest(self) -> Snapshot | None:
        """What is known now; None before the first status was sent, which everyone gets."""
        if not self._sent:
            return None
        now = self._clock.monotonic()
        if self._shared is None or now - self._shared[0] > SHARED_SECONDS:
            self._shared = now, self.snapshot()
        return self._shared[1]

    def lost(self) -> dict[str, str]:
        """The machines that this node reads and cannot, their names by code."""
        if not self._lease.held:
            return {}
        now = self._clock.monotonic()
        return {
            machine.code: machine.name
            for machine in self._machines
            if (known := self._known[machine.code]).connected is False
            or (known.connected and not self._is_fresh(known, now))
        }

    def snapshot(self) -> Snapshot:
        now = self._clock.monotonic()
        return Snapshot(self._clock.now(), [(each.line, self._equipment(each, now)) for each in self._machines])

    def _equipment(self, machine: Machine, now: float) -> schemas.Equipment:
        known = self._known[machine.code]
        return schemas.equipment(
            machine.code,
            machine.name,
            known.reading,
            connected=known.connected is True and self._is_fresh(known, now),
            last_updated=known.updated,
            server_time=known.read,
        )

    def _is_fresh(self, known: _Known, now: float) -> bool:
        """It was read by this node, which still reads it, or by another one within a period."""
        reads = self._lease.held and known.fence == self._lease.fence
        return now - known.at <= self._period * (BELIEVED_PERIODS if reads else 1)

    async def _tell(self, schedule: Schedule) -> None:
        while True:
            await self._clock.until(schedule)
            self._sent = True
            try:
                self._show(self.snapshot())
            except Exception:  # one status that is not delivered may not be the last
                log.exception("status not delivered")

    async def _poll(self) -> None:
        """Each source by itself."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                reading = poll(
                    source, self._record, period=self._period, clock=self._clock, held=lambda: self._lease.held
                )
                group.create_task(reading, name=f"read {source.name}")
            group.create_task(self._share(), name="share")
            if self.journal is not None:
                group.create_task(self._keep(self.journal), name="journal")

    async def _keep(self, journal: Journal) -> None:
        """Machines are read whether or not anybody remembers it."""
        while True:
            try:
                return await journal.keep()
            except Exception:
                log.exception("journal failed")
                await self._clock.sleep(LAST_RETRY_SECONDS)

    async def _share(self) -> None:
        """Tells other nodes what this one has read, soon after."""
        while True:
            await self._untold_some.wait()
            self._untold_some.clear()
            codes, self._untold = self._untold, set()
            news = {code: _packed(known) for code in codes if (known := self._known[code]).fence == self._lease.fence}
            self._lease.tell(news)
            await self._clock.sleep(GATHER_SECONDS)

    def _hear(self, fence: int, news: News) -> None:
        """Of other machines too, while a new configuration is rolled out."""
        at = self._clock.monotonic()
        for code in news.keys() & self._known.keys():
            self._known[code] = _unpacked(news[code], at, fence)

    def _record(self, source: Source, readings: Readings) -> None:
        if not self._lease.held:
            return  # this process was suspended: another node reads
        now, at, fence = self._clock.now(), self._clock.monotonic(), self._lease.fence
        lost: list[str] = []
        back: list[str] = []
        reason: object = None
        for code in source.codes:
            known = self._known[code]
            known.at, known.fence = at, fence
            reading = readings.get(code)
            if not isinstance(reading, Reading) or reading.status == "disconnected":
                if known.connected is not False:
                    lost.append(code)
                    reason = reason or _why(reading)
                known.connected = False
                continue
            if known.connected is False:
                back.append(code)
            if reading.quality != "stale":
                known.updated = now
            known.reading, known.read, known.connected = reading, now, True
        self._untold.update(source.codes)
        self._untold_some.set()
        if lost:
            log.warning("equipment disconnected", source=source.name, equipment=lost, reason=str(reason))
        if back:
            log.info("equipment connected", source=source.name, equipment=back)
        if self.journal is not None:
            try:
                self.journal.saw({code: self._known[code].status for code in source.codes}, now)
            except Exception:
                log.exception("journal failed")


def _why(reading: Reading | SourceError | None) -> str:
    if isinstance(reading, Reading):
        return "its tags say so"
    return "its source gave no reading" if reading is None else str(reading)


def _packed(known: _Known) -> list[object]:
    reading, told, read = known.reading, known.reading.source_time, known.read
    return [
        known.connected,
        reading.status,
        reading.quality,
        None if told is None else told.isoformat(),
        known.updated.timestamp(),
        None if read is None else read.timestamp(),
        reading.runs,
    ]


def _unpacked(packed: Sequence[Any], at: float, fence: int) -> _Known:
    connected, status, quality, told, updated, read, runs = packed
    reading = Reading(status, quality, None if told is None else datetime.fromisoformat(told), runs)
    return _Known(
        reading,
        datetime.fromtimestamp(updated, UTC),
        None if read is None else datetime.fromtimestamp(read, UTC),
        connected,
        at,
        fence,
    )
