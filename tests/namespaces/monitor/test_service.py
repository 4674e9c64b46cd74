from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.namespaces.monitor.schemas import Reading, Status
from server.namespaces.monitor.sources import SourceError
from tests.namespaces.monitor.plant import EPOCH, IDLE, RUNNING, Cluster, Scripted, Time, machine, refuse, running

Logs = list[MutableMapping[str, Any]]
WELDER, PRESS, ROBOT = (machine(number) for number in (1, 2, 3))


class Notes:
    """A journal that keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Status], datetime]] = []
        self.kept: list[str] = []
        self.fault: Exception | None = None

    async def keep(self) -> None:
        self.kept.append("begun")
        try:
            if self.fault is not None:
                raise self.fault
            await asyncio.Event().wait()
        finally:
            self.kept.append("ended")

    def saw(self, statuses: Mapping[str, Status], at: datetime) -> None:
        self.seen.append((dict(statuses), at))
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as captured:
        yield captured


async def test_one_status_every_period(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER])]) as (_, outbox):
        await time.until(4.5)
    assert outbox.moments == [0.05, 1.05, 2.05, 3.05, 4.05]


async def test_a_status_shows_what_was_read_just_before(time: Time) -> None:
    source = Scripted(time.clock, [WELDER])
    async with running(time, [WELDER], [source]) as (_, outbox):
        await time.until(0.9)
        source.answer = lambda: {WELDER.code: IDLE}
        await time.until(1.5)
    _, payload = outbox.sent[-1]
    assert payload == {
        "timestamp": "2025-11-03T10:30:01.050Z",
        "equipment": [
            {
                "equipment_code": WELDER.code,
                "equipment_name": "machine 1",
                "status": "idle",
                "tags": {"status_tag": 0, "error_tag": 0, "connection": True},
                "last_updated": "2025-11-03T10:30:01.000Z",
                "quality": "good",
                "source_time": None,
                "server_time": "2025-11-03T10:30:01.000Z",
            }
        ],
    }


async def test_a_short_period_has_a_shorter_lead(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER])], period=0.1) as (_, outbox):
        await time.until(0.25)
    assert outbox.moments == [0.01, 0.11, 0.21]


async def test_the_loop_was_held_up_and_nothing_is_doubled(time: Time) -> None:
    source = Scripted(time.clock, [WELDER])
    async with running(time, [WELDER], [source]) as (_, outbox):
        await time.until(1.5)
        time.now = 4.3
        await time.until(6.5)
    assert outbox.moments == [0.05, 1.05, 4.3, 5.05, 6.05]
    assert len(source.reads) == len(set(source.reads))


async def test_nothing_is_newest_before_the_first_status(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER])]) as (service, outbox):
        assert service.newest() is None
        await time.until(0.2)
        newest = service.newest()
        assert newest is not None
        assert newest.equipment() == outbox.sent[0][1]["equipment"]
        assert newest.taken == EPOCH + timedelta(seconds=0.2)


async def test_machines_are_in_the_order_of_the_file_whatever_their_source(time: Time) -> None:
    sources = [Scripted(time.clock, [ROBOT, WELDER]), Scripted(time.clock, [PRESS])]
    async with running(time, [WELDER, PRESS, ROBOT], sources) as (_, outbox):
        await time.until(0.5)
    assert [machine["equipment_code"] for machine in outbox.sent[0][1]["equipment"]] == [
        WELDER.code,
        PRESS.code,
        ROBOT.code,
    ]


def crash() -> Mapping[str, Reading]:
    raise ZeroDivisionError("a bug in a source")


@pytest.mark.parametrize("fault", [refuse, crash, dict, lambda: {WELDER.code: SourceError("exception 2")}])
async def test_a_fault_disconnects_its_machines_and_no_others(
    time: Time, logs: Logs, fault: Callable[[], Mapping[str, Reading]]
) -> None:
    welder, press = Scripted(time.clock, [WELDER]), Scripted(time.clock, [PRESS])
    async with running(time, [WELDER, PRESS], [welder, press]) as (_, outbox):
        await time.until(1.2)
        welder.answer = fault
        await time.until(3.2)
    assert outbox.statuses() == [("running", "running")] * 2 + [("disconnected", "running")] * 2
    lost, well = outbox.sent[-1][1]["equipment"]
    assert lost["tags"] == {"status_tag": 1, "error_tag": 0, "connection": False}  # the last that was known
    assert lost["last_updated"] == "2025-11-03T10:30:01.000Z"
    assert well["last_updated"] == "2025-11-03T10:30:03.000Z"
    assert [each["equipment"] for each in logs if each["event"] == "equipment disconnected"] == [[WELDER.code]]
    assert any(each["event"] == "equipment source failed" for each in logs) == (fault is crash)


async def test_a_machine_that_never_answered(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER], refuse)]) as (_, outbox):
        await time.until(2.2)
    (machine,) = outbox.sent[-1][1]["equipment"]
    assert machine["status"] == "disconnected"
    assert machine["tags"] == {"status_tag": 0, "error_tag": 0, "connection": False}
    assert machine["last_updated"] == "2025-11-03T10:30:00.000Z"


async def test_coming_and_going_is_logged_once(time: Time, logs: Logs) -> None:
    source = Scripted(time.clock, [WELDER])
    async with running(time, [WELDER], [source]):
        await time.until(1)
        source.answer = refuse
        await time.until(10)
        source.answer = lambda: {WELDER.code: RUNNING}
        await time.until(20)
    assert [(each["event"], each.get("reason")) for each in logs] == [
        ("equipment disconnected", "cannot connect"),
        ("equipment connected", None),
    ]


async def test_a_status_that_cannot_be_delivered_is_not_the_last(time: Time, logs: Logs) -> None:
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER])]) as (_, outbox):
        outbox.broken = True
        await time.until(2.5)
    assert outbox.moments == [0.05, 1.05, 2.05]
    assert [each["event"] for each in logs] == ["status not delivered"] * 3


# -- quality -----------------------------------------------------------------------------------------------------


async def test_a_stale_value_is_read_but_not_updated(time: Time) -> None:
    source = Scripted(time.clock, [WELDER])
    told = EPOCH - timedelta(minutes=1)
    async with running(time, [WELDER], [source]) as (_, outbox):
        await time.until(1.2)
        source.answer = lambda: {WELDER.code: Reading("running", "stale", told)}
        await time.until(3.2)
    assert outbox.newest("status") == ["running"]
    assert outbox.newest("quality") == ["stale"]
    assert outbox.newest("source_time") == ["2025-11-03T10:29:00.000Z"]
    assert outbox.newest("last_updated") == ["2025-11-03T10:30:01.000Z"]
    assert outbox.newest("server_time") == ["2025-11-03T10:30:03.000Z"]


async def test_its_tags_may_say_that_a_machine_is_disconnected(time: Time, logs: Logs) -> None:
    source, notes = Scripted(time.clock, [WELDER, PRESS]), Notes()
    async with running(time, [WELDER, PRESS], [source], journal=notes) as (_, outbox):
        await time.until(1.2)
        source.answer = lambda: {WELDER.code: Reading("disconnected"), PRESS.code: IDLE}
        await time.until(3.2)
    assert outbox.newest("status") == ["disconnected", "idle"]
    assert outbox.newest("quality") == ["bad", "good"]
    assert outbox.newest("server_time") == ["2025-11-03T10:30:01.000Z", "2025-11-03T10:30:03.000Z"]
    assert outbox.newest("tags")[0] == {"status_tag": 1, "error_tag": 0, "connection": False}
    assert source.reads == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]  # its source is well
    assert notes.seen[-1][0] == {WELDER.code: "disconnected", PRESS.code: "idle"}
    assert [each["reason"] for each in logs] == ["its tags say so"]


async def test_what_is_no_reading_is_a_fault_of_its_machine(time: Time) -> None:
    nonsense: Any = {WELDER.code: "running", PRESS.code: RUNNING, "KRCWO12ELO9999": RUNNING}
    source = Scripted(time.clock, [WELDER, PRESS], lambda: nonsense)
    async with running(time, [WELDER, PRESS], [source]) as (_, outbox):
        await time.until(0.2)
    assert outbox.statuses() == [("disconnected", "running")]


async def test_a_read_that_never_ends_is_not_taken_for_one_that_went_well(time: Time) -> None:
    """Also where it cannot be cancelled."""
    stuck, press = Scripted(time.clock, [WELDER]), Scripted(time.clock, [PRESS])
    async with running(time, [WELDER, PRESS], [stuck, press]) as (_, outbox):
        await time.until(1.2)
        stuck.hang = asyncio.Event()
        await time.until(5.2)
    assert outbox.statuses()[-2:] == [("disconnected", "running")] * 2
    assert outbox.statuses()[:2] == [("running", "running")] * 2


async def test_many_who_come_at_once_are_shown_the_same(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time.clock, [WELDER])]) as (service, _):
        await time.until(0.2)
        first = service.newest()
        assert service.newest() is first
        await time.until(0.3)
        assert service.newest() is not first


# -- the journal -------------------------------------------------------------------------------------------------


async def test_the_journal_sees_every_read_and_is_kept_where_machines_are_read(time: Time) -> None:
    cluster, here, there = Cluster(), Notes(), Notes()
    sources = [Scripted(time.clock, [WELDER, PRESS]), Scripted(time.clock, [WELDER, PRESS])]
    one, other = cluster.candidates
    async with (
        running(time, [WELDER, PRESS], sources[:1], lease=one, journal=here),
        running(time, [WELDER, PRESS], sources[1:], lease=other, journal=there),
    ):
        cluster.give(0)
        await time.until(0.7)
        sources[0].answer = refuse
        await time.until(1.2)
        assert (here.kept, there.kept) == (["begun"], [])
        cluster.give(1)
        await time.until(1.3)
        assert (here.kept, there.kept) == (["begun", "ended"], ["begun"])
    both = {WELDER.code: "running", PRESS.code: "running"}
    gone = dict.fromkeys(both, "disconnected")
    assert here.seen == [(both, EPOCH), (both, EPOCH + timedelta(seconds=0.5)), (gone, EPOCH + timedelta(seconds=1))]
    assert there.seen == [(both, EPOCH + timedelta(seconds=1.2))]


async def test_a_journal_that_fails_stops_no_reads(time: Time, logs: Logs) -> None:
    source, notes = Scripted(time.clock, [WELDER]), Notes()
    notes.fault = OSError("the disk is full")
    async with running(time, [WELDER], [source], journal=notes) as (_, outbox):
        await time.until(6.2)
        notes.fault = None
        await time.until(12.2)
        assert notes.kept == ["begun", "ended"] * 2 + ["begun"]  # tried again
    assert outbox.statuses() == [("running",)] * 13
    assert len(source.reads) == 25
    assert {each["event"] for each in logs} == {"journal failed"}


async def test_lost_are_the_machines_that_cannot_be_read_until_they_can(time: Time, logs: Logs) -> None:
    welder, press = Scripted(time.clock, [WELDER]), Scripted(time.clock, [PRESS])
    async with running(time, [WELDER, PRESS], [welder, press]) as (service, _):
        assert service.lost() == {}  # nobody has read them yet
        await time.until(0.5)
        assert service.lost() == {}
        welder.answer = refuse
        await time.until(1.5)
        assert service.lost() == {WELDER.code: WELDER.name}
        welder.answer = lambda: {WELDER.code: IDLE}
        await time.until(10)
        assert service.lost() == {}


async def test_a_machine_whose_source_hangs_is_lost_after_two_periods(time: Time) -> None:
    welder, press = Scripted(time.clock, [WELDER]), Scripted(time.clock, [PRESS])
    async with running(time, [WELDER, PRESS], [welder, press]) as (service, _):
        await time.until(0.5)
        welder.hang = asyncio.Event()
        await time.until(2.6)
        assert service.lost() == {WELDER.code: WELDER.name}


async def test_what_another_node_reads_is_not_lost_here(time: Time) -> None:
    cluster = Cluster()
    sources = [Scripted(time.clock, [WELDER], refuse), Scripted(time.clock, [WELDER], refuse)]
    one, other = cluster.candidates
    async with (
        running(time, [WELDER], sources[:1], lease=one) as (here, _),
        running(time, [WELDER], sources[1:], lease=other) as (there, _),
    ):
        await time.until(0.5)
        assert (here.lost(), there.lost()) == ({}, {})  # nobody reads
        cluster.give(0)
        await time.until(1.2)
        assert (here.lost(), there.lost()) == ({WELDER.code: WELDER.name}, {})
        cluster.give(1)
        await time.until(1.7)
        assert (here.lost(), there.lost()) == ({}, {WELDER.code: WELDER.name})
