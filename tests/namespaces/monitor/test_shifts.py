from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor.shifts import Shift, Shifts

THREE = (("day", time(6)), ("evening", time(14)), ("night", time(22)))
NEW_YORK = Shifts(ZoneInfo("America/New_York"), THREE)


def hours(shifts: list[Shift]) -> list[tuple[str, float]]:
    return [(each.name, (each.end - each.start) / timedelta(hours=1)) for each in shifts]


def test_a_shift_over_midnight_is_one() -> None:
    shifts = Shifts(ZoneInfo("Asia/Seoul"), THREE)
    [night] = shifts.between(datetime(2026, 11, 21, 14, 30, tzinfo=UTC), datetime(2026, 11, 21, 15, 30, tzinfo=UTC))
    assert night == Shift(
        "night", datetime(2026, 11, 21, 13, tzinfo=UTC), datetime(2026, 11, 21, 21, tzinfo=UTC)
    )  # 22:00 to 06:00 there


@pytest.mark.parametrize(
    ("date", "night"),
    [(datetime(2026, 3, 8, tzinfo=NEW_YORK.zone), 7), (datetime(2026, 11, 1, tzinfo=NEW_YORK.zone), 9)],
)
def test_the_night_in_which_clocks_change_is_an_hour_shorter_or_longer(date: datetime, night: float) -> None:
    found = list(NEW_YORK.between(date, date + timedelta(hours=20)))
    assert hours(found) == [("night", night), ("day", 8), ("evening", 8)]


@pytest.mark.parametrize(("month", "day", "length"), [(3, 8, 23), (11, 1, 25), (11, 2, 24)])
def test_one_shift_a_day_is_as_long_as_the_day(month: int, day: int, length: float) -> None:
    noon = datetime(2026, month, day, 12, tzinfo=NEW_YORK.zone)
    assert hours(list(Shifts(NEW_YORK.zone).between(noon, noon + timedelta(seconds=1)))) == [("day", length)]


def test_a_start_that_clocks_jump_over_is_when_they_jump() -> None:
    shifts = Shifts(NEW_YORK.zone, (("a", time(1)), ("b", time(2, 30)), ("c", time(2, 45)), ("d", time(3, 15))))
    jump = datetime(2026, 3, 8, 7, tzinfo=UTC)
    found = list(shifts.between(jump - timedelta(minutes=1), jump + timedelta(minutes=30)))
    assert [(each.name, each.start) for each in found] == [
        ("a", jump - timedelta(hours=1)),
        ("c", jump),  # b begins then too, and is over
        ("d", jump + timedelta(minutes=15)),
    ]


def test_a_day_that_a_country_left_out_has_no_shifts() -> None:
    shifts = Shifts(ZoneInfo("Pacific/Apia"), THREE)  # 30 December 2011
    found = list(shifts.between(datetime(2011, 12, 30, 8, tzinfo=UTC), datetime(2011, 12, 30, 12, tzinfo=UTC)))
    assert hours(found) == [("night", 2), ("night", 6)]


zones = st.sampled_from(["UTC", "Asia/Seoul", "America/New_York", "America/Sao_Paulo", "Pacific/Apia", "Asia/Gaza",
                         "Australia/Lord_Howe", "Africa/Casablanca", "Antarctica/Troll"])  # fmt: skip
moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    zones, st.lists(st.times(), min_size=1, max_size=6), moments, st.timedeltas(timedelta(seconds=1), timedelta(days=9))
)
def test_shifts_leave_out_no_moment_and_hold_none_twice(
    zone: str, starts: list[time], start: datetime, length: timedelta
) -> None:
    shifts = Shifts(ZoneInfo(zone), tuple((str(number), each) for number, each in enumerate(starts)))
    found = list(shifts.between(start, start + length))
    assert found[0].start <= start < found[0].end
    assert found[-1].start < start + length <= found[-1].end
    assert all(one.end == other.start for one, other in pairwise(found))
