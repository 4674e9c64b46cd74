from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.namespaces.monitor import polling
from server.namespaces.monitor.polling import Clock, Readings, Schedule, poll
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import Source, SourceError
from tests.namespaces.monitor.plant import IDLE, RUNNING, Scripted, Time, machine, refuse

Logs = list[MutableMapping[str, Any]]
WELDER = machine(1)


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as captured:
        yield captured


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


# -- reading -----------------------------------------------------------------------------------------------------


class Records:
    def __init__(self) -> None:
        self.all: list[Reading | SourceError | None] = []
        self.changed = asyncio.Condition()

    def __call__(self, source: Source, readings: Readings) -> None:
        self.all.append(readings.get(WELDER.code))

    @property
    def newest(self) -> str:
        return str(self.all[-1])


@asynccontextmanager
async def polled(
    source: Source, clock: Clock, period: float = 1.0
) -> AsyncIterator[tuple[Records, asyncio.Task[None]]]:
    records = Records()
    task = asyncio.create_task(poll(source, records, period=period, clock=clock, held=lambda: True))
    yield records, task
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), ended


@pytest.fixture
def time() -> Time:
    return Time()


async def test_machines_are_read_often_enough_to_be_found_silent_within_two_periods(time: Time) -> None:
    """The worst case falls silent right after a read: the next one, its timeout and the wait for a status."""
    source = Scripted(time.clock, [WELDER])
    async with polled(source, time.clock):
        await time.until(2.2)
    assert source.reads == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert polling.READS_PER_PERIOD * polling.TIMEOUT_SHARE > 1


async def test_retries_back_off_and_a_success_resets_them(time: Time) -> None:
    source = Scripted(time.clock, [WELDER], refuse)
    async with polled(source, time.clock) as (records, _):
        await time.until(30)
        pauses = [round(after - before, 6) for before, after in zip(source.reads, source.reads[1:], strict=False)]
        assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]
        assert source.closed == len(source.reads)
        assert records.newest == "cannot connect"
        source.answer = lambda: {WELDER.code: RUNNING}
        await time.until(34)
        assert records.all[-1] == RUNNING
        source.answer = refuse
        failed = len(source.reads)
        await time.until(36)
    assert round(source.reads[failed + 1] - source.reads[failed], 6) == 0.5


async def test_a_source_is_closed_in_the_end(time: Time) -> None:
    source = Scripted(time.clock, [WELDER])
    async with polled(source, time.clock):
        await time.until(1)
        assert source.closed == 0
    assert source.closed == 1


async def test_who_lost_the_lease_reads_no_more(time: Time) -> None:
    source, held = Scripted(time.clock, [WELDER]), [True]
    task = asyncio.create_task(poll(source, Records(), period=1, clock=time.clock, held=lambda: held[0]))
    await time.until(0.7)
    held[0] = False
    await time.until(3)
    await task
    assert (source.reads, source.closed) == ([0.0, 0.5], 1)


@pytest.mark.parametrize("answer", [lambda: None, lambda: 1 / 0, lambda: [1, 2]], ids=["none", "a bug", "a list"])
async def test_a_source_that_is_broken_only_fails(time: Time, logs: Logs, answer: Any) -> None:
    source = Scripted(time.clock, [WELDER], answer)
    async with polled(source, time.clock) as (records, _):
        await time.until(2)
        assert records.newest in {"TypeError", "ValueError", "ZeroDivisionError"}
        source.answer = lambda: {WELDER.code: IDLE}
        await time.until(9)
        assert records.all[-1] == IDLE
    assert {each["event"] for each in logs} == {"equipment source failed"}


class Unclosable(Scripted):
    async def close(self) -> None:
        await super().close()
        raise OSError("a bug in close")


async def test_a_source_that_cannot_even_be_closed_is_tried_again(time: Time, logs: Logs) -> None:
    source = Unclosable(time.clock, [WELDER], refuse)
    async with polled(source, time.clock) as (records, _):
        await time.until(2)
        source.answer = lambda: {WELDER.code: IDLE}
        await time.until(9)
        assert records.all[-1] == IDLE
    assert {each["event"] for each in logs} == {"equipment source not closed"}


class Telling(Records):
    """In real time: the limit on a read is the loop's."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Queue[str]()

    def __call__(self, source: Source, readings: Readings) -> None:
        super().__call__(source, readings)
        self.told.put_nowait(self.newest)


class Stubborn(Scripted):
    """It does not let go of a read, and brings what it read when its time is long over."""

    async def read(self) -> Mapping[str, Reading | SourceError]:
        try:
            return await super().read()
        except asyncio.CancelledError:
            return {WELDER.code: RUNNING}


@pytest.mark.parametrize("kind", [Scripted, Stubborn])
async def test_what_comes_after_the_deadline_is_no_reading(kind: type[Scripted]) -> None:
    source, records = kind(Clock(), [WELDER]), Telling()
    source.hang = asyncio.Event()
    task = asyncio.create_task(poll(source, records, period=0.05, clock=Clock(), held=lambda: True))
    async with asyncio.timeout(10):
        assert await records.told.get() == "no answer in time"
        source.hang = None
        while await records.told.get() != str(RUNNING):
            pass
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
