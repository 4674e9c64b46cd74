from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.service import MonitorService, Schedule
from server.namespaces.monitor.sources import SourceError
from server.realtime.leases import Hear, Lease, News

RUNNING = Reading(running=True, error=False, ready=True)
IDLE = Reading(running=False, error=False, ready=True)
Logs = list[MutableMapping[str, Any]]
EPOCH = datetime(2025, 11, 3, 10, 30, tzinfo=UTC)
WELDER, PRESS, ROBOT = (Machine(f"KRCWO12ELOA10{number}", f"machine {number}") for number in (1, 2, 3))


# -- the schedule ----------------------------------------------------------------------------------------------


def test_moments_do_not_drift() -> None:
    schedule = Schedule(100.0, 1.0)
    assert [schedule.next(now) for now in (100.0, 100.3, 101.01, 102.9)] == [100.0, 101.0, 102.0, 103.0]


def test_the_first_moment_is_due_at_once_also_when_the_server_was_slow_to_start() -> None:
    schedule = Schedule(100.0, 1.0)
    assert [schedule.next(now) for now in (102.5, 102.5)] == [100.0, 103.0]


def test_missed_moments_are_skipped() -> None:
    schedule = Schedule(100.0, 1.0)
    assert [schedule.next(now) for now in (100.0, 104.2, 105.1)] == [100.0, 105.0, 106.0]


def test_a_timer_that_fires_early_gets_no_moment_twice() -> None:
    schedule = Schedule(100.0, 1.0)
    assert [schedule.next(now) for now in (99.2, 99.999, 100.999)] == [100.0, 101.0, 102.0]


@given(
    st.floats(min_value=0.05, max_value=60), st.lists(st.floats(min_value=0, max_value=100), min_size=2, max_size=50)
)
def test_moments_are_on_the_grid_and_rise(period: float, pauses: list[float]) -> None:
    schedule, now, given_last = Schedule(5.0, period), 5.0, 0
    assert schedule.next(now) == 5.0
    for pause in pauses:
        now += pause
        moment = schedule.next(now)
        number = round((moment - 5.0) / period)
        assert moment == 5.0 + number * period
        assert number > given_last
        assert moment > now - period / 1000
        given_last, now = number, max(now, moment)


def test_the_moments_after_the_first_are_on_a_grid_that_others_share() -> None:
    schedule = Schedule(100.3, 1.0, grid=100.0)
    assert [schedule.next(now) for now in (100.3, 100.3, 101.2, 102.01)] == [100.3, 101.0, 102.0, 103.0]


# -- the service, by a clock of its own --------------------------------------------------------------------------


