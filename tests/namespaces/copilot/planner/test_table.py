from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import table
from server.namespaces.copilot.planner.table import Column, Kind


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((5, "5"), (-5, "-5"), (0.1, "0.1"), ("12", "12"), (" 1,234.50 ", "1234.50"), ("-3", "-3"), (".5", "0.5")),
        *(("$12", "12"), ("-$12", "-12"), ("$-12", "-12"), ("₩1,000", "1000"), ("1,000원", "1000"), ("5%", "5")),
        *(("(300)", "-300"), ("100 USD", "100"), (1e99, "1E+99")),
    ],
)
def test_numbers(value: object, expected: str) -> None:
    assert table.number(value) == Decimal(expected)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, "", "abc", "1,23", "1.2.3", "12 apples", "--5", "(5", "5)", "1e5", "nan", "Infinity", "9" * 60),
        *(float("nan"), float("inf"), 1e100, [], {}, "2025-10-01"),
    ],
)
def test_what_is_no_number(value: object) -> None:
    assert table.number(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-10-01", date(2025, 10, 1)),
        ("2025/1/2", date(2025, 1, 2)),
        ("2025-10", date(2025, 10, 1)),
        ("2025-10-01T23:59:59.000Z", date(2025, 10, 1)),
        ("2025-10-01 10:00", date(2025, 10, 1)),
        ("2025-13-01", None),
        ("10-01-2025", None),
        ("2025. 10. 1.", date(2025, 10, 1)),
        ("2025년 10월 1일", date(2025, 10, 1)),
        ("2025년 10월", date(2025, 10, 1)),
        ("20251001", date(2025, 10, 1)),
        ("Oct 1, 2025", date(2025, 10, 1)),
        ("October 2025", date(2025, 10, 1)),
        ("1st October 2025", date(2025, 10, 1)),
        ("01-Oct-2025 10:00", date(2025, 10, 1)),
        ("10/13/2025", date(2025, 10, 13)),
        ("13/10/2025", date(2025, 10, 13)),
        ("10/11/2025", None),  # two calendars read it differently
        ("Foo 1, 2025", None),
        ("2025-02-30", None),
        (1760000000, date(2025, 10, 9)),
        (1760000000000, date(2025, 10, 9)),
        (1760000000.5, date(2025, 10, 9)),
        (10**400, None),
        (float("nan"), None),
        (True, None),
        (20251001, None),
        (None, None),
        ("2025-10-01" + " " * 100, None),
    ],
)
def test_days(value: object, expected: date | None) -> None:
    assert table.day(value) == expected


def test_columns_are_what_most_of_their_values_are() -> None:
    rows = [
        {"date": "2025-10-01", "service": "EC2", "cost": "1,000", "id": 1, "tags": ["a"], "on": True, "empty": None},
        {"date": "2025-10-02", "service": "S3", "cost": 5, "id": 2, "tags": [], "on": False, "late": 3},
        {"date": "n/a", "service": None, "cost": "-", "id": 3, "tags": {}, "on": True, "empty": ""},
    ]
    assert table.columns(rows) == [
        Column("date", Kind.DAY),
        Column("service", Kind.CATEGORY),
        Column("cost", Kind.NUMBER),
        Column("id", Kind.CATEGORY),
        Column("on", Kind.CATEGORY),
        Column("late", Kind.NUMBER),
    ]


def test_one_bad_value_in_ten_leaves_a_column_of_numbers() -> None:
    rows = [{"cost": number} for number in range(9)] + [{"cost": "unknown"}]
    assert table.columns(rows) == [Column("cost", Kind.NUMBER)]
    assert table.columns(rows[8:]) == [Column("cost", Kind.CATEGORY)]


def test_bare_numbers_are_days_only_where_the_column_says_so() -> None:
    rows = [{"timestamp": 1760000000 + number, "cost": 1760000000 + number, "key": "20251001"} for number in range(9)]
    assert table.columns(rows) == [
        Column("timestamp", Kind.DAY),
        Column("cost", Kind.NUMBER),
        Column("key", Kind.NUMBER),
    ]


def test_a_column_that_few_rows_have_is_known_all_the_same() -> None:
    rows: list[dict[str, object]] = [{"cost": 1} for _ in range(5000)]
    rows[1] = {"cost": 1, "refund": 5}
    assert table.columns(rows) == [Column("cost", Kind.NUMBER), Column("refund", Kind.NUMBER)]


@pytest.mark.parametrize(
    ("name", "identifies"), [("instance_id", True), ("주문번호", False), ("주문 번호", True), ("service", False)]
)
def test_columns_that_tell_rows_apart(name: str, identifies: bool) -> None:
    assert Column(name, Kind.CATEGORY).identifies is identifies


def test_columns_are_bounded() -> None:
    assert len(table.columns([{f"c{number}": 1 for number in range(500)}])) == table.MAX_COLUMNS


def test_rows_without_a_value_have_no_columns() -> None:
    assert table.columns([{}, {"a": None}]) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("EC2 ", "EC2"),
        (7, "7"),
        (float("nan"), None),
        ("x" * 300, "x" * 200),
        (" " * 90, None),
        (True, "true"),
        ("", None),
        (None, None),
        (["a"], None),
        ({}, None),
    ],
)
def test_labels(value: object, expected: str | None) -> None:
    assert table.label(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False, max_value=1e99, min_value=-1e99))
def test_a_float_is_the_decimal_it_is_written_as(value: float) -> None:
    assert table.number(value) == Decimal(repr(value))


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.binary(), st.lists(st.integers())))
def test_any_value_is_read_or_refused(value: object) -> None:
    number, _, _ = table.number(value), table.day(value), table.label(value)
    assert number is None or number.is_finite()
