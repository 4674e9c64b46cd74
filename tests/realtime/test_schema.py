from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields, post_load

from server.errors import InvalidMessage
from server.realtime.schema import Count, Flag, Identifier, Payload, Shape, Text, load


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


class Numbers(Payload):
    numbers = fields.List(Count())


def test_the_items_of_a_list_are_named_as_json_can() -> None:
    with pytest.raises(InvalidMessage) as refused:
        load(Numbers(), {"numbers": [1, "x"]})
    assert refused.value.details == {"numbers": {"1": ["Not a valid integer."]}}


class Plain(Payload):
    text = Text(most=5, required=True)
    name = Identifier(most=5, load_default="none")
    count = Count(least=1, most=9, load_default=None, allow_none=True)
    flag = Flag(required=True)
    raw = fields.Raw(load_default=None)


VALUES = st.one_of(
    st.text(max_size=7), st.integers(-1, 11), st.booleans(), st.none(), st.floats(), st.binary(max_size=3), st.just("5")
)


@given(st.dictionaries(st.sampled_from(["text", "name", "count", "flag", "raw", "other"]), VALUES))
def test_a_shape_takes_what_marshmallow_takes_and_refuses_what_it_refuses(payload: dict[str, object]) -> None:
    def outcome(load: Callable[[object], object]) -> object:
        try:
            return load(payload)
        except InvalidMessage as error:
            return error.to_wire()

    expected = outcome(lambda raw: load(Plain(), raw))
    assert repr(outcome(Shape(Plain()).load)) == repr(expected)


def test_what_is_right_as_it_stands_does_not_ask_marshmallow(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(Plain())
    monkeypatch.setattr(Plain, "load", None)
    loaded = shape.load({"flag": True, "text": "text"})
    assert loaded == {"text": "text", "name": "none", "count": None, "flag": True, "raw": None}


def test_schemas_with_hooks_and_fields_that_are_more_than_they_say_are_left_to_marshmallow() -> None:
    class Shout(Text):
        def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> str:
            return str(value).upper()

    class Hooked(Payload):
        text = Text(most=5)

        @post_load
        def wrap(self, data: dict[str, object], **options: Any) -> dict[str, object]:
            return {"wrapped": data}

    class Shouted(Payload):
        text = Shout(most=5)

    assert Shape(Hooked()).load({"text": "x"}) == {"wrapped": {"text": "x"}}
    assert Shape(Shouted()).load({"text": "x"}) == {"text": "X"}


@pytest.mark.parametrize("payload", [{f"{number}{'x' * 1000}": 1 for number in range(5000)}, {"numbers": ["x"] * 5000}])
def test_an_error_is_no_longer_than_what_was_sent(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage) as refused:
        load(Numbers(), payload)
    assert len(json.dumps(refused.value.to_wire())) < 4000
