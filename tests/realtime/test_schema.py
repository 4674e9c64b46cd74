from __future__ import annotations

from typing import Any

import pytest
from marshmallow import fields

from server.errors import InvalidMessage
from server.realtime.schema import Count, Flag, Identifier, Payload, Text, load


class Everything(Payload):
    name = Identifier(required=True)
    text = Text(most=5, load_default="")
    count = Count(least=1, most=9, load_default=1)
    flag = Flag(load_default=False)
    metadata = fields.Dict(load_default=dict)


def faults(payload: object) -> set[str]:
    with pytest.raises(InvalidMessage) as caught:
        load(Everything(), payload)
    return set(caught.value.details or {})


def test_defaults_are_filled_in() -> None:
    assert load(Everything(), {"name": "n"}) == {"name": "n", "text": "", "count": 1, "flag": False, "metadata": {}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " n"),
        ("name", "a\nb"),
        ("name", "a\x00"),
        ("name", "x" * 101),
        ("name", 5),
        ("name", None),
        ("name", ["n"]),
        ("text", ""),
        ("text", "123456"),
        ("text", "a\0"),
        ("text", {"a": 1}),
        ("count", 0),
        ("count", 10),
        ("count", 1.5),
        ("count", "5"),
        ("count", True),
        ("count", 10**30),
        ("flag", 1),
        ("flag", "true"),
        ("flag", None),
        ("metadata", []),
        ("unknown", 1),
    ],
)
def test_each_fault_is_named(field: str, value: Any) -> None:
    assert faults({"name": "n"} | {field: value}) == {field}


@pytest.mark.parametrize("payload", [None, 5, "text", ["name"], True])
def test_only_an_object_will_do(payload: object) -> None:
    assert faults(payload) == set()


@pytest.mark.parametrize("payload", [{"name": b"n"}, {"name": "n", "metadata": {"deep": [{"er": b"x"}]}}])
def test_binary_data_is_not_text(payload: object) -> None:
    assert faults(payload) == set()


def test_all_faults_at_once() -> None:
    assert faults({"text": 5, "count": "x", "extra": 1}) == {"name", "text", "count", "extra"}


def test_the_items_of_a_list_are_named_as_json_can() -> None:
    class Numbers(Payload):
        numbers = fields.List(Count())

    with pytest.raises(InvalidMessage) as refused:
        load(Numbers(), {"numbers": [1, "x"]})
    assert refused.value.details == {"numbers": {"1": ["Not a valid integer."]}}
