from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.identity import Identity
from server.namespaces.monitor import journal, records
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.journal import Journal
from server.namespaces.monitor.watch import Change
from server.storage.database import Database
from tests.support.client import PATIENCE
from tests.support.equipment import BOTH, MACHINES, PRESS, WELDER, Board, after, fill


class Sleeps:
    """Nobody wakes but by `wake`."""

    def __init__(self) -> None:
        self._sleepers: defaultdict[float, asyncio.Queue[asyncio.Event]] = defaultdict(asyncio.Queue)

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers[seconds].put_nowait(woken)
        await woken.wait()

    async def wake(self, seconds: float) -> None:
        """The next who sleeps this long, once there is one."""
        async with asyncio.timeout(PATIENCE):
            (await self._sleepers[seconds].get()).set()


class Kept:
    """A journal that runs, and a clock that says what a test wants."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.now = after(0)
        self.board = Board()
        self.sleeps = Sleeps()
        self.database = database
        options.setdefault("retention_days", 90)
        self.journal = Journal(
            database, MACHINES, self.board.announce, now=lambda: self.now, sleep=self.sleeps.sleep, **options
        )

    def saw(self, seconds: float, **statuses: str) -> None:
        self.now = after(seconds)
        codes: Mapping[str, Any] = {
            {"welder": WELDER, "press": PRESS}[name].code: each for name, each in statuses.items()
        }
        self.journal.saw(codes, self.now)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.journal.keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    async def stored(self, count: int, code: str = WELDER.code) -> list[tuple[datetime, str]]:
        """Once there are so many changes."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.database.reading() as db:
                    found: list[Change] = await records.changes(db, code, after(-1e6), after(1e6), 100)
                if len(found) >= count:
                    return [(change.at, change.status) for change in reversed(found)]
                await asyncio.sleep(0.005)

    async def alarms(self) -> list[tuple[str, bool, bool]]:
        async with self.database.reading() as db:
            return [(each.kind, each.cleared_at is None, each.flapping) for each in await records.alarms(db, limit=100)]


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database)


