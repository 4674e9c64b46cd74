from __future__ import annotations

from datetime import date

import pytest

from server.namespaces.copilot import namespace, told
from server.namespaces.copilot.planner import timeframe
from server.namespaces.copilot.planner.answers import answer

TODAY = date(2026, 11, 22)
ROWS = [
    {"date": "2026-10-05", "category": "Food", "amount": 10},
    {"date": "2026-11-05", "category": "Food", "amount": 12.5},
    {"date": "2026-11-06", "category": "Rent", "amount": "n/a"},
]


@pytest.mark.parametrize(
    "query",
    [
        "total amount",
        "total amount by category",
        "this month's amount compared with last month",
        "how many in November by category",
        "highest amount",
        "average amount per month",
        "총 지출",
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_answers_of_every_kind(query: str, *, complete: bool) -> None:
    found = answer(query, "spending", ROWS, TODAY, frame=timeframe.read(query, TODAY), complete=complete)
    response = {"query_id": "q", "text": found.text, "data": found.data, "sources": found.sources, "latency_ms": 5}
    assert told.Response().validate(response) == {}
    assert set(found.data) <= {field.data_key or name for name, field in told.Figures().fields.items()}


def test_every_question_of_the_namespace_is_declared() -> None:
    asked = {namespace.AVAILABLE_DATA, namespace.API, namespace.CLARIFICATION}
    assert told.REQUESTS.keys() == asked


def test_an_error_may_be_of_a_query_or_not() -> None:
    error = {"code": "NO_DATA", "message": "There is none"}
    assert told.QueryError().validate(error) == {}
    assert told.QueryError().validate({**error, "query_id": "q"}) == {}
