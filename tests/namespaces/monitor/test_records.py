from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest_asyncio

from server.namespaces.monitor import records
from server.namespaces.monitor.damping import Alarm
from server.namespaces.monitor.watch import Change
from server.storage.database import Database
from tests.support.equipment import PRESS, WELDER, after, fill, opened


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


async def test_what_is_stored_twice_is_there_once(database: Database) -> None:
    change = Change(WELDER.code, after(1.002), "error", "idle")
    alarm = Alarm("a1", WELDER.code, "error", after(1.002), shelved_until=after(90), shelved_by="olga")
    over = Alarm("a1", WELDER.code, "error", after(1.002), 4, flapping=True, cleared_at=after(9))
    for each in (alarm, over):
        async with database.transaction() as db:
            await records.store(db, [change], [each], {}, after(5))
    async with database.reading() as db:
        assert await records.changes(db, WELDER.code, after(0), after(2), 10) == [change]
        assert await records.last(db, [WELDER.code, "unknown"]) == {WELDER.code: change}
        assert await records.seen_until(db) == after(5)
        [row] = await records.alarms(db, limit=10)
    assert (row.occurrences, row.flapping, row.cleared_at) == (4, True, after(9))
    assert (row.shelved_until, row.shelved_by) == (after(90), "olga")  # people's, not the reader's


async def test_an_alarm_that_is_over_is_not_opened_again_by_who_knows_less(database: Database) -> None:
    alarm = Alarm("a1", WELDER.code, "error", after(1))
    for each in (alarm, replace(alarm, cleared_at=after(9)), alarm):
        async with database.transaction() as db:
            await records.store(db, [], [each], {}, None)
    async with database.reading() as db:
        [row] = await records.alarms(db, limit=10)
    assert row.cleared_at == after(9)


async def test_an_empty_past(database: Database) -> None:
    async with database.reading() as db:
        past = await records.past(db, [WELDER.code], after(0))
        assert await records.past(db, [], after(0)) == past
    assert (past.last, past.alarms, past.shelves, past.seen_until) == ({}, [], {}, None)


async def test_the_last_change_of_each_before_a_moment(database: Database) -> None:
    await fill(database, (WELDER, 0, "idle"), (WELDER, 10, "error"), (PRESS, 5, "idle"))
    async with database.reading() as db:
        found = await records.last(db, [WELDER.code, PRESS.code], before=after(10))
    assert {code: change.at for code, change in found.items()} == {WELDER.code: after(0), PRESS.code: after(5)}


async def test_a_shelf_that_ended_is_left_where_a_new_one_was_made(database: Database) -> None:
    alarms = [
        Alarm(name, name, "error", after(0), shelved_until=after(until)) for name, until in (("a", 10), ("b", 99))
    ]
    async with database.transaction() as db:
        await records.store(db, [], alarms, {"a": after(10), "b": after(10)}, None)
    async with database.reading() as db:
        assert await records.shelves(db, after(11)) == {("b", "error"): (after(99), None)}


async def test_shelves_hold_beyond_their_alarm_and_an_open_one_until_its_end_is_told(database: Database) -> None:
    alarms = [
        Alarm("a", "open", "error", after(0), shelved_until=after(10)),
        Alarm("b", "over", "error", after(0), shelved_until=after(99), cleared_at=after(5)),
        Alarm("c", "past", "error", after(0), shelved_until=after(10), cleared_at=after(5)),
    ]
    async with database.transaction() as db:
        await records.store(db, [], alarms, {}, None)
    async with database.reading() as db:
        assert {code for code, _ in await records.shelves(db, after(11))} == {"open", "over"}


async def test_what_is_old_goes_but_what_was_when_the_time_came_stays(database: Database) -> None:
    await fill(database, *((WELDER, second, "idle") for second in range(5)), (PRESS, 0, "idle"), (PRESS, 9, "error"))
    async with database.transaction() as db:
        assert await records.forget_changes(db, WELDER.code, after(10), 3) == 3
        assert await records.forget_changes(db, WELDER.code, after(10), 3) == 1
        assert await records.forget_changes(db, WELDER.code, after(10), 3) == 0
        assert await records.forget_changes(db, PRESS.code, after(5), 3) == 0
        assert [change.at for change in await records.changes(db, WELDER.code, after(0), after(10), 9)] == [after(4)]
        codes = [await records.codes(db, after_code) for after_code in ("", WELDER.code, PRESS.code)]
    assert codes == [WELDER.code, PRESS.code, None]


async def test_alarms_that_ended_long_ago_go(database: Database) -> None:
    alarms = [Alarm(str(each), "m", "error", after(0), cleared_at=after(each)) for each in range(3)]
    async with database.transaction() as db:
        await records.store(db, [], [*alarms, Alarm("open", "m", "error", after(0))], {}, None)
        assert await records.forget_alarms(db, after(2), 100) == 2
        assert [alarm.alarm_id for alarm in await records.alarms(db, limit=9)] == ["open", "2"]
