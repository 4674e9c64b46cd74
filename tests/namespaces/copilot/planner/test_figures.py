from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner import figures
from server.namespaces.copilot.planner.figures import Figures
from server.namespaces.copilot.planner.selection import Nothing
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
    found = figures.compute(query, rows, TODAY)
    assert isinstance(found, Figures)
    return found


def nothing(query: str, rows: list[dict[str, Any]] = ROWS, about: Sequence[str] | None = None) -> Nothing:
    found = figures.compute(query, rows, TODAY, about=about)
    assert isinstance(found, Nothing)
    return found


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


def test_values_that_no_row_has_together_are_nothing() -> None:
    assert nothing("seoul Lambda cost").filters == {"service": ["Lambda"], "region": ["seoul"]}


def test_a_value_that_has_no_row_in_the_period_is_not_passed_over() -> None:
    found = nothing("Lambda cost in September")
    assert found.filters == {"service": ["Lambda"]}
    assert found.span is not None
    assert found.span.to_wire() == {"from": "2025-10-31", "to": "2025-10-31"}


def test_a_period_without_rows_is_nothing_and_says_which_there_are() -> None:
    found = nothing("8월 비용")
    assert found.period is not None
    assert found.period.first == date(2025, 8, 1)
    assert found.span is not None
    assert found.span.to_wire() == {"from": "2025-09-30", "to": "2025-10-31"}


def test_a_period_without_a_date_column_is_not_applied() -> None:
    found = compute("지난달 비용", [{"cost": 5}])
    assert not found.period_applied
    assert shown(found) == {"cost": 5}


def test_a_comparison_without_a_date_column_is_nothing() -> None:
    assert nothing("전월 대비 비용", [{"cost": 5}]).span is None


@pytest.mark.parametrize("query", ["weather in Paris", "안녕하세요", "average temperature last month", "'; DROP x; --"])
def test_what_the_data_does_not_speak_of_is_nothing(query: str) -> None:
    assert nothing(query, about=["costs"]).unknown


@pytest.mark.parametrize("query", ["EC2", "how much?", "지난달 얼마 썼어?", "total", "요약해줘", "costs", "S3 지역별"])
def test_what_the_data_speaks_of_or_says_nothing_is_answered(query: str) -> None:
    assert isinstance(figures.compute(query, ROWS, TODAY, about=["costs"]), Figures)


@pytest.mark.parametrize(
    ("query", "unknown"),
    [("Oracle cost", ["Oracle"]), ("OpenShift 비용", ["OpenShift"]), ("EC2 cost please", []), ("Q4 COST", [])],
)
def test_names_that_nothing_bears_are_told(query: str, unknown: list[str]) -> None:
    assert compute(query).unknown == unknown


def test_filters_from_outside_hold_too() -> None:
    found = figures.compute("cost", ROWS, TODAY, filters={"region": ["tokyo"]})
    assert isinstance(found, Figures)
    assert shown(found) == {"cost": 115.2}


# -- two periods ------------------------------------------------------------------------------------------------


def changes(found: Figures) -> dict[str | None, tuple[float, float]]:
    return {figure.label: (float(figure.value), float(figure.previous or 0)) for figure in found.figures}


@pytest.mark.parametrize(
    "query", ["cost last month vs September", "전월 대비 10월 비용", "10월 비용은 9월보다 줄었어?"]
)
def test_two_periods_are_compared(query: str) -> None:
    found = compute(query)
    assert changes(found) == {"cost": (285.3, 1000)}
    assert (found.overall, found.previous) == (Decimal("285.3"), 1000)
    assert found.figures[0].change == Decimal("-714.7")
    assert found.figures[0].percent == Decimal("-71.5")
    assert found.rows == 5


def test_groups_that_come_or_go_count_as_nothing() -> None:
    assert changes(compute("서비스별 비용 전월 대비 10월")) == {
        "EC2": (150.3, 1000),
        "S3": (70, 0),
        "RDS": (60, 0),
        "Lambda": (5, 0),
    }
    assert compute("cost by service October vs September").figures[1].percent is None


def test_there_is_no_average_of_nothing() -> None:
    assert changes(compute("average cost by service October vs September")) == {"EC2": (75.15, 1000)}


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("which service increased the most in October?", "S3"),
        ("10월에 가장 많이 줄어든 서비스", "EC2"),
        ("which service dropped the most in October", "EC2"),
    ],
)
def test_what_changed_most_is_ranked_by_its_change(query: str, label: str) -> None:
    assert [figure.label for figure in compute(query).figures] == [label]


def test_a_ranking_by_value_stays_one_when_compared() -> None:
    found = compute("top 2 services by cost October vs September")
    assert list(changes(found)) == ["EC2", "S3"]


