from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.json_codec import MAX_DEPTH, PayloadRefused, dumps, loads

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read(value: object) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_nesting_has_a_limit(opening: str) -> None:
    closing = {"[": "]", '{"a":': "}", '[{"a":': "}]"}[opening]
    levels = MAX_DEPTH // len(closing)
    assert loads(opening * levels + "1" + closing * levels)
    for deep in (levels + 1, 100_000):
        with pytest.raises(PayloadRefused):
            loads(opening * deep + "1" + closing * deep)


def test_brackets_in_text_do_not_nest() -> None:
    text = "[{" * 1000 + '\\"'
    assert loads(json.dumps([text])) == [text]
    assert loads(json.dumps([[]] * 1000)) == [[]] * 1000


def test_a_text_that_does_not_end_costs_no_more_than_one_that_does() -> None:
    """A bound on the work, not on the time: quadratic, this would take minutes."""
    for text in ('["x",[' + "[]," * 40 + '],"' + '\\"' * 500_000, "[" * 40 + '"\\' * 300_000):
        with pytest.raises(ValueError):  # noqa: PT011 - either kind of refusal
            loads(text)


def test_lone_surrogates_and_nan_are_refused_and_pairs_are_not() -> None:
    for text in ('["\\ud83d"]', "[NaN]", "[-Infinity]"):
        with pytest.raises(PayloadRefused):
            loads(text)
    assert loads('["\\ud83d\\ude00"]') == ["😀"]


@pytest.mark.parametrize("text", ["", "{", "[1,]", "'a'", '"\x00"'])
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - whichever, but not ours
        loads(text)
    assert not isinstance(caught.value, PayloadRefused)
