from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import timeframe
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.timeframe import Timeframe

TODAY = date(2025, 11, 5)  # a Wednesday


def shown(period: Period | None) -> str | None:
    return period and f"{period.first} {period.last}"


OCTOBER = "2025-10-01 2025-10-31"
SEPTEMBER = "2025-09-01 2025-09-30"


@pytest.mark.parametrize(
    ("query", "current", "previous"),
    [
        ("전월 대비 비용", "2025-11-01 2025-11-30", OCTOBER),
        ("지난달 대비 이번달 비용", "2025-11-01 2025-11-30", OCTOBER),
        ("cost this month vs last month", "2025-11-01 2025-11-30", OCTOBER),
        ("cost last month compared to this month", "2025-11-01 2025-11-30", OCTOBER),
        ("month over month cost", "2025-11-01 2025-11-30", OCTOBER),
        ("10월 비용 전월 대비", OCTOBER, SEPTEMBER),
        ("지난달 비용은 전월보다 늘었어?", OCTOBER, SEPTEMBER),
        ("9월 대비 10월", OCTOBER, SEPTEMBER),
        ("10월은 9월보다 얼마나 줄었어", OCTOBER, SEPTEMBER),
        ("9월과 10월 비용", OCTOBER, SEPTEMBER),
        ("compare September and October cost", OCTOBER, SEPTEMBER),
        ("change from September to October", OCTOBER, SEPTEMBER),
        ("9월에서 10월로 얼마나 늘었어", OCTOBER, SEPTEMBER),
        ("2025-09-15 ~ 2025-09-20 비용 증감", "2025-09-15 2025-09-20", "2025-09-09 2025-09-14"),
        ("how did cost change last month", OCTOBER, SEPTEMBER),
        ("지난달 비용 증감", OCTOBER, SEPTEMBER),
        ("이번 주 비용 지난주 대비", "2025-11-03 2025-11-09", "2025-10-27 2025-11-02"),
        ("cost versus yesterday", "2025-11-05 2025-11-05", "2025-11-04 2025-11-04"),
        ("전년 동월 대비 10월", OCTOBER, "2024-10-01 2024-10-31"),
        ("yoy cost 2025", "2025-01-01 2025-12-31", "2024-01-01 2024-12-31"),
        ("작년 10월 대비 올해 10월", OCTOBER, "2024-10-01 2024-10-31"),
        ("october last year vs october this year", OCTOBER, "2024-10-01 2024-10-31"),
        ("2024 cost vs 2025", "2025-01-01 2025-12-31", "2024-01-01 2024-12-31"),
        ("Q3 vs Q2 cost", "2025-07-01 2025-09-30", "2025-04-01 2025-06-30"),
        ("전분기 대비", "2025-10-01 2025-12-31", "2025-07-01 2025-09-30"),
        ("change in cost in the last 7 days", "2025-10-30 2025-11-05", "2025-10-23 2025-10-29"),
        ("2024-02-29 비용 전년 대비", "2024-02-29 2024-02-29", "2023-02-28 2023-02-28"),
    ],
)
def test_two_periods(query: str, current: str, previous: str) -> None:
    frame = timeframe.read(query, TODAY)
    assert (shown(frame.current), shown(frame.previous)) == (current, previous)
    assert not frame.missing


