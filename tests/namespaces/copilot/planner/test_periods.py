from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import periods
from server.namespaces.copilot.planner.periods import Period

TODAY = date(2025, 11, 5)  # a Wednesday


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("지난달 비용", "2025-10-01", "2025-10-31"),
        ("지난 달 비용", "2025-10-01", "2025-10-31"),
        ("cost last month", "2025-10-01", "2025-10-31"),
        ("이번 달", "2025-11-01", "2025-11-30"),
        ("This Month", "2025-11-01", "2025-11-30"),
        ("지난주", "2025-10-27", "2025-11-02"),
        ("this week", "2025-11-03", "2025-11-09"),
        ("작년 매출", "2024-01-01", "2024-12-31"),
        ("올해", "2025-01-01", "2025-12-31"),
        ("어제", "2025-11-04", "2025-11-04"),
        ("cost today?", "2025-11-05", "2025-11-05"),
        ("최근 7일", "2025-10-30", "2025-11-05"),
        ("last 30 days", "2025-10-07", "2025-11-05"),
        ("past 2 weeks", "2025-10-23", "2025-11-05"),
        ("최근 3개월", "2025-08-06", "2025-11-05"),
        ("지난 분기", "2025-07-01", "2025-09-30"),
        ("this quarter", "2025-10-01", "2025-12-31"),
        ("2024년 1분기", "2024-01-01", "2024-03-31"),
        ("4분기", "2025-10-01", "2025-12-31"),
        ("Q3 2024", "2024-07-01", "2024-09-30"),
        ("2025년 2월 비용", "2025-02-01", "2025-02-28"),
        ("2025-02", "2025-02-01", "2025-02-28"),
        ("2024-02-29", "2024-02-29", "2024-02-29"),
        ("2025-09-10 ~ 2025-09-20", "2025-09-10", "2025-09-20"),
        ("2025-09-20 to 2025-09-10", "2025-09-10", "2025-09-20"),
        ("9월 비용", "2025-09-01", "2025-09-30"),
        ("12월 비용", "2024-12-01", "2024-12-31"),
        ("costs in March", "2025-03-01", "2025-03-31"),
        ("October 2024 cost", "2024-10-01", "2024-10-31"),
        ("December cost", "2024-12-01", "2024-12-31"),
        ("cost in 2023", "2023-01-01", "2023-12-31"),
        ("2023년", "2023-01-01", "2023-12-31"),
    ],
)
def test_named_periods(query: str, first: str, last: str) -> None:
    period = periods.named(query, TODAY)
    assert period is not None
    assert period.to_wire() == {"from": first, "to": last}


@pytest.mark.parametrize(
    "query",
    ["비용", "월별 비용", "monthly cost", "2025-13", "13월", "2025-02-30", "i may ask", "최근 9999일 0", "상위 3개"],
)
def test_no_period_and_impossible_ones_are_none_or_real_days(query: str) -> None:
    period = periods.named(query, TODAY)
    assert period is None or period.first <= period.last


def test_months_without_a_year_are_not_read_into_intervals() -> None:
    assert periods.named("월별 비용", TODAY) is None
    assert periods.named("monthly cost", TODAY) is None


@pytest.mark.parametrize(
    ("query", "today", "first", "last"),
    [
        ("지난달", date(2025, 1, 31), "2024-12-01", "2024-12-31"),
        ("last month", date(2024, 3, 31), "2024-02-01", "2024-02-29"),
        ("last quarter", date(2025, 2, 1), "2024-10-01", "2024-12-31"),
        ("last 1 months", date(2025, 3, 31), "2025-03-01", "2025-03-31"),
        ("최근 12개월", date(2025, 1, 15), "2024-01-16", "2025-01-15"),
        ("last year", date(1, 5, 5), None, None),
    ],
)
def test_edges_of_the_calendar(query: str, today: date, first: str | None, last: str | None) -> None:
    period = periods.named(query, today)
    assert (period and period.to_wire()) == (first and {"from": first, "to": last})


@pytest.mark.parametrize(
    ("query", "first_days"),
    [
        ("9월과 10월", ["2025-09-01", "2025-10-01"]),
        ("10월, 9월", ["2025-10-01", "2025-09-01"]),
        ("9월부터 10월까지", ["2025-09-01"]),
        ("September to October and August", ["2025-09-01", "2025-08-01"]),
        ("2025-02-30 or 2025-03", ["2025-03-01"]),
        ("올해, 10월", ["2025-10-01"]),
        ("지난달 지난달", ["2025-10-01"]),
        ("nothing", []),
    ],
)
def test_every_period_of_a_text(query: str, first_days: list[str]) -> None:
    assert [period.first.isoformat() for period in periods.every(query, TODAY)] == first_days


def test_the_ends_of_a_range() -> None:
    ends = periods.every("9월부터 10월까지", TODAY, ranges=False)
    assert [(each.first.month, each.last.month) for each in ends] == [(9, 9), (10, 10)]


def test_both_ends_belong_to_a_period() -> None:
    period = Period(date(2025, 10, 1), date(2025, 10, 31))
    assert date(2025, 10, 1) in period
    assert date(2025, 10, 31) in period
    assert date(2025, 11, 1) not in period


@given(st.text(), st.dates())
def test_any_text_names_a_period_or_none(query: str, today: date) -> None:
    period = periods.named(query, today)
    assert period is None or period.first <= period.last


@given(st.sampled_from(["지난달", "최근 3개월", "last quarter", "q1", "12월", "last 400 days", "지난주"]), st.dates())
def test_every_day_has_its_periods(query: str, today: date) -> None:
    period = periods.named(query, today)
    assert period is None or period.first <= period.last
