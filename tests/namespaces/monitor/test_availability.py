from __future__ import annotations

import itertools
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from server.errors import InvalidMessage, NotFound
from server.namespaces.monitor import availability
from server.namespaces.monitor.availability import STATUSES, Availability
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.shifts import Shifts
from server.storage.database import Database
from tests.support.equipment import BOTH, MACHINES, NOON, PRESS, WELDER, after, fill, past

SHIFTS = Shifts(ZoneInfo("America/New_York"), (("day", time(6)), ("evening", time(14)), ("night", time(22))))
HOUR = 3600.0


def at(database: Database, seconds: float, shifts: Shifts = SHIFTS) -> Availability:
    return Availability(database, MACHINES, shifts, now=lambda: after(seconds))


async def rows(asked: Availability, start: float, end: float, machine: Machine = WELDER) -> list[dict[str, Any]]:
    report = await asked.report(after(start), after(end), machine.code, None)
    found: Any = report["availability"]
    return list(found)


def spent(row: dict[str, Any]) -> dict[str, float]:
    return {status: seconds for status, seconds in row["seconds"].items() if seconds}


async def test_shifts_share_the_time_among_them(database: Database) -> None:
    await fill(
        database, (WELDER, 0, "running"), (WELDER, 10 * HOUR, "error"), (WELDER, 11 * HOUR, "idle"), seen=HOUR * 99
    )
    found = await rows(at(database, 24 * HOUR), 0, 24 * HOUR)
    assert [(row["shift"], row["start"], spent(row), row["availability"]) for row in found] == [
        ("day", "2026-11-02T11:00:00.000Z", {"running": 7 * HOUR}, 1.0),
        ("evening", "2026-11-02T19:00:00.000Z", {"running": 3 * HOUR, "error": HOUR, "idle": 4 * HOUR}, 0.375),
        ("night", "2026-11-03T03:00:00.000Z", {"idle": 8 * HOUR}, 0.0),
        ("day", "2026-11-03T11:00:00.000Z", {"idle": HOUR}, 0.0),
    ]


async def test_the_future_is_in_no_shift_and_an_unknown_past_in_no_availability(database: Database) -> None:
    await fill(database, (WELDER, 3 * HOUR, "running"), seen=4 * HOUR)
    found = await rows(at(database, 4 * HOUR), 0, 24 * HOUR)
    assert [(spent(row), row["availability"]) for row in found] == [
        ({"unknown": 3 * HOUR, "running": HOUR}, 1.0),
        ({}, None),
        ({}, None),
        ({}, None),
    ]
    assert [row["availability"] for row in await rows(at(database, 4 * HOUR), 0, 24 * HOUR, PRESS)] == [None] * 4


async def test_what_was_before_the_time_asked_for_goes_on_in_it(database: Database) -> None:
    await fill(database, (WELDER, -99 * HOUR, "idle"), (WELDER, -98 * HOUR, "running"), seen=HOUR)
    [row] = await rows(at(database, HOUR), 0, HOUR)
    assert spent(row) == {"running": HOUR}


@BOTH
async def test_since_nobody_watches_machines_are_disconnected(database: Database) -> None:
    await fill(database, (WELDER, 0, "running"), seen=HOUR)
    assert spent((await rows(at(database, HOUR + 30), 0, 3 * HOUR))[0]) == {"running": HOUR + 30}
    [row] = await rows(at(database, 3 * HOUR), 0, 3 * HOUR)
    assert spent(row) == {"running": HOUR, "disconnected": 2 * HOUR}
    assert row["availability"] == pytest.approx(1 / 3, abs=1e-6)


async def test_the_night_of_25_hours(database: Database) -> None:
    start = datetime(2026, 11, 1, 4, tzinfo=UTC)  # midnight there
    await fill(database, (WELDER, -99 * HOUR, "running"), seen=HOUR)
    one = Shifts(SHIFTS.zone)
    found = await at(database, 48 * HOUR, one).report(start, start + timedelta(hours=25), WELDER.code, None)
    whole: Any = found["availability"]
    assert [sum(row["seconds"].values()) for row in whole] == [25 * HOUR]


@BOTH
async def test_it_is_what_adding_up_every_change_gives(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "SPANS_AT_ONCE", 4)
    histories = ((WELDER, past(WELDER, 200, 1)), (PRESS, past(PRESS, 20, 2, longest=40_000.0)))
    await fill(database, *itertools.chain.from_iterable(history for _, history in histories), seen=1e7)
    asked = at(database, 1e7)
    for (machine, history), (start, end) in itertools.product(
        histories, [(-500.5, 400_000.0), (12_345.678, 98_765.432)]
    ):
        found = await rows(asked, start, end, machine)
        changes = [(-1e9, "unknown"), *((seconds, status) for _, seconds, status in history), (1e9, "")]
        for row in found:
            begin, over = ((datetime.fromisoformat(row[each]) - NOON).total_seconds() for each in ("start", "end"))
            begin, over = max(begin, start), min(over, end)
            expected = dict.fromkeys(STATUSES, 0.0)
            for (first, status), (until, _) in itertools.pairwise(changes):
                expected[status] += max(0.0, min(until, over) - max(first, begin))  # type: ignore[index]
            assert row["seconds"] == pytest.approx(expected, abs=1e-6)
        assert sum(sum(row["seconds"].values()) for row in found) == pytest.approx(end - start)


async def test_by_line_and_all_and_nobody(database: Database) -> None:
    asked = at(database, HOUR)
    for line, codes in ((None, [WELDER.code, PRESS.code]), ("B", [PRESS.code])):
        found: Any = await asked.report(after(0), after(HOUR), None, line)
        assert [row["equipment_code"] for row in found["availability"]] == codes
    for equipment, line in (("unknown", None), (WELDER.code, "B"), (None, "unknown")):
        with pytest.raises(NotFound):
            await asked.report(None, None, equipment, line)
        with pytest.raises(NotFound):
            asked.csv(None, None, equipment, line)


async def test_more_rows_than_an_answer_holds_are_for_csv(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "MOST_ROWS", 3)
    asked = at(database, 24 * HOUR)
    with pytest.raises(InvalidMessage):
        await asked.report(after(0), after(24 * HOUR), None, None)
    text = b"".join([part async for part in asked.csv(after(0), after(24 * HOUR), None, None)]).decode()
    header, *lines = text.splitlines()
    assert header.endswith("running_seconds,idle_seconds,stopped_seconds,error_seconds,disconnected_seconds,"
                           "unknown_seconds,availability")  # fmt: skip
    assert len(lines) == 8
    assert lines[0] == (
        "KRCWO12ELOA101,Upper 로봇 용접,A,day,2026-11-02T11:00:00.000Z,2026-11-02T19:00:00.000Z,"
        "0.0,0.0,0.0,0.0,0.0,25200.0,"
    )
