from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from server.errors import InvalidMessage, NotFound
from server.namespaces.monitor import history, records, schemas
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.damping import Alarm
from server.namespaces.monitor.history import EARLIEST, LATEST, History, period
from server.namespaces.monitor.schemas import Equipment, Reading
from server.storage.database import Database
from tests.support.equipment import MACHINES, NOON, PRESS, WELDER, Board, after, fill, opened

DAY = timedelta(days=1)


# -- the time that is asked for ---------------------------------------------------------------------------------------


def test_the_last_day_unless_said() -> None:
    assert period(None, None, NOON) == (NOON - DAY, NOON)
    assert period(None, after(60), NOON) == (after(60) - DAY, after(60))
    assert period(after(-5), None, NOON) == (after(-5), NOON)
    assert period(NOON, NOON, NOON) == (NOON, NOON)


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (after(1), NOON, "from"),
        (after(1), None, "from"),
        (NOON - 401 * DAY, NOON, "from"),
        (EARLIEST - 2 * DAY, EARLIEST, "from"),
        (NOON, LATEST + DAY, "to"),
        (None, LATEST.replace(year=9999), "to"),
        (None, EARLIEST.replace(year=1), "to"),
    ],
)
def test_times_that_make_no_sense(start: datetime | None, end: datetime | None, field: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        period(start, end, NOON)
    assert refused.value.details is not None
    assert field in refused.value.details


# -- what there is to read --------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with opened(sqlite_url) as database:
        await fill(database, *((WELDER, each, ("idle", "error")[each % 2]) for each in range(6)), (PRESS, 0, "idle"))
        yield database


@pytest.fixture
def read(database: Database) -> History:
    def shown() -> list[Equipment]:
        reading = Reading("error")
        return [
            schemas.equipment(each.code, each.name, reading, connected=True, last_updated=NOON) for each in MACHINES
        ]

    alarms = AlarmService(database, MACHINES, Board().announce)
    return History(database, MACHINES, alarms, shown, now=lambda: after(60))


async def test_what_equipment_is_now(database: Database, read: History) -> None:
    async with database.transaction() as db:
        await records.store(db, [], [Alarm("a1", WELDER.code, "error", after(5))], {}, None)
    found = await read.all()
    equipment: Any = found["equipment"]
    assert found["timestamp"] == "2026-11-02T12:01:00.000Z"
    assert [(each["equipment_code"], each["line"], each["since"]) for each in equipment] == [
        (WELDER.code, "A", "2026-11-02T12:00:05.000Z"),
        (PRESS.code, "B", None),  # that it is so was not stored yet
    ]
    assert [[alarm["alarm_id"] for alarm in each["alarms"]] for each in equipment] == [["a1"], []]
    assert await read.one(WELDER.code) == equipment[0]
    with pytest.raises(NotFound):
        await read.one("unknown")


async def test_changes_by_pages_miss_and_repeat_none(read: History) -> None:
    seen: list[str] = []
    before: datetime | None = None
    for last in (False, False, True):
        page: Any = await read.changes(WELDER.code, after(1), after(6), 2, before)
        seen += [change["timestamp"] for change in page["changes"]]
        assert page["has_more"] is not last
        assert ("next_before" in page) is not last
        before = None if last else datetime.fromisoformat(page["next_before"])
    assert seen == [f"2026-11-02T12:00:0{second}.000Z" for second in (5, 4, 3, 2, 1)]


async def test_a_change_says_what_was_before(read: History) -> None:
    page = await read.changes(WELDER.code, after(5), after(6), 9, None)
    assert page["changes"] == [{"timestamp": "2026-11-02T12:00:05.000Z", "status": "error", "previous_status": "idle"}]
    with pytest.raises(NotFound):
        await read.changes("unknown", None, None, 9, None)


async def test_a_csv_holds_all_however_many_pages_that_takes(read: History, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 4, 6, 100):
        monkeypatch.setattr(history, "CSV_PAGE", size)
        text = b"".join([part async for part in read.csv(WELDER.code, after(0), after(6), None)]).decode()
        header, *lines = text.removeprefix("\ufeff").split("\r\n")
        assert header == "equipment_code,equipment_name,timestamp,status,previous_status"
        assert lines[0] == f"{WELDER.code},{WELDER.name},2026-11-02T12:00:05.000Z,error,idle"
        assert (len(lines), lines[-1]) == (7, "")
    with pytest.raises(NotFound):
        read.csv("unknown", None, None, None)