class Time:
    """Nothing passes but by `until`; then every sleeper wakes in its turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = 0

    def clock(self) -> float:
        return self.now

    def date(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)

    async def sleep(self, seconds: float) -> None:
        self._slept += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, self._slept, woken))
        await woken

    async def until(self, moment: float) -> None:
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= moment + 1e-9:
            due, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            if not woken.done():
                woken.set_result(None)
            await self._settle()
        self.now = moment

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


class Scripted:
    """A source that reads what `answer` gives, or fails as it raises; it keeps when it was read."""

    def __init__(
        self,
        time: Time,
        machines: Sequence[Machine],
        answer: Callable[[], Mapping[str, Reading | SourceError]] | None = None,
    ) -> None:
        self.name = "scripted"
        self.codes = [machine.code for machine in machines]
        self.answer = answer or (lambda: dict.fromkeys(self.codes, RUNNING))
        self.reads: list[float] = []
        self.closed = 0
        self.hang: asyncio.Event | None = None
        self._time = time

    async def read(self) -> Mapping[str, Reading | SourceError]:
        self.reads.append(self._time.now)
        if self.hang is not None:
            await self.hang.wait()
        return self.answer()

    async def close(self) -> None:
        self.closed += 1


class Outbox:
    """Keeps what was shown, and when."""

    def __init__(self, time: Time) -> None:
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.broken = False
        self._time = time

    def show(self, status: Mapping[str, Any]) -> None:
        self.sent.append((self._time.now, dict(status)))
        if self.broken:
            raise ConnectionError("nobody to show it to")

    @property
    def moments(self) -> list[float]:
        return [round(moment, 6) for moment, _ in self.sent]

    def statuses(self) -> list[tuple[str, ...]]:
        return [tuple(machine["status"] for machine in payload["equipment"]) for _, payload in self.sent]


@asynccontextmanager
async def running(
    time: Time,
    machines: Sequence[Machine],
    sources: Sequence[Scripted],
    period: float = 1.0,
    lease: Lease | None = None,
) -> AsyncIterator[tuple[MonitorService, Outbox]]:
    outbox = Outbox(time)
    service = MonitorService(
        outbox.show, machines, sources, period=period, lease=lease, clock=time.clock, sleep=time.sleep, now=time.date
    )
    tasks = [asyncio.create_task(work, name=name) for name, work in service.work()]
    yield service, outbox
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as captured:
        yield captured


async def test_one_status_every_period(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time, [WELDER])]) as (_, outbox):
        await time.until(4.5)
    assert outbox.moments == [0.05, 1.05, 2.05, 3.05, 4.05]


async def test_machines_are_read_often_enough_to_be_found_silent_within_two_periods(time: Time) -> None:
    """The worst case falls silent right after a read: the next one, its timeout and the wait for a status."""
    source = Scripted(time, [WELDER])
    async with running(time, [WELDER], [source]):
        await time.until(2.2)
    assert source.reads == [0.0, 0.5, 1.0, 1.5, 2.0]


async def test_a_status_shows_what_was_read_just_before(time: Time) -> None:
    source = Scripted(time, [WELDER])
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
            }
        ],
    }


async def test_a_short_period_has_a_shorter_lead(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time, [WELDER])], period=0.1) as (_, outbox):
        await time.until(0.25)
    assert outbox.moments == [0.01, 0.11, 0.21]


async def test_the_loop_was_held_up_and_nothing_is_doubled(time: Time) -> None:
    source = Scripted(time, [WELDER])
    async with running(time, [WELDER], [source]) as (_, outbox):
        await time.until(1.5)
        time.now = 4.3
        await time.until(6.5)
    assert outbox.moments == [0.05, 1.05, 4.3, 5.05, 6.05]
    assert len(source.reads) == len(set(source.reads))


async def test_nothing_is_newest_before_the_first_status(time: Time) -> None:
    async with running(time, [WELDER], [Scripted(time, [WELDER])]) as (service, outbox):
        assert service.newest() is None
        await time.until(0.2)
        newest = service.newest()
        assert newest is not None
        assert newest["equipment"] == outbox.sent[0][1]["equipment"]
        assert newest["timestamp"] == "2025-11-03T10:30:00.200Z"


async def test_machines_are_in_the_order_of_the_file_whatever_their_source(time: Time) -> None:
    sources = [Scripted(time, [ROBOT, WELDER]), Scripted(time, [PRESS])]
    async with running(time, [WELDER, PRESS, ROBOT], sources) as (_, outbox):
        await time.until(0.5)
    assert [machine["equipment_code"] for machine in outbox.sent[0][1]["equipment"]] == [
        WELDER.code,
        PRESS.code,
        ROBOT.code,
    ]


def refuse() -> Mapping[str, Reading]:
    raise SourceError("cannot connect")


def crash() -> Mapping[str, Reading]:
    raise ZeroDivisionError("a bug in a source")


@pytest.mark.parametrize("fault", [refuse, crash, dict, lambda: {WELDER.code: SourceError("exception 2")}])
async def test_a_fault_disconnects_its_machines_and_no_others(
    time: Time, logs: Logs, fault: Callable[[], Mapping[str, Reading]]
) -> None:
    welder, press = Scripted(time, [WELDER]), Scripted(time, [PRESS])
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
    async with running(time, [WELDER], [Scripted(time, [WELDER], refuse)]) as (_, outbox):
        await time.until(2.2)
    (machine,) = outbox.sent[-1][1]["equipment"]
    assert machine["status"] == "disconnected"
    assert machine["tags"] == {"status_tag": 0, "error_tag": 0, "connection": False}
    assert machine["last_updated"] == "2025-11-03T10:30:00.000Z"


async def test_retries_back_off_and_a_success_resets_them(time: Time) -> None:
    source = Scripted(time, [WELDER], refuse)
    async with running(time, [WELDER], [source]) as (_, outbox):
        await time.until(30)
        pauses = [round(after - before, 6) for before, after in zip(source.reads, source.reads[1:], strict=False)]
        assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]
        assert source.closed == len(source.reads)
        source.answer = lambda: {WELDER.code: RUNNING}
        await time.until(34)
        assert outbox.statuses()[-1] == ("running",)
        source.answer = refuse
        failed = len(source.reads)
        await time.until(36)
    assert round(source.reads[failed + 1] - source.reads[failed], 6) == 0.5


async def test_a_source_is_closed_in_the_end(time: Time) -> None:
    source = Scripted(time, [WELDER])
    async with running(time, [WELDER], [source]):
        await time.until(1)
        assert source.closed == 0
    assert source.closed == 1


async def test_coming_and_going_is_logged_once(time: Time, logs: Logs) -> None:
    source = Scripted(time, [WELDER])
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
    async with running(time, [WELDER], [Scripted(time, [WELDER])]) as (_, outbox):
        outbox.broken = True
        await time.until(2.5)
    assert outbox.moments == [0.05, 1.05, 2.05]
    assert [each["event"] for each in logs] == ["status not delivered"] * 3


async def test_a_frozen_source_is_given_up_and_delays_nobody() -> None:
    """In real time: the limit on a read is the loop's."""
    period = 0.2
    time = Time()
    frozen, press = Scripted(time, [WELDER]), Scripted(time, [PRESS])
    told = asyncio.Queue[tuple[str, ...]]()

    class Telling(Outbox):
        def show(self, status: Mapping[str, Any]) -> None:
            super().show(status)
            told.put_nowait(self.statuses()[-1])

    outbox = Telling(time)
    service = MonitorService(outbox.show, [WELDER, PRESS], [frozen, press], period=period)
    tasks = [asyncio.create_task(work) for _, work in service.work()]
    async with asyncio.timeout(10):
        while await told.get() != ("running", "running"):
            pass
        frozen.hang = asyncio.Event()
        after = [await told.get() for _ in range(4)]
        assert {press for _, press in after} == {"running"}
        assert after[1:] == [("disconnected", "running")] * 3  # within two periods
        frozen.hang = None
        while await told.get() != ("running", "running"):
            pass
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- many nodes --------------------------------------------------------------------------------------------------


