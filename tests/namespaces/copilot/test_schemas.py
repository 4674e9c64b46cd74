from __future__ import annotations

from typing import Any

import pytest

from server.errors import InvalidMessage
from server.namespaces.copilot import schemas
from server.realtime.schema import Payload, load


@pytest.mark.parametrize(
    ("shape", "payload"),
    [
        (schemas.Query, {"text": "비용"}),
        (schemas.Query, {"text": "cost", "query_id": "q-1"}),
        (schemas.Query, {"text": "cost", "query_id": None}),
        (schemas.Cancel, {"query_id": "q-1"}),
        (schemas.Datasets, {"datasets": []}),
        (schemas.Datasets, {"datasets": [{"name": "costs"}]}),
        (schemas.Datasets, {"datasets": [{"name": "costs", "description": None, "columns": ["a"], "size": 5}]}),
        (schemas.Data, {"data": []}),
        (schemas.Data, {"data": [{"cost": 1, "nested": {"any": ["thing"]}}] * schemas.MAX_ROWS}),
        (schemas.Clarification, {"answer": "costs"}),
        (schemas.AvailableData, {"requestId": "x", "datasets": []}),
        (schemas.ApiResult, {"requestId": "x", "data": []}),
        (schemas.HumanResponse, {"requestId": "x", "answer": "costs"}),
    ],
)
def test_accepted(shape: type[Payload], payload: dict[str, Any]) -> None:
    load(shape(), payload)


def test_what_else_a_client_knows_of_a_dataset_is_kept() -> None:
    wire = {"datasets": [{"name": "costs", "description": "", "columns": ["a"]}]}
    assert load(schemas.Datasets(), wire) == wire


@pytest.mark.parametrize(
    ("shape", "payload"),
    [
        (schemas.Query, {}),
        (schemas.Query, {"text": ""}),
        (schemas.Query, {"text": " \n"}),
        (schemas.Query, {"text": 5}),
        (schemas.Query, {"text": "x" * (schemas.MAX_QUERY + 1)}),
        (schemas.Query, {"text": "x", "query_id": ""}),
        (schemas.Query, {"text": "x", "query_id": 5}),
        (schemas.Query, {"text": "x", "query_id": "x" * 101}),
        (schemas.Query, {"text": "x", "other": 1}),
        (schemas.Cancel, {}),
        (schemas.Datasets, {}),
        (schemas.Datasets, {"datasets": None}),
        (schemas.Datasets, {"datasets": {"name": "costs"}}),
        (schemas.Datasets, {"datasets": ["costs"]}),
        (schemas.Datasets, {"datasets": [{}]}),
        (schemas.Datasets, {"datasets": [{"name": ""}]}),
        (schemas.Datasets, {"datasets": [{"name": "x" * 201}]}),
        (schemas.Datasets, {"datasets": [{"name": "a\0b"}]}),
        (schemas.Datasets, {"datasets": [{"name": "a", "description": "x" * 2001}]}),
        (schemas.Datasets, {"datasets": [{"name": "a"}] * (schemas.MAX_DATASETS + 1)}),
        (schemas.Datasets, {"datasets": [], "more": 1}),
        (schemas.Data, {}),
        (schemas.Data, {"data": None}),
        (schemas.Data, {"data": {"rows": []}}),
        (schemas.Data, {"data": [1]}),
        (schemas.Data, {"data": [{}, ["a"]]}),
        (schemas.Data, {"data": [{}] * (schemas.MAX_ROWS + 1)}),
        (schemas.Data, {"data": [{f"f{number}": 1 for number in range(schemas.MAX_FIELDS + 1)}]}),
        (schemas.Data, {"data": [{"a": b"bytes"}]}),
        (schemas.Clarification, {"answer": 1}),
        (schemas.Clarification, {"answer": ""}),
        (schemas.AvailableData, {"datasets": []}),
        (schemas.ApiResult, {"requestId": 5, "data": []}),
        (schemas.HumanResponse, {"requestId": "x"}),
    ],
)
def test_refused(shape: type[Payload], payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        load(shape(), payload)


def test_a_bad_row_is_named() -> None:
    with pytest.raises(InvalidMessage) as refused:
        load(schemas.Data(), {"data": [{}, 5]})
    assert refused.value.details == {"data": {"1": ["Not an object of at most 200 fields."]}}
