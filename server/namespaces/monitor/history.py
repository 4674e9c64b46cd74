"""What equipment is now and was before, to read. The time it spent in each status is `availability`'s business."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta

from server.errors import InvalidMessage, NotFound
from server.namespaces.monitor import records, spreadsheet
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.schemas import Equipment
from server.namespaces.monitor.watch import Change
from server.storage.database import Database
from server.timestamps import iso_utc, utc_now

LONGEST = timedelta(days=400)
USUAL = timedelta(days=1)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
CSV_PAGE = 2_000


def period(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """The day up to `end`, which is now, unless said. Raises InvalidMessage."""
    end = now if end is None else end
    _check("to", end)
    start = end - USUAL if start is None else start
    _check("from", start)
    if start > end:
        raise InvalidMessage(details={"from": ["Must not be after `to`."]})
    if end - start > LONGEST:
        raise InvalidMessage(details={"from": [f"Must be at most {LONGEST.days} days before `to`."]})
    return start, end


def _check(name: str, moment: datetime) -> None:
    if not EARLIEST <= moment <= LATEST:
        raise InvalidMessage(details={name: [f"Must be between {EARLIEST.year} and {LATEST.year}."]})


class History:
    """`current` is what is known of all machines now, as on the wire."""

    def __init__(
        self,
        database: Database,
        machines: Sequence[Machine],
        alarms: AlarmService,
        current: Callable[[], Sequence[Equipment]],
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._machines = {machine.code: machine for machine in machines}
        self._alarms = alarms
        self._shown = current
        self._now = now

    async def all(self) -> dict[str, object]:
        return {"timestamp": iso_utc(self._now()), "equipment": await self._current(list(self._machines))}

    async def one(self, code: str) -> dict[str, object]:
        """Raises NotFound."""
        self.known(code)
        return (await self._current([code]))[0]

    def known(self, code: str) -> Machine:
        """Raises NotFound."""
        if code not in self._machines:
            raise NotFound("No such equipment")
        return self._machines[code]

    async def changes(
        self, code: str, start: datetime | None, end: datetime | None, limit: int, before: datetime | None
    ) -> dict[str, object]:
        """The newest first, from `start` to before `end`, and before `before`, which `next_before` is where there are
        more. Raises NotFound, InvalidMessage."""
        machine = self.known(code)
        start, end = period(start, end, self._now())
        last = end if before is None else min(before, end)
        async with self._database.reading() as db:
            found = await records.changes(db, code, start, last, limit + 1)
        page = {
            "equipment_code": code,
            "equipment_name": machine.name,
            "from": iso_utc(start),
            "to": iso_utc(end),
            "changes": [_wire(change) for change in found[:limit]],
            "has_more": len(found) > limit,
        }
        return page | {"next_before": iso_utc(found[limit - 1].at)} if len(found) > limit else page

    def csv(
        self, code: str, start: datetime | None, end: datetime | None, before: datetime | None
    ) -> AsyncGenerator[bytes, None]:
        """All of them. Raises NotFound, InvalidMessage, before it is read."""
        machine = self.known(code)
        start, end = period(start, end, self._now())
        header = ("equipment_code", "equipment_name", "timestamp", "status", "previous_status")
        return spreadsheet.document(header, self._rows(machine, start, end if before is None else min(before, end)))

    async def _rows(
        self, machine: Machine, start: datetime, end: datetime
    ) -> AsyncGenerator[list[spreadsheet.Row], None]:
        found: list[Change] = []
        while not found or len(found) == CSV_PAGE:
            async with self._database.reading() as db:
                found = await records.changes(db, machine.code, start, found[-1].at if found else end, CSV_PAGE)
            yield [(machine.code, machine.name, iso_utc(each.at), each.status, each.previous) for each in found]
            if not found:
                return

    async def _current(self, codes: Sequence[str]) -> list[dict[str, object]]:
        shown = {each["equipment_code"]: each for each in self._shown()}
        async with self._database.reading() as db:
            last = await records.last(db, codes)
        alarms: dict[object, list[dict[str, object]]] = {code: [] for code in codes}
        for alarm in await self._alarms.open_alarms(codes):
            alarms[alarm["equipment_code"]].append(alarm)
        found: list[dict[str, object]] = []
        for code in codes:
            equipment, line = shown[code], self._machines[code].line
            change = last.get(code)
            since = iso_utc(change.at) if change is not None and change.status == equipment["status"] else None
            found.append({**equipment, "line": line, "since": since, "alarms": alarms[code]})
        return found


def _wire(change: Change) -> dict[str, object]:
    return {"timestamp": iso_utc(change.at), "status": change.status, "previous_status": change.previous}
