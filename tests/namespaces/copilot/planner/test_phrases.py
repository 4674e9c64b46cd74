from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pytest

from server.namespaces.copilot.planner import figures, phrases, ranking
from server.namespaces.copilot.planner.figures import Figures
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.selection import Nothing

TODAY = date(2025, 11, 5)
ROWS = [
    {"date": "2025-10-01", "service": "EC2", "cost": 1000.5},
    {"date": "2025-10-02", "service": "S3", "cost": 200},
    {"date": "2025-10-02", "service": None, "cost": 0.004},
    *[{"date": "2025-10-02", "service": "S3", "cost": 0}] * 10,
    {"date": "2025-10-03", "service": "S3", "cost": "?"},
]


def say(query: str, korean: bool, rows: list[dict[str, object]] = ROWS) -> str:
    found = figures.compute(query, rows, TODAY)
    assert isinstance(found, Figures)
    return phrases.answer(found, "costs", korean=korean)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("0", "0"), ("1234567", "1,234,567"), ("1234.5", "1,234.5"), ("0.005", "0.005"), ("-0.1234", "-0.12")),
        *(("100", "100"), ("1E+3", "1,000"), ("2.999", "3"), ("-1234.50", "-1,234.5"), ("0.1", "0.1")),
    ],
)
def test_amounts(value: str, text: str) -> None:
    assert phrases.amount(Decimal(value)) == text


def test_a_ranking_in_korean() -> None:
    assert say("지난달 서비스별 비용 상위 2개", korean=True) == (
        "costs 14행 기준, 2025-10-01 ~ 2025-10-31 — service별 cost 합계 상위 2개: 1. EC2 1,000.5, 2. S3 200 "
        "(전체 1,200.5, 3개 항목) 숫자가 없는 1행은 제외했습니다."
    )


def test_a_ranking_in_english() -> None:
    assert say("top 3 services by cost last month", korean=False) == (
        "Top 3 service by total cost (costs, 14 rows, 2025-10-01 ~ 2025-10-31): 1. EC2 1,000.5, 2. S3 200, "
        "3. (none) 0.004 (overall 1,200.5 in 3 groups). Left out 1 without a usable number."
    )


def test_a_single_figure_names_its_filters() -> None:
    assert say("EC2 cost", korean=False) == "Total cost: 1,000.5 (costs, 1 row, service = EC2)."
    assert say("EC2 비용", korean=True) == "costs 1행 기준, service = EC2 — cost 합계 1,000.5"


def why(query: str, korean: bool, rows: list[dict[str, object]] = ROWS, about: Sequence[str] | None = None) -> str:
    found = figures.compute(query, rows, TODAY, about=about)
    assert isinstance(found, Nothing)
    return phrases.nothing(found, "costs", korean=korean)


def test_why_there_is_no_answer_is_told() -> None:
    days = "2025-08-01 ~ 2025-08-31"
    there = "2025-10-02 ~ 2025-10-03"
    assert why("8월 S3 비용", True) == f"costs에 service = S3, {days}에 해당하는 행이 없습니다 (있는 기간: {there})."
    assert why("S3 cost in August", False) == (f"costs has no rows for service = S3, {days}; there is {there}.")
    undated: list[dict[str, object]] = [{"cost": 1}]
    assert why("전월 대비 비용", True, undated).endswith("(날짜를 알 수 있는 열이 없습니다).")
    assert why("cost vs last month", False, undated).endswith("; no column holds a readable date.")
    assert why("날씨", True, about=["costs"]) == "costs에는 날씨에 대한 것이 없습니다."
    assert why("the weather", False, about=["costs"]) == "costs holds nothing about weather."


def test_a_comparison_shows_both_sides() -> None:
    rows: list[dict[str, object]] = [
        {"date": "2025-09-01", "service": "EC2", "cost": 80},
        {"date": "2025-10-01", "service": "EC2", "cost": 100},
        {"date": "2025-10-02", "service": "S3", "cost": 5},
        {"date": "soon", "service": "S3", "cost": 5},
    ]
    rows += [{"date": "2025-10-03", "service": "S3", "cost": 0}] * 3
    assert say("전월 대비 10월 비용", True, rows) == (
        "costs 5행 기준, 2025-10-01 ~ 2025-10-31, 2025-09-01 ~ 2025-09-30 대비 — "
        "cost 합계 105 (+25 ← 80, +31.3%) 날짜를 알 수 없는 1행은 제외했습니다."
    )
    assert say("Azure cost by service in October vs September", False, rows) == (
        "Service by total cost (costs, 5 rows, 2025-10-01 ~ 2025-10-31, against 2025-09-01 ~ 2025-09-30): "
        "1. EC2 100 (+20 ← 80, +25%), 2. S3 5 (+5 ← 0) (overall 105 (+25 ← 80, +31.3%) in 2 groups). "
        "Left out 1 without a readable date. Not found in the data: Azure."
    )


@pytest.mark.parametrize(("korean", "told"), [(True, "날짜 열 없음"), (False, "no date column")])
def test_a_missing_date_column_is_told(korean: bool, told: str) -> None:
    assert told in say("어제 비용", korean, [{"cost": 1}])


def test_rows_alone_are_counted() -> None:
    assert say("몇 건이야?", korean=True) == "costs 14행 기준 — 행 수 14"
    assert say("how many", korean=False) == "Number of rows: 14 (costs, 14 rows)."


def test_questions_and_refusals_are_in_the_querys_language() -> None:
    tied = ranking.Choice(None, (), matched=True)
    unknown = ranking.Choice(None, (), matched=False)
    english = [
        phrases.which_dataset(tied, korean=False),
        phrases.which_dataset(unknown, korean=False),
        phrases.no_datasets(korean=False),
        phrases.no_rows("costs", korean=False),
        phrases.no_choice(korean=False),
        phrases.no_period(korean=False),
        phrases.incomplete(5, korean=False),
        phrases.no_rows("costs", Period(TODAY, TODAY), korean=False),
        phrases.which_period(korean=False),
        *phrases.periods_offered(korean=False),
    ]
    korean = [
        phrases.which_dataset(tied, korean=True),
        phrases.which_dataset(unknown, korean=True),
        phrases.no_datasets(korean=True),
        phrases.no_rows("costs", korean=True),
        phrases.no_choice(korean=True),
        phrases.no_period(korean=True),
        phrases.incomplete(5, korean=True),
        phrases.no_rows("costs", Period(TODAY, TODAY), korean=True),
        phrases.which_period(korean=True),
        *phrases.periods_offered(korean=True),
    ]
    assert all(text.isascii() for text in english)
    assert not any(text.isascii() for text in korean)
    assert len(set(english + korean)) == 24


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("EC2", "EC2"),
        (" a\n\n b\t", "a b"),
        ("a\u202eb\u0000c", "a b c"),
        ("x" * 81, f"{'x' * 79}…"),
    ],
)
def test_a_clients_own_names_stay_in_their_sentence(text: str, told: str) -> None:
    assert phrases.plain(text) == told
