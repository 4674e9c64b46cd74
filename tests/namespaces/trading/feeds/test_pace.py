from __future__ import annotations

import pytest

from server.namespaces.trading.feeds.pace import MAX_LAG_SECONDS, TURN_SECONDS, Pace


class Time:
    """A clock that sleeping moves on, and who else sets it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


async def test_it_waits_until_something_is_due(time: Time) -> None:
    pace = Pace(time, time.sleep)
    await pace.until(0)
    await pace.until(0.5)
    assert time.now == 100.5
    await pace.until(2)
    assert time.slept == pytest.approx([0.5, 1.5])


async def test_what_is_due_within_a_turn_comes_back_to_back(time: Time) -> None:
    pace = Pace(time, time.sleep)
    for millisecond in range(100, 111, 2):
        await pace.until(millisecond / 1000)
    assert time.slept == pytest.approx([0.1, 0.006])


async def test_being_late_delays_nothing_that_comes_after(time: Time) -> None:
    pace = Pace(time, time.sleep)
    time.now += MAX_LAG_SECONDS - 0.05
    await pace.until(0.1)
    await pace.until(1)
    assert time.slept == pytest.approx([0, 101 - 100 - (MAX_LAG_SECONDS - 0.05)])
    assert time.now == pytest.approx(101)


async def test_a_long_stall_is_not_caught_up_with(time: Time) -> None:
    pace = Pace(time, time.sleep)
    time.now += 60
    due = []
    for tenth in range(1, 6):
        await pace.until(tenth / 10)
        due.append(time.now - 160)
    assert due == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


async def test_who_is_always_late_gives_way_every_turn(time: Time) -> None:
    pace = Pace(time, time.sleep)
    for number in range(100):
        await pace.until(number / 10_000)
        time.now += TURN_SECONDS / 4
    assert len(time.slept) == pytest.approx(20, abs=1)
    assert set(time.slept) == {0}
