from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.copilot.planner.llm_replies import Call
from server.namespaces.copilot.planner.llm_tools import (
    API,
    AVAILABLE_DATA,
    CLARIFICATION,
    TOOLS,
    AvailableData,
    Clarification,
    Refused,
    Rows,
    line,
    read,
)
from server.namespaces.copilot.planner.periods import Period


def call(name: str, **arguments: object) -> Call:
    return Call(name, json.dumps(arguments))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Call("delete_everything", "{}"), "no such tool"),
        (Call("", ""), "no such tool"),
        (Call(API, "{"), "not JSON"),
        (Call(API, "[" * 3000), "not JSON"),
        (Call(API, "[]"), "not an object"),
        (Call(API, "null"), "not an object"),
        (Call(API, " " * 4001), "too long"),
        (call(API), "dataset"),
        (call(API, dataset=7), "dataset"),
        (call(API, dataset=""), "dataset"),
        (call(API, dataset="a", user_id="bob"), "user_id"),
        (call(API, dataset="a", limit=10**9), "limit"),
        (call(API, dataset="a", **{"from": "2025-01-01"}), "Two days"),
        (call(API, dataset="a", **{"from": "2025-02-01", "to": "2025-01-01"}), "Two days"),
        (call(API, dataset="a", **{"from": "yesterday", "to": "today"}), "date"),
        (call(API, dataset="a", filters={"x": []}), "filters"),
        (call(API, dataset="a", filters={"x": "y"}), "filters"),
        (call(API, dataset="a", filters={"x": [{"$ne": 1}]}), "filters"),
        (call(API, dataset="a", filters={str(n): ["y"] for n in range(21)}), "filters"),
        (call(API, dataset="a", question="x" * 501), "question"),
        (call(AVAILABLE_DATA, user="bob"), "user"),
        (call(CLARIFICATION), "question"),
        (call(CLARIFICATION, question=" \u202e"), "question"),
        (call(CLARIFICATION, question="x" * 501), "question"),
        (call(CLARIFICATION, question="x", options=["y"] * 11), "options"),
        (call(CLARIFICATION, question="x", options=["y" * 101]), "options"),
        (call(CLARIFICATION, question="x", room="lobby"), "room"),
    ],
)
def test_what_no_tool_takes(wrong: Call, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(wrong)


def test_what_they_take() -> None:
    asked: dict[str, Any] = {"from": "2025-10-01", "to": "2025-10-31", "filters": {"service": ["EC2"]}}
    assert read(call(API, dataset="a", question="total", **asked)) == Rows(
        "a", Period(date(2025, 10, 1), date(2025, 10, 31)), {"service": ("EC2",)}, "total"
    )
    nothing = {"from": None, "to": None, "filters": None, "question": None}
    assert read(call(API, dataset="a", **nothing)) == Rows("a")
    assert read(Call(AVAILABLE_DATA, "")) == AvailableData()
    assert read(call(CLARIFICATION, question="Which\n\x00one?", options=["a", "a", "b"])) == Clarification(
        "Which one?", ("a", "b")
    )


def test_every_tool_is_described() -> None:
    described: list[Any] = list(TOOLS)
    assert [tool["function"]["name"] for tool in described] == [AVAILABLE_DATA, API, CLARIFICATION]
    assert not any(tool["function"]["parameters"]["additionalProperties"] for tool in described)


@given(st.text())
def test_a_line_can_be_sent_and_shown(text: str) -> None:
    shown = line(text + "\ud800\u202e\n")
    assert shown.isprintable()
    shown.encode()


@given(
    st.sampled_from([API, AVAILABLE_DATA, CLARIFICATION]),
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: (
            st.lists(each)
            | st.dictionaries(st.sampled_from(["dataset", "from", "to", "filters", "question", "options"]), each)
        ),
    ).map(json.dumps),
)
def test_whatever_a_model_writes_is_a_request_or_refused(name: str, arguments: str) -> None:
    try:
        request = read(Call(name, arguments))
    except Refused:
        return
    assert isinstance(request, AvailableData | Rows | Clarification)
