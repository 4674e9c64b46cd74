from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from server.namespaces.copilot.planner import figures, phrases, ranking

TODAY = date(2025, 11, 5)
ROWS = [
    {"date": "2025-10-01", "service": "EC2", "cost": 1000.5},
    {"date": "2025-10-02", "service": "S3", "cost": 200},
    {"date": "2025-10-02", "service": None, "cost": 0.004},
    *[{"date": "2025-10-02", "service": "S3", "cost": 0}] * 10,
    {"date": "2025-10-03", "service": "S3", "cost": "?"},
]


def say(query: str, korean: bool, rows: list[dict[str, object]] = ROWS) -> str:
    return phrases.answer(figures.compute(query, rows, TODAY), "costs", korean=korean)


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


@pytest.mark.parametrize(
    ("korean", "told"), [(True, "있는 기간: 2025-10-01 ~ 2025-10-03"), (False, "there is 2025-10-01 ~ 2025-10-03")]
)
def test_a_period_that_was_not_applied_is_told(korean: bool, told: str) -> None:
    text = say("8월 비용", korean)
    assert told in text
    assert "2025-08-01 ~ 2025-08-31" in text


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
    ]
    korean = [
        phrases.which_dataset(tied, korean=True),
        phrases.which_dataset(unknown, korean=True),
        phrases.no_datasets(korean=True),
        phrases.no_rows("costs", korean=True),
        phrases.no_choice(korean=True),
    ]
    assert all(text.isascii() for text in english)
    assert not any(text.isascii() for text in korean)
    assert len(set(english + korean)) == 10
