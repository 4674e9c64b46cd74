from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import figures
from server.namespaces.copilot.planner.figures import Figures
from server.namespaces.copilot.planner.wish import Operation

TODAY = date(2025, 11, 5)
ROWS: list[dict[str, Any]] = [
    {"date": "2025-09-30", "service": "EC2", "region": "seoul", "cost": 1000, "usage": 1},
    {"date": "2025-10-01", "service": "EC2", "region": "seoul", "cost": 100.1, "usage": 10},
    {"date": "2025-10-02", "service": "EC2", "region": "tokyo", "cost": 50.2, "usage": 20},
    {"date": "2025-10-02", "service": "S3", "region": "seoul", "cost": 70, "usage": 30},
    {"date": "2025-10-03", "service": "RDS", "region": "tokyo", "cost": 60, "usage": 40},
    {"date": "2025-10-31", "service": "Lambda", "region": "tokyo", "cost": 5, "usage": 50},
]


def compute(query: str, rows: list[dict[str, Any]] = ROWS) -> Figures:
    return figures.compute(query, rows, TODAY)


def shown(found: Figures) -> dict[str | None, float]:
    return {figure.label: float(figure.value) for figure in found.figures}


@pytest.mark.parametrize("query", ["지난달 서비스별 비용 상위 3개 알려줘", "top 3 services by cost last month"])
def test_the_top_groups_of_a_period_in_either_language(query: str) -> None:
    found = compute(query)
    assert list(shown(found).items()) == [("EC2", 150.3), ("S3", 70), ("RDS", 60)]
    assert (found.measure, found.group_by, found.operation) == ("cost", "service", Operation.SUM)
    assert (found.rows, found.groups, found.period_applied) == (5, 4, True)
    assert found.overall == Decimal("285.3")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("total cost", {"cost": 1285.3}),
        ("평균 사용량", {"usage": 25.166666666666668}),
        ("highest cost", {"cost": 1000}),
        ("최저 비용", {"cost": 5}),
        ("how many rows are there", {None: 6}),
        ("서비스별 비용", {"EC2": 1150.3, "S3": 70, "RDS": 60, "Lambda": 5}),
        ("cost by region", {"seoul": 1170.1, "tokyo": 115.2}),
        ("region별 건수", {"seoul": 3, "tokyo": 3}),
        ("average cost per region", {"seoul": 390.03333333333336, "tokyo": 38.4}),
        ("월별 비용", {"2025-09": 1000, "2025-10": 285.3}),
        ("cost per year", {"2025": 1285.3}),
        ("하위 2개 서비스 비용", {"Lambda": 5, "RDS": 60}),
        ("가장 비싼 서비스는?", {"EC2": 1150.3}),
        ("cheapest region", {"tokyo": 115.2}),
        ("EC2 비용", {"cost": 1150.3}),
        ("서울은 없고 seoul 지역의 EC2 비용", {"cost": 1100.1}),
        ("S3 vs EC2 cost", {"EC2": 1150.3, "S3": 70}),
        ("2025년 10월 EC2 비용은?", {"cost": 150.3}),
        ("show me everything", {"cost": 1285.3, "usage": 151}),
    ],
)
def test_figures(query: str, expected: dict[str | None, float]) -> None:
    assert shown(compute(query)) == expected


def test_filters_are_named() -> None:
    found = compute("tokyo EC2 cost")
    assert found.filters == {"service": ["EC2"], "region": ["tokyo"]}
    assert found.rows == 1


def test_values_that_no_row_has_together_filter_nothing_away_silently() -> None:
    found = compute("seoul Lambda cost")
    assert found.filters == {}
    assert found.rows == 6


def test_a_period_without_rows_counts_all_and_says_which_there_are() -> None:
    found = compute("8월 비용")
    assert not found.period_applied
    assert found.rows == 6
    assert found.span is not None
    assert found.span.to_wire() == {"from": "2025-09-30", "to": "2025-10-31"}


def test_a_period_without_a_date_column_is_not_applied() -> None:
    found = compute("지난달 비용", [{"cost": 5}])
    assert (found.period_applied, found.span) == (False, None)


def test_rows_without_a_date_are_in_no_period() -> None:
    rows = [{"date": "2025-10-01", "cost": 1}, {"date": None, "cost": 2}]
    assert shown(compute("last month cost", rows)) == {"cost": 1}


