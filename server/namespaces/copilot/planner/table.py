"""Rows as a client sends them, read as a table: which columns hold numbers, days or categories. It computes nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache

from server.namespaces.copilot.planner import periods, words

Row = Mapping[str, object]

MAX_COLUMNS = 200
MAX_LABEL = 200

_MISSING = frozenset(("", "-", "--", "n/a", "na", "nan", "null", "none", "없음"))
_NUMBER = re.compile(
    r"(?P<open>\()?(?P<sign>[+-])?\s*[$€£¥₩]?\s*(?P<inner>[+-])?(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
    r"\s*(?:%|원|usd|krw|eur|jpy)?(?P<close>\))?"
)
_TIME = r"(?:[T ,].*)?"
#: Of days written as `03/04/2025` those that leave no doubt; nobody can tell the others.
_DAYS: tuple[tuple[re.Pattern[str], tuple[int, int, int]], ...] = tuple(
    (re.compile(pattern), order)
    for pattern, order in (
        (rf"(\d{{4}})[-/.]\s?(\d{{1,2}})(?:[-/.]\s?(\d{{1,2}})\.?)?{_TIME}", (1, 2, 3)),
        (r"(\d{4})\s*년\s*(\d{1,2})\s*월(?:\s*(\d{1,2})\s*일)?.*", (1, 2, 3)),
        (rf"([A-Za-z]{{3,9}})\.?\s+(?:(\d{{1,2}})(?:st|nd|rd|th)?,?\s+)?(\d{{4}}){_TIME}", (3, 1, 2)),
        (rf"(\d{{1,2}})(?:st|nd|rd|th)?[\s-]+([A-Za-z]{{3,9}})\.?,?[\s-]+(\d{{4}}){_TIME}", (3, 2, 1)),
        (rf"(\d{{1,2}})[-/.](1[3-9]|2\d|3[01])[-/.](\d{{4}}){_TIME}", (3, 1, 2)),
        (rf"(1[3-9]|2\d|3[01])[-/.](\d{{1,2}})[-/.](\d{{4}}){_TIME}", (3, 2, 1)),
        (r"((?:19|20)\d{2})(\d{2})(\d{2})", (1, 2, 3)),
    )
)
_MONTHS = {name: at for at, name in enumerate(periods.MONTHS, 1)}
_EPOCH = (946_684_800, 4_102_444_800)  # seconds since 1970, for the years 2000 to 2099
#: Names of columns whose bare numbers are days.
_TIMES = frozenset(
    ("date", "day", "time", "timestamp", "ts", "at", "created", "updated", "날짜", "일자", "일시", "시각")
)
_SAMPLE = 1000
_ENOUGH = 50  # values, of those in the sample, to tell a column's kind by
_SHORT = 50  # characters: longer ones are neither numbers nor days, and not worth keeping in a cache
_LARGEST = Decimal(10) ** 100  # beyond it is no figure that anyone keeps
#: Numbers that name something: adding them up says nothing.
_RATIOS = frozenset(("percent", "percentage", "pct", "ratio", "rate", "utilization", "avg", "average", "평균", "비율"))
_IDENTITIES = frozenset(("id", "uuid", "no", "번호"))
_LABELS = _IDENTITIES | frozenset(("code", "zip", "year", "month", "코드", "연도", "년도", "월"))


class Kind(Enum):
    NUMBER = "number"
    DAY = "day"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind

    @property
    def identifies(self) -> bool:
        """Whether, by its name, it tells rows apart rather than kinds of rows."""
        return not _IDENTITIES.isdisjoint(words.words(self.name))

    @property
    def is_ratio(self) -> bool:
        """Whether, by its name, it holds shares of something, whose sum says nothing."""
        return not _RATIOS.isdisjoint(words.words(self.name)) or self.name.endswith(("%", "율", "률"))


def number(value: object) -> Decimal | None:
    """`1200`, `"1,200.50"`, `"$12"`, `"(300)"` (negative, as accountants write it); None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _bounded(Decimal(repr(value))) if math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > _SHORT:
        return None
    found = _NUMBER.fullmatch(value.strip().casefold())
    if found is None or bool(found["open"]) != bool(found["close"]) or (found["sign"] and found["inner"]):
        return None
    digits = Decimal(found["digits"].replace(",", ""))
    return -digits if found["open"] or "-" in (found["sign"], found["inner"]) else digits


def day(value: object) -> date | None:
    """`2025-10-01`, `2025년 10월 1일`, `Oct 1, 2025`, `13/10/2025`, `20251001`, with or without a time; a month alone
    is its first day. A number is seconds or milliseconds since 1970, in UTC. None for what two calendars would read
    differently."""
    if isinstance(value, str):
        return _written(value) if len(value) <= _SHORT else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1000 * _EPOCH[1]:
        return None
    seconds = value if abs(value) < _EPOCH[1] else value / 1000
    return datetime.fromtimestamp(seconds, UTC).date() if _EPOCH[0] <= seconds < _EPOCH[1] else None


@lru_cache(maxsize=8192)
def _written(text: str) -> date | None:
    text = text.strip()
    for pattern, (year, month, day_) in _DAYS:
        found = pattern.fullmatch(text)
        if found is not None:
            named = found[month]
            number_of_month = int(named) if named.isdigit() else _MONTHS.get(named[:3].lower(), 0)
            try:
                return date(int(found[year]), number_of_month, int(found[day_] or 1))
            except ValueError:
                return None
    return None


def label(value: object) -> str | None:
    """A category's name; None for what is missing or no single value."""
    if isinstance(value, str):
        return _short_label(value) if len(value) <= _SHORT else value.strip()[:MAX_LABEL] or None
    if is_missing(value) or isinstance(value, Mapping | list):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)[:MAX_LABEL]


@lru_cache(maxsize=8192)
def _short_label(text: str) -> str | None:
    text = text.strip()
    return None if text.casefold() in _MISSING else text


def is_missing(value: object) -> bool:
    if isinstance(value, str):
        return label(value) is None
    return value is None or (isinstance(value, float) and math.isnan(value))


def columns(rows: Sequence[Row]) -> list[Column]:
    """In the order of their first appearance. A column of mixed kinds is what four fifths of its values are, or of a
    thousand rows' spread over all."""
    names: dict[str, None] = {}
    for row in rows:
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
        if len(names) > MAX_COLUMNS:
            break
    spread = rows[:: max(1, len(rows) // _SAMPLE)]
    found = []
    for name in list(names)[:MAX_COLUMNS]:
        sample = _present(name, spread)
        if len(sample) < _ENOUGH:
            sample = _present(name, rows)
        kind = _kind(name, sample) if sample else None
        if kind is not None:
            found.append(Column(name, kind))
    return found


def _present(name: str, rows: Sequence[Row]) -> list[object]:
    return [value for row in rows if not is_missing(value := row.get(name))]


def _kind(name: str, values: Sequence[object]) -> Kind | None:
    enough = 0.8 * len(values)
    said = words.words(name)
    times = not _TIMES.isdisjoint(said)
    if sum((times or not _is_bare(value)) and day(value) is not None for value in values) >= enough:
        return Kind.DAY
    if _LABELS.isdisjoint(said) and sum(number(value) is not None for value in values) >= enough:
        return Kind.NUMBER
    return Kind.CATEGORY if sum(label(value) is not None for value in values) >= enough else None


def _is_bare(value: object) -> bool:
    return not isinstance(value, str) or value.strip().isdigit()


def _bounded(value: Decimal) -> Decimal | None:
    return value if abs(value) < _LARGEST else None