class Candidacy(Lease):
    """Of one node, for the lease that a `Cluster` gives away."""

    def __init__(self, cluster: Cluster) -> None:
        self.hear: Hear | None = None
        self._cluster = cluster
        self._fence = 0
        self.granted, self.lost = asyncio.Event(), asyncio.Event()

    @property
    def held(self) -> bool:
        return self._cluster.holder is self

    @property
    def fence(self) -> int:
        return self._fence

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.granted.wait()
            self.granted.clear()
            self.lost.clear()
            self._cluster.fence += 1
            self._fence = self._cluster.fence
            doing = asyncio.create_task(work())
            try:
                await self.lost.wait()
            finally:
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)

    def tell(self, news: News) -> None:
        for each in self._cluster.candidates:
            if each is not self and each.hear is not None:
                each.hear(self._fence, news)

    def follow(self, hear: Hear) -> None:
        self.hear = hear


class Cluster:
    def __init__(self) -> None:
        self.holder: Candidacy | None = None
        self.fence = 0
        self.candidates = [Candidacy(self), Candidacy(self)]

    def give(self, to: int | None, *, suspended: bool = False) -> None:
        """`suspended`: the former holder does not learn of it."""
        if self.holder is not None and not suspended:
            self.holder.lost.set()
        self.holder = None if to is None else self.candidates[to]
        if self.holder is not None:
            self.holder.granted.set()


@asynccontextmanager
async def two_nodes(time: Time, first: Scripted, second: Scripted) -> AsyncIterator[tuple[Cluster, Outbox, Outbox]]:
    cluster = Cluster()
    one, other = cluster.candidates
    async with (
        running(time, [WELDER], [first], lease=one) as (_, here),
        running(time, [WELDER], [second], lease=other) as (_, there),
    ):
        yield cluster, here, there