class Refusing:
    """A database that is away, until it is `back`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.back = False

    def transaction(self) -> Any:
        return self._database.transaction() if self.back else self._refuse()

    def reading(self) -> Any:
        return self._database.reading() if self.back else self._refuse()

    def _refuse(self) -> None:
        raise ConnectionRefusedError("away")


async def test_an_alarm_is_stored_and_then_told(kept: Kept) -> None:
    rows: list[list[tuple[str, bool, bool]]] = []

    async def announce(payload: Mapping[str, object]) -> None:
        rows.append(await kept.alarms())
        await kept.board.announce(payload)

    kept.journal = Journal(kept.database, MACHINES, announce, retention_days=90, now=lambda: kept.now)
    async with kept.keeping():
        kept.saw(0, welder="running", press="idle")
        kept.saw(0.5, welder="error", press="idle")
        assert await kept.board.heard(1) == [("error", "raised")]
        kept.saw(1, welder="running")
        assert await kept.board.heard(2) == [("error", "raised"), ("error", "cleared")]
    assert rows == [[("error", True, False)], [("error", False, False)]]
    assert await kept.stored(3) == [(after(0), "running"), (after(0.5), "error"), (after(1), "running")]
    raised, cleared = kept.board.events
    assert raised == {
        "alarm_id": cleared["alarm_id"],
        "equipment_code": WELDER.code,
        "equipment_name": WELDER.name,
        "kind": "error",
        "state": "raised",
        "status": "error",
        "previous_status": "running",
        "flapping": False,
        "occurrences": 1,
        "timestamp": "2026-11-02T12:00:00.500Z",
        "raised_at": "2026-11-02T12:00:00.500Z",
    }


@BOTH
async def test_a_takeover_goes_on_where_the_last_one_left_off(kept: Kept, database: Database) -> None:
    async with kept.keeping():
        kept.saw(0, welder="error", press="disconnected")
        await kept.board.heard(2)
    successor = Kept(database)
    successor.saw(5, welder="error", press="idle")  # before it was told to keep
    async with successor.keeping():
        assert await successor.board.heard(1) == [("disconnected", "cleared")]
        successor.saw(6, welder="idle", press="idle")
        assert await successor.board.heard(2) == [("disconnected", "cleared"), ("error", "cleared")]
        assert await successor.stored(2) == [(after(0), "error"), (after(6), "idle")]
    assert {event["alarm_id"] for event in successor.board.events} == {event["alarm_id"] for event in kept.board.events}
    assert [is_open for _, is_open, _ in await successor.alarms()] == [False, False]


async def test_keeping_again_after_another_node_did(kept: Kept, database: Database) -> None:
    async with kept.keeping():
        kept.saw(0, welder="error")
        await kept.board.heard(1)
    other = Kept(database)
    async with other.keeping():
        other.saw(1, welder="idle")
        await other.board.heard(1)
    async with kept.keeping():
        kept.saw(2, welder="error")
        assert await kept.board.heard(2) == [("error", "raised"), ("error", "raised")]
    assert len({event["alarm_id"] for event in kept.board.events}) == 2


async def test_while_nobody_watched_machines_were_disconnected(kept: Kept, database: Database) -> None:
    await fill(database, (WELDER, -100, "running"), seen=-60)
    async with kept.keeping():
        kept.saw(0, welder="running")
        assert await kept.stored(3) == [(after(-100), "running"), (after(-60), "disconnected"), (after(0), "running")]
    assert kept.board.events == []


async def test_until_when_somebody_watched_is_stored_though_nothing_changes(kept: Kept, database: Database) -> None:
    async with kept.keeping():
        kept.saw(0, welder="running")
        await kept.stored(1)
        kept.saw(8, welder="running")
        await kept.sleeps.wake(journal.HEARTBEAT_SECONDS)
        async with asyncio.timeout(PATIENCE):
            while True:
                async with database.reading() as db:
                    if await records.seen_until(db) == after(8):
                        break
                await asyncio.sleep(0.005)


@BOTH
async def test_a_shelf_of_another_node_is_seen_within_a_look(kept: Kept, database: Database) -> None:
    async with kept.keeping():
        kept.saw(0, welder="error")
        await kept.board.heard(1)
        async with database.transaction() as db:
            [alarm] = await records.alarms(db, limit=1)
            alarm.shelved_until = after(60)
        await kept.sleeps.wake(journal.LOOK_SECONDS)
        await kept.sleeps.wake(journal.LOOK_SECONDS)  # it has looked
        kept.saw(10, welder="idle")
        kept.saw(11, welder="error")
        await kept.stored(3)
        assert await kept.board.heard(2) == [("error", "raised"), ("error", "cleared")]
        over = kept.board.events[1]
        assert (over["cleared_at"], over["shelved_until"]) == ("2026-11-02T12:00:10.000Z", "2026-11-02T12:01:00.000Z")
        kept.saw(60, welder="error")
        assert (await kept.board.heard(3))[2:] == [("error", "unshelved")]
        kept.saw(61, welder="idle")
        await kept.board.heard(4)
    async with database.reading() as db:
        newest = (await records.alarms(db, limit=1))[0]
    assert (newest.shelved_until, newest.cleared_at) == (None, after(61))


@BOTH
async def test_an_alarm_that_clears_before_a_look_tells_that_another_node_unshelved_it(
    kept: Kept, database: Database
) -> None:
    desk = AlarmService(database, MACHINES, kept.board.announce, now=lambda: kept.now)
    olga = Identity("olga", None, frozenset({"operator"}))
    async with kept.keeping():
        kept.saw(0, welder="error")
        await kept.board.heard(1)
        alarm_id = str(kept.board.events[0]["alarm_id"])
        await desk.shelve(olga, alarm_id, 5, None)
        await kept.sleeps.wake(journal.LOOK_SECONDS)
        await kept.sleeps.wake(journal.LOOK_SECONDS)  # it has looked
        await desk.unshelve(olga, alarm_id)
        kept.saw(1, welder="idle")
        assert [state for _, state in await kept.board.heard(4)] == ["raised", "shelved", "unshelved", "cleared"]


async def test_where_the_database_is_away_alarms_are_told_and_stored_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "GRACE_SECONDS", 0.01)
    refusing = Refusing(database)
    kept = Kept(database)
    kept.journal._database = refusing  # type: ignore[assignment]
    with capture_logs() as logs:
        async with kept.keeping():
            kept.saw(0, welder="error")
            assert await kept.board.heard(1) == [("error", "raised")]
            kept.saw(1, welder="idle")
            await kept.board.heard(2)
            refusing.back = True
            await kept.sleeps.wake(journal.FIRST_RETRY_SECONDS)
            assert await kept.stored(2) == [(after(0), "error"), (after(1), "idle")]
    assert [each["event"] for each in logs] == ["equipment history is not stored", "equipment history is stored again"]
    assert await kept.alarms() == [("error", False, False)]
    assert kept.journal.dropped == 0


async def test_what_was_before_a_takeover_without_the_database_is_known_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody watched all the time, and nothing is told to have changed that did not."""
    monkeypatch.setattr(journal, "GRACE_SECONDS", 0.01)
    await fill(database, (WELDER, -100, "error"), (PRESS, -100, "running"), seen=-5)
    kept, refusing = Kept(database), Refusing(database)
    kept.journal._database = refusing  # type: ignore[assignment]
    with capture_logs():
        async with kept.keeping():
            kept.saw(0, welder="error", press="idle")
            await kept.board.heard(1)
            kept.saw(60, welder="running", press="idle")
            refusing.back = True
            await kept.sleeps.wake(journal.FIRST_RETRY_SECONDS)
            assert await kept.stored(2) == [(after(-100), "error"), (after(60), "running")]
            assert await kept.stored(2, PRESS.code) == [(after(-100), "running"), (after(0), "idle")]
    async with database.reading() as db:
        last = await records.last(db, [WELDER.code, PRESS.code])
    assert {change.previous for change in last.values()} == {"error", "running"}