@pytest.mark.parametrize(
    ("query", "current"),
    [
        ("9월부터 10월까지 비용", "2025-09-01 2025-10-31"),
        ("2025-09 to 2025-10 cost", "2025-09-01 2025-10-31"),
        ("cost from January to May", "2025-01-01 2025-05-31"),
        ("between 2025-09-01 and 2025-09-15", "2025-09-01 2025-09-15"),
        ("2025년 9월 1일부터 2025년 9월 3일까지", "2025-09-01 2025-09-03"),
        ("since March", "2025-03-01 2025-11-05"),
        ("9월 이후 비용", "2025-09-01 2025-11-05"),
        ("올해 10월", OCTOBER),
        ("10월 3일 비용", "2025-10-03 2025-10-03"),
        ("12월 25일 비용", "2024-12-25 2024-12-25"),
        ("S3 vs EC2 cost last month", OCTOBER),
        ("서비스 비교 지난달", OCTOBER),
        ("올해 월별 비용 변화", "2025-01-01 2025-12-31"),
        ("cost over the last 7 days", "2025-10-30 2025-11-05"),
    ],
)
def test_one_period(query: str, current: str) -> None:
    frame = timeframe.read(query, TODAY)
    assert (shown(frame.current), frame.previous, frame.missing) == (current, None, False)


@pytest.mark.parametrize("query", ["total cost", "월별 비용 변화", "S3 vs EC2", "orders over 2000", "1200원 이상", ""])
def test_no_period_is_needed(query: str) -> None:
    assert timeframe.read(query, TODAY) in (Timeframe(), Timeframe(falling=False))


@pytest.mark.parametrize(
    "query",
    [
        "비용이 얼마나 늘었어?",
        "how much did cost grow",
        "특정 기간 비용",
        "cost in that period",
        "2025-02-30",
        "13월 비용",
    ],
)
def test_a_period_is_missing(query: str) -> None:
    frame = timeframe.read(query, TODAY)
    assert frame.missing
    assert (frame.current, frame.previous) == (None, None)


def test_what_a_person_says_completes_it() -> None:
    change = timeframe.read("비용이 얼마나 늘었어?", TODAY)
    assert timeframe.answered("글쎄", TODAY, change) is None
    assert timeframe.answered("전체", TODAY, change) is None  # all there is has nothing before it
    found = timeframe.answered("지난달", TODAY, change)
    assert found is not None
    assert (shown(found.current), shown(found.previous)) == (OCTOBER, SEPTEMBER)
    open_ = timeframe.read("특정 기간 비용", TODAY)
    assert timeframe.answered("지난달", TODAY, open_) == Timeframe(found.current)
    assert timeframe.answered("all of it", TODAY, open_) == Timeframe()


@pytest.mark.parametrize(("query", "falling"), [("감소한 서비스", True), ("which fell", True), ("증가", False)])
def test_which_way_is_asked_for(query: str, falling: bool) -> None:
    frame = timeframe.read(query, TODAY)
    assert (frame.changes, frame.falling) == (True, falling)


QUERIES = [
    "전월 대비",
    "전년 대비 12월",
    "change in last 9999 days",
    "9999-12-31 yoy",
    "last month change",
    "qoq",
    "전일 대비",
]


@given(st.one_of(st.text(), st.sampled_from(QUERIES)), st.dates())
def test_any_text_on_any_day_has_a_timeframe(query: str, today: date) -> None:
    frame = timeframe.read(query, today)
    for period in (frame.current, frame.previous, frame.span):
        assert period is None or period.first <= period.last
    timeframe.answered(query, today, frame)


@pytest.mark.parametrize(
    "query",
    [
        "2025년 9월과 10월 비용 비교",
        "compare cost of September and October 2025 by region",
        "2025년 10월은 9월보다 얼마나 늘었어?",
        "9월과 10월 팀별 비용 비교해줘 2025년",
        "October 2025 vs September 2025",
    ],
)
def test_a_year_is_for_every_month_that_has_none(query: str) -> None:
    found = timeframe.read(query, date(2026, 11, 22))
    assert found.current == Period(date(2025, 10, 1), date(2025, 10, 31))
    assert found.previous == Period(date(2025, 9, 1), date(2025, 9, 30))


@pytest.mark.parametrize(
    "query",
    [
        "9월과 10월 비용 비교",
        "compare september and october 2024 with may 2025",
        "may i see the market? 9월부터 2025년까지",
    ],
)
def test_where_no_one_year_is_meant_nothing_is_made_up(query: str) -> None:
    assert timeframe._dated(query) == query
