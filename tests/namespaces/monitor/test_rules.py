from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor.rules import DEEPEST_RULE, LONGEST_RULE, ORDER, RuleError, Rules, Value, parse
from server.namespaces.monitor.schemas import Reading

VALUES = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
#: What only a faulty source could give.
JUNK = st.one_of(VALUES, st.none(), st.binary(max_size=3), st.lists(st.integers(), max_size=2), st.complex_numbers())
ATOMS = st.sampled_from(
    ["a", "b", "missing", "0", "1", "-1", "2.5", "1e308", "9" * 40, "true", "false", "'x'", "''", "-a"]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(
        inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "&", "and", "or"]), inner
    )
    return st.one_of(
        pairs.map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        inner.map(lambda part: f"(not {part})"),
        inner.map(lambda part: f"({part} in [1, 2.5, true])"),
        inner.map(lambda part: f"({part} not in ('x', ''))"),
        inner.map(lambda part: f"(0 < {part} <= 90)"),
    )


RULES = st.recursive(ATOMS, _grown, max_leaves=8)


def holds(text: str, **values: Any) -> bool:
    return parse(text).holds(values)


@pytest.mark.parametrize(
    "text",
    [
        "fault",
        "not ok",
        "fault != 0",
        "fault == 4 and temp > 90.5",
        "ok or temp - 10 >= 80",
        "fault & 4",
        "fault & 4 != 0",
        "state in [1, 2]",
        "state not in (3, -4)",
        "mode in ['auto', \"manual\"]",
        "mode == 'auto'",
        "0 < temp < 100 <= temp + 10",
        "-temp < -90",
        "temp * 2 == 182.0",
        "temp / 2 == 45.5",
        "ok == false",
        "state == 2 == true * 2",
        " fault ",
    ],
)
def test_rules_that_hold(text: str) -> None:
    assert holds(text, fault=4, temp=91.0, ok=False, state=2, mode="auto")


@pytest.mark.parametrize(
    "text",
    [
        "fault",
        "temp > 91",
        "state in [1, 3]",
        "mode not in ['auto']",
        "mode == ''",
        "ok and fault",
        "9 & ''",
        # unknown, either way round
        "missing",
        "not missing",
        "missing == 0",
        "missing != 0",
        "mode > 3",
        "mode == 3",
        "mode != 3",
        "not (mode == 3)",
        "mode in [1, 2]",
        "mode not in [1, 2]",
        "temp / fault > 1",
        "temp / fault <= 1",
        "not temp / fault",
        "mode + 'x' == 'autox'",
        "mode * 3 == 'autoautoauto'",
        "temp & 1 == 0",
        "temp & 1 == 1",
        "nan == nan",
        "nan != nan",
        "nan < 0 or nan >= 0",
        "inf > 0",
        "huge * huge > 0",
        "huge * 1e300 * 1e300 > 0",
        "missing and ok == false",
        "missing or fault",
    ],
)
def test_rules_that_do_not_hold(text: str) -> None:
    values = {"fault": 0, "temp": 91.0, "ok": False, "state": 2, "mode": "auto", "huge": 10**200}
    assert not holds(text, **values, nan=float("nan"), inf=float("inf"))