def test_either_period_without_rows_is_nothing() -> None:
    found = nothing("September cost vs August")
    assert found.period is not None
    assert found.period.first == date(2025, 8, 1)


def test_rows_without_a_date_are_in_no_period() -> None:
    rows = [{"date": "2025-10-01", "cost": 1}, {"date": None, "cost": 2}]
    found = compute("last month cost", rows)
    assert shown(found) == {"cost": 1}
    assert found.undated == 1


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


def test_an_average_per_day_is_of_the_days_sums() -> None:
    assert shown(compute("average daily cost in October")) == {"cost": 71.325}  # of four days
    assert shown(compute("10월 하루 평균 비용")) == {"cost": 71.325}
    assert shown(compute("average cost in October")) == {"cost": 57.06}  # of five rows
    assert shown(compute("region별 하루 평균 비용")) == {"seoul": 390.03333333333336, "tokyo": 38.4}
    assert compute("하루 평균 비용", [{"cost": 1}, {"cost": 3}]).per is None


def test_shares_are_averaged_rather_than_added_up() -> None:
    rows = [{"cpu_percent": 10, "memory": 4}, {"cpu_percent": 30, "memory": 4}]
    assert shown(compute("cpu", rows)) == {"cpu_percent": 20}
    assert compute("cpu", rows).operation is Operation.AVERAGE
    assert shown(compute("everything", rows)) == {"memory": 8}
    assert shown(compute("highest cpu", rows)) == {"cpu_percent": 30}
    assert shown(compute("everything", [{"가동률": 1}])) == {None: 1}


def test_ids_are_not_added_up() -> None:
    assert shown(compute("total", [{"id": 7, "cost": 1}, {"id": 8, "cost": 1}])) == {"cost": 2}


def test_the_column_that_matches_best_is_measured() -> None:
    rows = [{"network cost": 1, "cost": 2, "cost budget": 3}]
    assert compute("cost", rows).measure == "cost"
    assert compute("network cost", rows).measure == "network cost"
    assert compute("비용 예산", rows).measure == "cost budget"


def test_rows_are_not_grouped_by_what_tells_each_apart() -> None:
    rows = [{"server_id": f"s{number}", "status": "idle", "cost": number} for number in range(3)]
    assert compute("cost of idle servers", rows).group_by is None
    assert compute("top 2 servers by cost", rows).group_by == "server_id"


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
    [
        "전월 대비",
        "top 3 services by cost",
        "지난달 비용",
        "평균",
        "how many",
        "월별 비용",
        "가장 비싼",
        "x",
        "0",
        "cost by date",
    ]
)


@given(QUERIES, TABLES)
def test_any_rows_give_finite_figures(query: str, rows: list[dict[str, Any]]) -> None:
    found = figures.compute(query, rows, TODAY)
    if isinstance(found, Figures):
        assert all(figure.value.is_finite() for figure in found.figures)
        assert found.rows <= len(rows)
    else:
        assert found.period is not None


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.decimals(-1000, 1000, places=2)), min_size=1, max_size=30))
def test_groups_add_up_to_the_whole(cells: list[tuple[str, Decimal]]) -> None:
    found = compute("cost by service", [{"service": name, "cost": str(value)} for name, value in cells])
    assert sum(figure.value for figure in found.figures) == found.overall == sum(value for _, value in cells)


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e99, max_value=1e99),
    st.decimals(-(10**12), 10**12, places=4).map(str),
)


@given(st.lists(NUMBERS, min_size=1, max_size=40))
def test_a_total_is_the_sum_of_its_rows(values: list[float | str]) -> None:
    """Exactly, whatever they are; the sum of fractions knows no rounding."""
    found = compute("total cost", [{"cost": value} for value in values])
    assert found.overall is not None
    assert Fraction(found.overall) == sum(Fraction(str(value)) for value in values)


@given(st.lists(st.tuples(st.integers(1, 61), st.integers(-1000, 1000)), min_size=1, max_size=40))
def test_a_change_is_the_difference_of_both_sums(cells: list[tuple[int, int]]) -> None:
    days = [date(2025, 8, 31) + timedelta(days=day) for day, _ in cells]
    rows = [{"date": day.isoformat(), "cost": cost} for day, (_, cost) in zip(days, cells, strict=True)]
    found = figures.compute("10월 비용 전월 대비", rows, TODAY)
    sums = {month: sum(row["cost"] for row in rows if row["date"][5:7] == month) for month in ("09", "10")}
    if isinstance(found, Figures):
        assert found.figures[0].change == sums["10"] - sums["09"]
    else:
        assert len({day.month for day in days}) == 1