def test_missing_and_unusable_values_are_left_out_and_counted() -> None:
    rows = [{"cost": 1}, {"cost": None}, {"cost": "2"}, {}, {"cost": "1,000"}, {"cost": "unknown"}, {"cost": -3}]
    rows += [{"cost": 0}] * 4
    found = compute("cost", rows)
    assert shown(found) == {"cost": 1000}
    assert (found.rows, found.skipped) == (11, 3)


def test_missing_categories_are_a_group_of_their_own() -> None:
    rows = [{"service": "A", "cost": 1}, {"service": None, "cost": 5}, {"cost": 2}]
    assert shown(compute("cost by service", rows)) == {None: 7, "A": 1}


def test_negative_figures_rank_below() -> None:
    rows = [{"service": "A", "cost": -10}, {"service": "B", "cost": 5}, {"service": "C", "cost": "(20)"}]
    assert list(shown(compute("top 3 services by cost", rows))) == ["B", "A", "C"]
    assert list(shown(compute("bottom 2 services by cost", rows))) == ["C", "A"]


def test_sums_are_exact() -> None:
    assert compute("cost", [{"cost": 0.1}] * 10).overall == 1
    assert compute("cost", [{"cost": 1e40}, {"cost": 1}, {"cost": -1e40}]).overall == 1


def test_equal_figures_are_in_the_order_of_their_names() -> None:
    rows = [{"service": name, "cost": 1} for name in "CAB"]
    assert list(shown(compute("top 2 services by cost", rows))) == ["A", "B"]


def test_rows_without_numbers_are_counted() -> None:
    rows = [{"service": "A"}, {"service": "B"}, {"service": "A"}]
    assert shown(compute("top services", rows)) == {"A": 2, "B": 1}
    assert compute("top services", rows).operation is Operation.COUNT


def test_a_column_that_counts_is_added_up() -> None:
    assert shown(compute("how many orders", [{"orders": 3}, {"orders": 4}])) == {"orders": 7}


def test_ids_are_not_added_up() -> None:
    assert shown(compute("total", [{"id": 7, "cost": 1}, {"id": 8, "cost": 1}])) == {"cost": 2}


def test_the_column_that_matches_best_is_measured() -> None:
    rows = [{"network cost": 1, "cost": 2, "cost budget": 3}]
    assert compute("cost", rows).measure == "cost"
    assert compute("network cost", rows).measure == "network cost"
    assert compute("비용 예산", rows).measure == "cost budget"


def test_ranking_without_a_named_category_takes_the_first() -> None:
    assert compute("비용 상위 2개").group_by == "service"


def test_an_unranked_answer_lists_a_bounded_number_of_groups() -> None:
    rows = [{"service": f"s{number}", "cost": number} for number in range(500)]
    found = compute("cost by service", rows)
    assert len(found.figures) == figures.UNRANKED_GROUPS
    assert found.groups == 500


def test_many_days_keep_the_newest() -> None:
    rows = [{"date": f"{year}-{month:02}-01", "cost": 1} for year in range(2000, 2020) for month in range(1, 13)]
    found = compute("월별 비용", rows)
    assert len(found.figures) == figures.MAX_FIGURES
    assert found.figures[-1].label == "2019-12"


def test_rows_that_hold_nothing_give_no_figure_but_their_count() -> None:
    assert shown(compute("cost", [{"note": ["x"]}])) == {None: 1}


CELLS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
TABLES = st.lists(
    st.dictionaries(st.sampled_from(["cost", "service", "date", "x y"]), CELLS, max_size=4), min_size=1, max_size=8
)
QUERIES = st.sampled_from(
    ["top 3 services by cost", "지난달 비용", "평균", "how many", "월별 비용", "가장 비싼", "x", "0", "cost by date"]
)


@given(QUERIES, TABLES)
def test_any_rows_give_finite_figures(query: str, rows: list[dict[str, Any]]) -> None:
    found = compute(query, rows)
    assert all(figure.value.is_finite() for figure in found.figures)
    assert found.rows <= len(rows)


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.decimals(-1000, 1000, places=2)), min_size=1, max_size=30))
def test_groups_add_up_to_the_whole(cells: list[tuple[str, Decimal]]) -> None:
    found = compute("cost by service", [{"service": name, "cost": str(value)} for name, value in cells])
    assert sum(figure.value for figure in found.figures) == found.overall == sum(value for _, value in cells)
