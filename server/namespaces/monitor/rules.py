"""Rules such as `fault != 0 or temp > 90`, which say from a machine's tags what its status is. They read no tags.

They hold names, numbers, texts, `true`, `false`, `== != < <= > >=`, `in [...]`, `and or not`, `+ - * /` and `&`
for bits. What cannot be said - text compared with a number, a division by zero, a tag without a value - is unknown, and
so is what depends on it: a rule holds only where that is known. Rules never fail.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from server.namespaces.monitor.schemas import Quality, Reading, Status

Value = float | int | bool | str
Values = Mapping[str, Value]
#: None stands for unknown.
Expression = Callable[[Values], Value | None]

LONGEST_RULE = 500  # characters
DEEPEST_RULE = 20  # levels
#: The first that holds is the status; where none does, it is `stopped`.
ORDER: tuple[Status, ...] = ("disconnected", "error", "running", "idle")
OTHERWISE: Status = "stopped"
if set(get_args(Status)) != {*ORDER, OTHERWISE}:
    raise AssertionError("every status has its place in the order")

WORDS: Mapping[str, bool] = {"true": True, "false": False}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class RuleError(ValueError):
    """A rule cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    text: str
    names: frozenset[str]
    expression: Expression

    def holds(self, values: Values) -> bool:
        return bool(self.expression(values))


@dataclass(frozen=True, slots=True)
class Rules:
    """At most one for each status but `stopped`."""

    by_status: Mapping[Status, Rule]

    @property
    def names(self) -> frozenset[str]:
        return frozenset[str]().union(*(rule.names for rule in self.by_status.values()))

    def status(self, values: Values) -> Status:
        for status in ORDER:
            rule = self.by_status.get(status)
            if rule is not None and rule.holds(values):
                return status
        return OTHERWISE

    def reading(self, values: Values, quality: Quality, source_time: datetime | None = None) -> Reading:
        """A machine may run in spite of an error."""
        status, running = self.status(values), self.by_status.get("running")
        runs = status == "error" and running is not None and running.holds(values)
        return Reading(status, quality, source_time, runs)


def parse(text: str) -> Rule:
    """Raises RuleError."""
    if len(text) > LONGEST_RULE:
        raise RuleError(f"Longer than {LONGEST_RULE} characters.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise RuleError("Not an expression.") from None
    compiler = _Compiler()
    expression = compiler.compile(tree.body)
    return Rule(text, frozenset(compiler.names), expression)


class _Compiler:
    """Functions are five times as fast as walking the tree, and there are thousands of rules to look at a second."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def compile(self, node: ast.expr, depth: int = 1) -> Expression:
        if depth > DEEPEST_RULE:
            raise RuleError(f"Nested deeper than {DEEPEST_RULE} levels.")
        inner = depth + 1
        match node:
            case ast.Constant():
                return _constant(_literal(node))
            case ast.Name(id=name) if name in WORDS:
                return _constant(WORDS[name])
            case ast.Name(id=name):
                self.names.add(name)
                return _tag(name)
            case ast.UnaryOp(op=ast.Not()):
                return _not(self.compile(node.operand, inner))
            case ast.UnaryOp(op=ast.USub()):
                return _arithmetic(operator.sub, _constant(0), self.compile(node.operand, inner))
            case ast.BoolOp():
                decisive = isinstance(node.op, ast.Or)
                return _junction(decisive, [self.compile(value, inner) for value in node.values])
            case ast.BinOp(op=ast.BitAnd()):
                return _bits(self.compile(node.left, inner), self.compile(node.right, inner))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                apply = _ARITHMETIC[type(node.op)]
                return _arithmetic(apply, self.compile(node.left, inner), self.compile(node.right, inner))
            case ast.Compare():
                return self._chain(node, inner)
        raise RuleError(f"May not hold `{ast.unparse(node)}`.")

    def _chain(self, node: ast.Compare, depth: int) -> Expression:
        """`0 < temp < 90` is two comparisons."""
        parts: list[Expression] = []
        left = self.compile(node.left, depth)
        for comparison, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(comparison, ast.In | ast.NotIn):
                member = _member(left, _literals(right))
                parts.append(member if isinstance(comparison, ast.In) else _not(member))
                if len(node.ops) > 1:
                    raise RuleError("`in` may not be part of a chain of comparisons.")
            elif type(comparison) in _COMPARISONS:
                other = self.compile(right, depth)
                parts.append(_comparison(_COMPARISONS[type(comparison)], left, other))
                left = other
            else:
                raise RuleError(f"May not hold `{ast.unparse(node)}`.")
        return parts[0] if len(parts) == 1 else _junction(False, parts)


def _literal(node: ast.expr) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Name(id=name) if name in WORDS:
            return WORDS[name]
    raise RuleError(f"Neither a number, a text, true nor false: `{ast.unparse(node)}`.")


def _literals(node: ast.expr) -> frozenset[Value]:
    if not isinstance(node, ast.List | ast.Tuple):
        raise RuleError("`in` needs a list: `state in [1, 2]`.")
    values = frozenset(_literal(each) for each in node.elts)
    if len({isinstance(value, str) for value in values}) != 1:
        raise RuleError("A list holds numbers or texts, one at least, not both.")
    return values


def _constant(value: Value) -> Expression:
    return lambda values: value


def _tag(name: str) -> Expression:
    def evaluate(values: Values) -> Value | None:
        value = values.get(name)
        known = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
        return value if known else None

    return evaluate


def _not(part: Expression) -> Expression:
    def evaluate(values: Values) -> bool | None:
        value = part(values)
        return None if value is None else not value

    return evaluate


def _junction(decisive: bool, parts: Sequence[Expression]) -> Expression:
    """`or` is decided by one that is true, `and` by one that is false, whatever is unknown beside it."""

    def evaluate(values: Values) -> bool | None:
        unknown = False
        for part in parts:
            value = part(values)
            if value is None:
                unknown = True
            elif bool(value) is decisive:
                return decisive
        return None if unknown else not decisive

    return evaluate


def _arithmetic(apply: Callable[[float, float], float], left: Expression, right: Expression) -> Expression:
    def evaluate(values: Values) -> float | None:
        a, b = left(values), right(values)
        if a is None or b is None or isinstance(a, str) or isinstance(b, str):
            return None
        try:
            result = apply(a, b)
            return result if math.isfinite(result) else None
        except ArithmeticError:
            return None

    return evaluate


def _bits(left: Expression, right: Expression) -> Expression:
    def evaluate(values: Values) -> int | None:
        a, b = left(values), right(values)
        return a & b if isinstance(a, int) and isinstance(b, int) else None

    return evaluate


def _comparison(compare: Callable[[Value, Value], bool], left: Expression, right: Expression) -> Expression:
    def evaluate(values: Values) -> bool | None:
        a, b = left(values), right(values)
        if a is None or b is None or isinstance(a, str) is not isinstance(b, str):
            return None
        return compare(a, b)

    return evaluate


def _member(part: Expression, members: frozenset[Value]) -> Expression:
    texts = any(isinstance(member, str) for member in members)

    def evaluate(values: Values) -> bool | None:
        value = part(values)
        return None if value is None or isinstance(value, str) is not texts else value in members

    return evaluate
