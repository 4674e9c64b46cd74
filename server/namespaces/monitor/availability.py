"""How long equipment was in each status, by shift, out of the changes that were stored.

Time of which nothing is known - before a machine's first change, or when what came before was deleted - is `unknown`,
and part of no availability. While nobody watched, machines were disconnected.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from server.errors import InvalidMessage, NotFound
from server.namespaces.monitor import records, spreadsheet
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.history import period
from server.namespaces.monitor.models import milliseconds
from server.namespaces.monitor.schemas import Status
from server.namespaces.monitor.shifts import Shift, Shifts
from server.namespaces.monitor.watch import UNWATCHED
from server.storage.database import Database
from server.timestamps import iso_utc, utc_now

MOST_ROWS = 10_000  # in one JSON answer; a CSV has no end
SPANS_AT_ONCE = 200

Known = Literal["running", "idle", "stopped", "error", "disconnected", "unknown"]
STATUSES: tuple[Known, ...] = ("running", "idle", "stopped", "error", "disconnected", "unknown")


@dataclass(frozen=True, slots=True)
class Row:
    """Of a machine in a shift: seconds by status, of the part that was asked for and is over."""

    machine: Machine
    shift: Shift
    seconds: dict[Known, float]

    @property
    def availability(self) -> float | None:
        """The share of known time in which it was running; None where none is known."""
        known = sum(self.seconds.values()) - self.seconds["unknown"]
        return round(self.seconds["running"] / known, 6) if known > 0 else None

    def to_wire(self) -> dict[str, object]:
        return {
            "equipment_code": self.machine.code,
            "equipment_name": self.machine.name,
            "line": self.machine.line,
            "shift": self.shift.name,
            "start": iso_utc(self.shift.start),
            "end": iso_utc(self.shift.end),
            "seconds": self.seconds,
            "availability": self.availability,
        }

    def to_cells(self) -> spreadsheet.Row:
        wire = self.to_wire()
        return [str(wire[name]) for name in CELLS] + [self.seconds[each] for each in STATUSES] + [self.availability]


CELLS = ("equipment_code", "equipment_name", "line", "shift", "start", "end")


class Availability:
    def __init__(
        self,
        database: Database,
        machines: Sequence[Machine],
        shifts: Shifts,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._machines = machines
        self._shifts = shifts
        self._now = now

    async def report(
        self, start: datetime | None, end: datetime | None, equipment: str | None, line: str | None
    ) -> dict[str, object]:
        """Raises NotFound, InvalidMessage, also for more than one answer holds."""
        start, end, machines = self._asked(start, end, equipment, line)
        shifts = list(self._shifts.between(start, end))
        if len(machines) * len(shifts) > MOST_ROWS:
            raise InvalidMessage(f"More than {MOST_ROWS} rows: ask for less time, or for CSV")
        rows = [row.to_wire() async for some in self._rows(machines, shifts, start, end) for row in some]
        return {"from": iso_utc(start), "to": iso_utc(end), "timezone": self._shifts.zone.key, "availability": rows}

    def csv(
        self, start: datetime | None, end: datetime | None, equipment: str | None, line: str | None
    ) -> AsyncGenerator[bytes, None]:
        """Raises NotFound, InvalidMessage, before it is read."""
        start, end, machines = self._asked(start, end, equipment, line)
        rows = self._rows(machines, list(self._shifts.between(start, end)), start, end)
        header = (*CELLS, *(f"{status}_seconds" for status in STATUSES), "availability")
        return spreadsheet.document(header, ([row.to_cells() for row in some] async for some in rows))

    def _asked(
        self, start: datetime | None, end: datetime | None, equipment: str | None, line: str | None
    ) -> tuple[datetime, datetime, list[Machine]]:
        machines = [each for each in self._machines if equipment in (None, each.code) and line in (None, each.line)]
        if not machines:
            raise NotFound("No such equipment")
        return *period(start, end, self._now()), machines

    async def _rows(
        self, machines: Iterable[Machine], shifts: Sequence[Shift], start: datetime, end: datetime
    ) -> AsyncGenerator[list[Row], None]:
        """Machine by machine, so that nobody waits for long."""
        now = self._now()
        async with self._database.reading() as db:
            seen = await records.seen_until(db)
        end = min(end, now)
        watched = seen if seen is not None and now - seen > UNWATCHED else now
        for machine in machines:
            yield await self._of(machine, shifts, start, end, watched)

    async def _of(
        self, machine: Machine, shifts: Sequence[Shift], start: datetime, end: datetime, watched: datetime
    ) -> list[Row]:
        """`watched`: until then somebody did."""
        bounds = [(max(shift.start, start), min(shift.end, end)) for shift in shifts]
        spans = [(milliseconds(begin), max(milliseconds(begin), milliseconds(over))) for begin, over in bounds]
        sums: dict[int, records.Sums] = {}
        async with self._database.reading() as db:
            last = (await records.last(db, [machine.code], before=start)).get(machine.code)
            for first in range(0, len(spans), SPANS_AT_ONCE):
                for found in await records.sums(db, machine.code, spans[first : first + SPANS_AT_ONCE]):
                    sums.setdefault(first + found[0], []).append(found)
        status: Status | None = None if last is None else last.status
        rows: list[Row] = []
        for number, (shift, span) in enumerate(zip(shifts, spans, strict=True)):
            spent = dict.fromkeys(STATUSES, 0)
            parts = sums.get(number, [])
            spent[status or "unknown"] += min((part[3] for part in parts), default=span[1]) - span[0]
            for _, became, time, _, _ in parts:
                spent[became] += time
            if parts:
                status = max(parts, key=lambda part: part[4])[1]
            if status is not None:  # since the last change, which is older than the time when nobody watched
                unwatched = min(spent[status], max(0, span[1] - milliseconds(watched)))
                spent[status] -= unwatched
                spent["disconnected"] += unwatched
            rows.append(Row(machine, shift, {each: time / 1000 for each, time in spent.items()}))
        return rows