async def test_one_node_reads_and_all_show_it_at_the_same_moments(time: Time) -> None:
    first, second = Scripted(time, [WELDER]), Scripted(time, [WELDER])
    async with two_nodes(time, first, second) as (cluster, here, there):
        cluster.give(0)
        await time.until(2.9)
        first.answer = lambda: {WELDER.code: IDLE}
        await time.until(3.5)
    assert second.reads == []
    assert here.sent == there.sent
    assert here.moments == [0.05, 1.05, 2.05, 3.05]
    assert there.statuses() == [("running",)] * 3 + [("idle",)]


async def test_a_fault_shows_on_all_nodes(time: Time) -> None:
    first = Scripted(time, [WELDER])
    async with two_nodes(time, first, Scripted(time, [WELDER])) as (cluster, here, there):
        cluster.give(0)
        await time.until(1.2)
        first.answer = refuse
        await time.until(9.2)  # it is read again every few seconds
    assert here.sent == there.sent
    assert there.statuses() == [("running",)] * 2 + [("disconnected",)] * 8
    assert there.sent[-1][1]["equipment"][0]["tags"] == {"status_tag": 1, "error_tag": 0, "connection": False}


@pytest.mark.parametrize("last", [4.0, 4.3, 4.5, 4.99])
async def test_nobody_reads_and_all_say_so_within_two_periods(time: Time, last: float) -> None:
    async with two_nodes(time, Scripted(time, [WELDER]), Scripted(time, [WELDER])) as (cluster, here, there):
        cluster.give(0)
        await time.until(last)
        cluster.give(None)
        await time.until(last + 2)
        assert here.statuses()[-1] == there.statuses()[-1] == ("disconnected",)
        assert here.statuses()[:5] == there.statuses()[:5] == [("running",)] * 5
        cluster.give(1)
        await time.until(math.ceil(time.now) + 0.1)
    assert here.sent == there.sent
    assert here.statuses()[-1] == ("running",)
    assert all(round(after - before, 6) == 1 for before, after in pairwise(here.moments))


async def test_a_new_reader_does_not_vouch_for_what_another_one_read(time: Time) -> None:
    first, second = Scripted(time, [WELDER]), Scripted(time, [WELDER])
    async with two_nodes(time, first, second) as (cluster, _, there):
        cluster.give(0)
        await time.until(1.2)
        second.hang = asyncio.Event()
        cluster.give(1)
        await time.until(3.2)
    assert there.statuses() == [("running",)] * 2 + [("disconnected",)] * 2


async def test_one_that_was_suspended_neither_reads_nor_reports_when_it_goes_on(time: Time) -> None:
    first, second = Scripted(time, [WELDER]), Scripted(time, [WELDER], lambda: {WELDER.code: IDLE})
    async with two_nodes(time, first, second) as (cluster, here, there):
        cluster.give(0)
        await time.until(1.2)
        first.hang = asyncio.Event()
        await time.until(1.6)
        cluster.give(1, suspended=True)
        await time.until(3.02)
        first.hang.set()
        await time.until(4.2)
    assert first.reads == [0.0, 0.5, 1.0, 1.5]
    assert here.sent == there.sent
    assert here.statuses() == [("running",)] * 2 + [("idle",)] * 3


async def test_nodes_with_other_machines_tell_each_other_of_those_that_both_have(time: Time) -> None:
    """As while a new configuration is rolled out."""
    cluster = Cluster()
    one, other = cluster.candidates
    async with (
        running(time, [WELDER, PRESS], [Scripted(time, [WELDER, PRESS])], lease=one),
        running(time, [WELDER, ROBOT], [Scripted(time, [WELDER, ROBOT])], lease=other) as (_, there),
    ):
        cluster.give(0)
        await time.until(1.2)
    assert there.statuses()[-1] == ("running", "disconnected")


async def test_nodes_that_start_at_other_times_send_at_the_same(time: Time) -> None:
    cluster = Cluster()
    one, other = cluster.candidates
    await time.until(0.7)
    async with running(time, [WELDER], [Scripted(time, [WELDER])], lease=one) as (_, here):
        cluster.give(0)
        await time.until(2.3)
        async with running(time, [WELDER], [Scripted(time, [WELDER])], lease=other) as (service, there):
            await time.until(2.5)
            newest = service.newest()
            await time.until(4.3)
    assert here.moments == [0.75, 2.05, 3.05, 4.05]
    assert there.moments == [2.35, 3.05, 4.05]
    assert [status for _, status in here.sent[-2:]] == [status for _, status in there.sent[-2:]]
    assert newest is not None
