from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from server.namespaces.copilot.planner import selection, table, words
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.selection import Nothing, Selection
from server.namespaces.copilot.planner.table import Column, Kind
from server.namespaces.copilot.planner.timeframe import Timeframe

ROWS: list[dict[str, Any]] = [
    {"date": "2025-10-01", "service": "S3", "cost": 1},
    {"date": "2025-09-01", "service": "S3 Glacier", "cost": 2},
    {"date": "2025-09-02", "service": "EC2", "cost": 3},
    {"date": "whenever", "service": "EC2", "cost": 4},
]
DAYS = Column("date", Kind.DAY)
OCTOBER = Period(date(2025, 10, 1), date(2025, 10, 31))
SEPTEMBER = Period(date(2025, 9, 1), date(2025, 9, 30))


def test_without_a_period_all_rows_are_meant() -> None:
    assert selection.select(ROWS, {}, DAYS, Timeframe()) == Selection(ROWS)


def test_rows_of_no_readable_day_are_in_no_period_and_are_counted() -> None:
    found = selection.select(ROWS, {}, DAYS, Timeframe(OCTOBER, SEPTEMBER))
    assert found == Selection(ROWS[:1], ROWS[1:3], applied=True, undated=1)


def test_of_two_periods_both_need_rows() -> None:
    found = selection.select(ROWS, {"service": ["S3"]}, DAYS, Timeframe(OCTOBER, SEPTEMBER))
    assert found == Nothing(SEPTEMBER, Period(date(2025, 10, 1), date(2025, 10, 1)), {"service": ["S3"]})


def test_a_filter_on_a_column_that_is_not_there_leaves_nothing() -> None:
    assert selection.select(ROWS, {"region": ["x"]}, DAYS, Timeframe()) == Nothing(filters={"region": ["x"]})


@pytest.mark.parametrize(
    ("query", "service"),
    [("s3 glacier cost", ["S3 Glacier"]), ("s3 cost", ["S3"]), ("S3 와 EC2", ["EC2", "S3"]), ("cost", None)],
)
def test_the_longer_name_is_meant(query: str, service: list[str] | None) -> None:
    found = selection.named(query, ROWS, table.columns([*ROWS] * 3))
    assert found == ({"service": service} if service else {})


def test_what_could_be_a_word_of_the_question_is_no_filter() -> None:
    said = words.words("top cost last month 2025 a")
    spoken_for = words.traits(["cost"])
    assert selection.named_of(["top", "cost", "last", "2025", "a", ""], said, spoken_for) == []


def test_columns_of_countless_values_filter_nothing() -> None:
    rows = [{"name": f"n{number}"} for number in range(selection.MAX_VALUES + 1)]
    assert selection.named("n5", rows, [Column("name", Kind.CATEGORY)]) == {}
    assert selection.named("n5", rows[1:], [Column("name", Kind.CATEGORY)]) == {"name": ["n5"]}
