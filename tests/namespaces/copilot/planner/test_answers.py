from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import NoData
from server.namespaces.copilot.planner import answers

TODAY = date(2025, 11, 5)


def test_the_answer_holds_its_figures_and_names_its_source() -> None:
    rows = [
        {"date": "2025-10-01", "service": "EC2", "cost": 10.5},
        {"date": "2025-10-01", "service": "S3", "cost": 2},
        {"date": "2025-09-01", "service": "S3", "cost": 7},
    ]
    found = answers.answer("top 1 service by cost last month", "costs", rows, TODAY)
    assert found.sources == [{"dataset": "costs", "rows": 3}]
    assert found.data == {
        "operation": "sum",
        "measure": "cost",
        "group_by": "service",
        "period": {"from": "2025-10-01", "to": "2025-10-31"},
        "filters": {},
        "rows": 2,
        "skipped": 0,
        "groups": 2,
        "figures": [{"label": "EC2", "value": 10.5}],
        "overall": 12.5,
    }
    assert "EC2 10.5" in found.text


def test_the_language_is_the_querys() -> None:
    assert answers.answer("비용", "costs", [{"cost": 1}], TODAY).text == "costs 1행 기준 — cost 합계 1"
    assert answers.answer("cost", "costs", [{"cost": 1}], TODAY).text == "Total cost: 1 (costs, 1 row)."


def test_a_period_that_was_not_applied_is_not_in_the_data() -> None:
    assert answers.answer("last month", "costs", [{"cost": 1}], TODAY).data["period"] is None


def test_a_comparison_is_in_the_data() -> None:
    rows = [{"date": "2025-10-01", "cost": 15.5}, {"date": "2025-09-01", "cost": 10}]
    found = answers.answer("Azure cost in October vs September", "costs", rows, TODAY)
    assert found.data["figures"] == [
        {"label": "cost", "value": 15.5, "previous": 10, "change": 5.5, "change_percent": 55}
    ]
    assert found.data["period"] == {"from": "2025-10-01", "to": "2025-10-31"}
    assert found.data["compared_with"] == {"from": "2025-09-01", "to": "2025-09-30"}
    assert (found.data["overall"], found.data["overall_previous"]) == (15.5, 10)
    assert found.data["unknown"] == ["Azure"]


def test_a_part_is_told_to_be_one() -> None:
    found = answers.answer("cost", "costs", [{"cost": 1}], TODAY, complete=False)
    assert found.sources == [{"dataset": "costs", "rows": 1, "complete": False}]
    assert found.text.endswith("only the first 1 rows were read, so these are not the figures of all.")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("cost in 2019", "costs has no rows for 2019-01-01 ~ 2019-12-31; there is 2025-10-01."),
        ("2019년 비용", "costs에 2019-01-01 ~ 2019-12-31에 해당하는 행이 없습니다 (있는 기간: 2025-10-01)."),
    ],
)
def test_nothing_to_answer_from_is_an_error_that_says_why(query: str, told: str) -> None:
    with pytest.raises(NoData) as refused:
        answers.answer(query, "costs", [{"date": "2025-10-01", "cost": 1}], TODAY)
    assert str(refused.value) == told


VALUES = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5), st.none())


@given(st.lists(st.fixed_dictionaries({"cost": VALUES, "service": VALUES}), min_size=1, max_size=10))
def test_every_answer_can_go_on_the_wire(rows: list[dict[str, Any]]) -> None:
    found = answers.answer("top 3 services by cost", "costs", rows, TODAY)
    assert orjson.loads(orjson.dumps(found.data))["rows"] == len(rows)
    assert found.text
