from __future__ import annotations

from datetime import datetime

import pytest
import pytest_asyncio

from server.errors import Conflict, Forbidden, NotFound
from server.identity import Identity
from server.namespaces.monitor import records, told
from server.namespaces.monitor.alarms import AlarmService
from server.namespaces.monitor.damping import Alarm
from server.storage.database import Database
from tests.support.equipment import BOTH, MACHINES, PRESS, WELDER, Board, after, fill

OLGA = Identity("olga", "acme", frozenset({"operator"}))
ADA = Identity("ada", None, frozenset({"admin"}))
ALICE = Identity("alice", "acme", frozenset({"user"}))


class Desk:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.board = Board()
        self.time = after(100)
        self.service = AlarmService(database, MACHINES, self.board.announce, now=self.now)

    def now(self) -> datetime:
        return self.time

    async def raised(self, *alarms: Alarm) -> None:
        async with self.database.transaction() as db:
            await records.store(db, [], alarms, {}, None)


@pytest_asyncio.fixture
async def desk(database: Database) -> Desk:
    await fill(database, (WELDER, 0, "idle"), (WELDER, 1, "error"))
    desk = Desk(database)
    await desk.raised(
        Alarm("open", WELDER.code, "error", after(1)),
        Alarm("over", PRESS.code, "disconnected", after(0), cleared_at=after(2)),
    )
    return desk


async def test_only_staff_may_act_and_only_on_what_there_is(desk: Desk) -> None:
    for alarm_id in ("open", "unknown"):
        with pytest.raises(Forbidden):
            await desk.service.acknowledge(ALICE, alarm_id, None)
        with pytest.raises(Forbidden):
            await desk.service.shelve(ALICE, alarm_id, 5, None)
        with pytest.raises(Forbidden):
            await desk.service.unshelve(ALICE, alarm_id)
    for act in (desk.service.acknowledge(OLGA, "unknown", None), desk.service.shelve(OLGA, "unknown", 1, None)):
        with pytest.raises(NotFound):
            await act
    with pytest.raises(Conflict):
        await desk.service.shelve(OLGA, "over", 5, None)
    assert desk.board.events == []


@BOTH
async def test_who_acknowledged_first_stays(desk: Desk) -> None:
    first = await desk.service.acknowledge(OLGA, "open", "on my way")
    desk.time = after(200)
    assert await desk.service.acknowledge(ADA, "open", "me too") == first
    assert (first["acknowledged_by"], first["acknowledge_comment"]) == ("olga", "on my way")
    assert first["acknowledged_at"] == "2026-11-02T12:01:40.000Z"
    [event] = desk.board.events
    assert event == {
        "alarm_id": "open",
        "equipment_code": WELDER.code,
        "equipment_name": WELDER.name,
        "kind": "error",
        "state": "acknowledged",
        "status": "error",
        "previous_status": "idle",
        "flapping": False,
        "occurrences": 1,
        "timestamp": "2026-11-02T12:01:40.000Z",
        "raised_at": "2026-11-02T12:00:01.000Z",
        "by": "olga",
        "comment": "on my way",
    }


async def test_an_alarm_that_is_over_may_be_acknowledged(desk: Desk) -> None:
    assert (await desk.service.acknowledge(OLGA, "over", None))["acknowledged_by"] == "olga"
    [event] = desk.board.events
    assert "comment" not in event
    assert (event["state"], event["cleared_at"]) == ("acknowledged", "2026-11-02T12:00:02.000Z")
    assert told.EquipmentAlarm().validate(event) == {}


@BOTH
async def test_shelved_again_is_shelved_anew_and_unshelved_is_so_once(desk: Desk) -> None:
    await desk.service.shelve(OLGA, "open", 60, "known")
    shorter = await desk.service.shelve(ADA, "open", 5, None)
    assert (shorter["shelved_until"], shorter["shelved_by"]) == ("2026-11-02T12:06:40.000Z", "ada")
    async with desk.database.reading() as db:
        assert await records.shelves(db, desk.time) == {(WELDER.code, "error"): (after(400), "ada")}
    unshelved = await desk.service.unshelve(OLGA, "open")
    assert (unshelved["shelved_until"], unshelved["unshelved_by"]) == (None, "olga")
    await desk.service.unshelve(OLGA, "open")
    assert [(event["state"], event["by"], event.get("shelved_until")) for event in desk.board.events] == [
        ("shelved", "olga", "2026-11-02T13:01:40.000Z"),
        ("shelved", "ada", "2026-11-02T12:06:40.000Z"),
        ("unshelved", "olga", None),
    ]


async def test_unshelved_are_all_of_the_machine_and_kind(desk: Desk) -> None:
    await desk.service.shelve(OLGA, "open", 60, None)
    await desk.raised(
        Alarm("open", WELDER.code, "error", after(1), cleared_at=after(101)),
        Alarm("next", WELDER.code, "error", after(102), shelved_until=after(3700), shelved_by="olga"),
    )
    await desk.service.unshelve(OLGA, "next")
    async with desk.database.reading() as db:
        assert await records.shelves(db, desk.time) == {}


async def test_a_shelf_that_is_over_is_not_shown(desk: Desk) -> None:
    await desk.service.shelve(OLGA, "open", 1, None)
    desk.time = after(160)
    [shown] = await desk.service.list_alarms(True)
    assert shown["shelved_until"] is None


@BOTH
async def test_open_and_past_and_by_pages(desk: Desk) -> None:
    assert [each["alarm_id"] for each in await desk.service.list_alarms(True)] == ["open"]
    assert [each["alarm_id"] for each in await desk.service.list_alarms(False)] == ["over"]
    assert [each["alarm_id"] for each in await desk.service.open_alarms([PRESS.code])] == []
    first = await desk.service.page(state="all", equipment=None, limit=1, before=None)
    before = first["next_before"]
    assert isinstance(before, int)
    second = await desk.service.page(state="all", equipment=None, limit=1, before=before)
    found = [page["alarms"] for page in (first, second)]
    assert [[each["alarm_id"] for each in alarms] for alarms in found if isinstance(alarms, list)] == [
        ["over"],
        ["open"],
    ]
    assert (second["has_more"], "next_before" in second) == (False, False)
    assert (await desk.service.page(state="past", equipment=WELDER.code, limit=9, before=None))["alarms"] == []
    with pytest.raises(NotFound):
        await desk.service.page(state="all", equipment="unknown", limit=1, before=None)


async def test_an_alarm_of_a_machine_that_is_gone_has_no_name(desk: Desk) -> None:
    await desk.raised(Alarm("gone", "KRCWO12ELOA999", "error", after(1)))
    shown = await desk.service.acknowledge(OLGA, "gone", None)
    assert shown["equipment_name"] is None
    assert desk.board.events[0]["status"] is None
