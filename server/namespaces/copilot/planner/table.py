"""Rows as a client sends them, read as a table: which columns hold numbers, days or categories. It computes nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum

from server.namespaces.copilot.planner import words

Row = Mapping[str, object]

MAX_COLUMNS = 200
MAX_LABEL = 200

_MISSING = frozenset(("", "-", "--", "n/a", "na", "nan", "null", "none", "없음"))
_NUMBER = re.compile(
    r"(?P<open>\()?(?P<sign>[+-])?\s*[$€£¥₩]?\s*(?P<inner>[+-])?(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
    r"\s*(?:%|원|usd|krw|eur|jpy)?(?P<close>\))?"
)
_DAY = re.compile(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?(?:[T ].*)?")
_LARGEST = Decimal(10) ** 100  # beyond it is no figure that anyone keeps
#: Numbers that name something: adding them up says nothing.
_LABELS = frozenset(("id", "code", "zip", "year", "month", "no", "번호", "코드", "연도", "년도", "월"))


class Kind(Enum):
    NUMBER = "number"
    DAY = "day"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind


def number(value: object) -> Decimal | None:
    """`1200`, `"1,200.50"`, `"$12"`, `"(300)"` (negative, as accountants write it); None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _bounded(Decimal(repr(value))) if math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > 50:
        return None
    found = _NUMBER.fullmatch(value.strip().casefold())
    if found is None or bool(found["open"]) != bool(found["close"]) or (found["sign"] and found["inner"]):
        return None
    digits = Decimal(found["digits"].replace(",", ""))
    return -digits if found["open"] or "-" in (found["sign"], found["inner"]) else digits


def day(value: object) -> date | None:
    """`2025-10-01`, with or without a time; a month alone is its first day."""
    if not isinstance(value, str) or len(value) > 50:
        return None
    found = _DAY.fullmatch(value.strip())
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[2]), int(found[3] or 1))
    except ValueError:
        return None


def label(value: object) -> str | None:
    """A category's name; None for what is missing or no single value."""
    if is_missing(value) or isinstance(value, Mapping | list):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip()[:MAX_LABEL]


def is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().casefold() in _MISSING)


def columns(rows: Sequence[Row]) -> list[Column]:
    """In the order of their first appearance. A column of mixed kinds is what four fifths of its values are."""
    names: dict[str, list[object]] = {}
    for row in rows:
        for name, value in row.items():
            if not is_missing(value) and (name in names or len(names) < MAX_COLUMNS):
                names.setdefault(name, []).append(value)
    found = ((name, _kind(name, values)) for name, values in names.items())
    return [Column(name, kind) for name, kind in found if kind is not None]


def _kind(name: str, values: list[object]) -> Kind | None:
    enough = 0.8 * len(values)
    if sum(day(value) is not None for value in values) >= enough:
        return Kind.DAY
    if not _LABELS.intersection(words.words(name)) and sum(number(value) is not None for value in values) >= enough:
        return Kind.NUMBER
    return Kind.CATEGORY if sum(label(value) is not None for value in values) >= enough else None


def _bounded(value: Decimal) -> Decimal | None:
    return value if abs(value) < _LARGEST else None