async def test_what_is_held_for_a_database_that_is_away_has_a_bound_and_the_newest_stays(database: Database) -> None:
    kept = Kept(database, most_held=2)
    refusing = Refusing(database)
    async with kept.keeping():
        kept.saw(0, welder="running")
        await kept.stored(1)
        kept.journal._database = refusing  # type: ignore[assignment]
        with capture_logs() as logs:
            for second, status in enumerate(("idle", "stopped", "running", "idle"), start=1):
                kept.saw(second, welder=status)
        refusing.back = True
        assert await kept.stored(3) == [(after(0), "running"), (after(3), "running"), (after(4), "idle")]
    assert kept.journal.dropped == 2
    assert [each["log_level"] for each in logs] == ["error"]


@BOTH
async def test_a_store_that_failed_half_way_is_done_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(database)
    stored = records.store
    failures = iter([True, False])

    async def store(*args: Any) -> None:
        await stored(*args)
        if next(failures, False):
            raise OSError("the line broke")

    monkeypatch.setattr(records, "store", store)
    async with kept.keeping():
        kept.saw(0, welder="error")
        assert await kept.board.heard(1) == [("error", "raised")]
        await kept.sleeps.wake(journal.FIRST_RETRY_SECONDS)
        assert await kept.stored(1) == [(after(0), "error")]


async def test_one_alarm_that_is_not_delivered_is_not_the_last(kept: Kept, database: Database) -> None:
    announced: list[str] = []

    async def announce(payload: Mapping[str, object]) -> None:
        announced.append(str(payload["state"]))
        await kept.board.announce(payload)
        if len(announced) == 1:
            raise ConnectionError("nobody there")

    kept.journal = Journal(database, MACHINES, announce, retention_days=90, now=lambda: kept.now)
    with capture_logs():
        async with kept.keeping():
            kept.saw(0, welder="error")
            kept.saw(1, welder="idle")
            await kept.board.heard(2)
    assert announced == ["raised", "cleared"]


@BOTH
async def test_what_is_older_than_the_retention_goes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FORGET_AT_ONCE", 2)
    await fill(
        database, *((WELDER, second, "idle") for second in range(5)), (PRESS, 0, "idle"), (PRESS, 86_399, "error")
    )
    kept = Kept(database, retention_days=1)
    kept.now = after(86_400 + 5)
    async with kept.keeping():
        await kept.sleeps.wake(journal.RETENTION_SECONDS)
        await kept.sleeps.wake(journal.RETENTION_SECONDS)  # it is done with the first
        assert await kept.stored(1) == [(after(4), "idle")]
        assert len(await kept.stored(2, PRESS.code)) == 2


async def test_once_the_past_is_known_nobody_goes_on_without_it(kept: Kept) -> None:
    async with kept.keeping():
        kept.saw(0, welder="idle")
        await kept.stored(1)
        waiting = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert kept.journal._begin not in [each._callback for each in waiting]