def test_what_is_unknown_beside_it_changes_nothing_that_is_decided() -> None:
    assert holds("missing > 90 or fault", fault=1)
    assert holds("fault or missing > 90", fault=1)
    assert holds("not (missing and fault)", fault=0)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Not an expression"),
        ("   ", "Not an expression"),
        ("fault =", "Not an expression"),
        ("fault = 1", "Not an expression"),
        ("a\nb", "Not an expression"),
        ("a; b", "Not an expression"),
        ("fault && 1", "Not an expression"),
        ("\0", "Not an expression"),
        ("(" * 300, "Not an expression"),
        ("a" * (LONGEST_RULE + 1), f"Longer than {LONGEST_RULE} characters"),
        ("not " * DEEPEST_RULE + "a", f"Nested deeper than {DEEPEST_RULE}"),
        (" + ".join("a" * (DEEPEST_RULE + 1)), "Nested deeper"),
        ("-" * 400 + "a", "Nested deeper"),
        ("__import__('os')", "May not hold"),
        ("a.b", "May not hold"),
        ("a[0]", "May not hold"),
        ("[a]", "May not hold"),
        ("a if b else c", "May not hold"),
        ("lambda: a", "May not hold"),
        ("f'{a}'", "May not hold"),
        ("(a := 1)", "May not hold"),
        ("[a for a in b]", "May not hold"),
        ("a ** 9", "May not hold"),
        ("a % 2", "May not hold"),
        ("a | 2", "May not hold"),
        ("a << 2", "May not hold"),
        ("~a", "May not hold"),
        ("+a", "May not hold"),
        ("a is b", "May not hold"),
        ("await a", "May not hold|Not an expression"),
        ("1j", "Neither a number, a text"),
        ("None", "Neither a number, a text"),
        ("...", "Neither a number, a text"),
        ("b'x'", "Neither a number, a text"),
        ("a in b", "`in` needs a list"),
        ("a in 'abc'", "`in` needs a list"),
        ("a in [b]", "Neither a number, a text"),
        ("a in []", "one at least"),
        ("a in [1, 'x']", "not both"),
        ("a in [1] == b", "chain"),
    ],
)
def test_what_is_no_rule(text: str, fault: str) -> None:
    with pytest.raises(RuleError, match=fault):
        parse(text)


def test_a_rule_knows_which_tags_it_needs() -> None:
    assert parse("a == 1 or b in [true, 0] and not c & 4 < d").names == {"a", "b", "c", "d"}
    assert parse("1 == 1").names == frozenset()


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"link": 0, "fault": 1, "state": 1, "ready": True}, "disconnected"),
        ({"link": 1, "fault": 1, "state": 1, "ready": True}, "error"),
        ({"link": 1, "fault": 0, "state": 1, "ready": True}, "running"),
        ({"link": 1, "fault": 0, "state": 5, "ready": True}, "idle"),
        ({"link": 1, "fault": 0, "state": 5, "ready": False}, "stopped"),
        ({}, "stopped"),
    ],
)
def test_the_first_in_order_that_holds_is_the_status(values: Mapping[str, Value], status: str) -> None:
    texts = {"idle": "ready", "running": "state in [1, 2]", "error": "fault", "disconnected": "link == 0"}
    rules = Rules({each: parse(texts[each]) for each in reversed(ORDER)})
    assert rules.status(values) == status
    assert rules.names == {"link", "fault", "state", "ready"}


def test_a_machine_may_run_in_spite_of_its_error() -> None:
    rules = Rules({"disconnected": parse("link == 0"), "error": parse("fault"), "running": parse("state == 1")})
    assert rules.reading({"fault": 1, "state": 1}, "bad") == Reading("error", "bad", runs=True)
    assert rules.reading({"fault": 1, "state": 0}, "good") == Reading("error")
    assert rules.reading({"fault": 0, "state": 1}, "good") == Reading("running")
    assert rules.reading({"link": 0, "fault": 1, "state": 1}, "good") == Reading("disconnected")


def test_no_rules_and_it_stands_still() -> None:
    assert Rules({}).status({"status": 1}) == "stopped"
    assert Rules({}).names == frozenset()


@given(RULES, st.fixed_dictionaries({}, optional={"a": JUNK, "b": JUNK}))
def test_a_rule_never_fails_whatever_the_values(text: str, values: dict[str, Any]) -> None:
    assert parse(text).holds(values) in (True, False)


@given(RULES, st.dictionaries(st.sampled_from(["a", "b"]), VALUES))
def test_a_rule_and_its_opposite_never_both_hold(text: str, values: dict[str, Any]) -> None:
    assert not (holds(text, **values) and holds(f"not ({text})", **values))


@given(st.text(max_size=40) | st.text("ab01()[]<>=!&+-*/.,'\" notrin", max_size=60))
def test_any_text_is_a_rule_or_is_refused(text: str) -> None:
    try:
        rule = parse(text)
    except RuleError:
        return
    assert rule.holds({"a": 1, "b": "x"}) in (True, False)
