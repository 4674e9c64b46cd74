"""What a query wants of a table: an operation, how many, in which order, by what. It reads words, never rows."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from server.namespaces.copilot.planner import words

DEFAULT_TOP = 5
MAX_TOP = 100


class Operation(Enum):
    SUM = "sum"
    AVERAGE = "average"
    COUNT = "count"
    HIGHEST = "max"
    LOWEST = "min"


class Bucket(Enum):
    """Days taken together; the value is the length of an ISO date that tells buckets apart."""

    DAY = 10
    MONTH = 7
    YEAR = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """`top` is how many were asked for, None where the query does not rank. `by` are the words after "by" and
    before "별": what to group by, unless they name a figure ("by cost"). `per`: the average is that of the sums of
    each day, month or year."""

    operation: Operation
    top: int | None
    ascending: bool
    bucket: Bucket | None
    by: tuple[str, ...]
    per: Bucket | None = None


_COUNT = re.compile(r"\bhow many\b|\bcount\b|\bnumber of\b|몇\s*(?:개|건|명|번|행|대|곳|가지)|개수|건수|횟수")
_AVERAGE = re.compile(r"\baverage\b|\bavg\b|\bmean\b|평균")
_LOWEST = re.compile(
    r"\b(?:bottom|lowest|least|smallest|cheapest|fewest|minimum|min)\b|하위|최소|최저|(?:가장|제일)\s*(?:낮|적|작|싼|저렴)"
)
_HIGHEST = re.compile(r"\b(?:highest|most|largest|biggest|greatest|maximum|max)\b|최대|최고|가장|제일")
_TOP = re.compile(r"\b(?:top|bottom)\b|상위|하위|순위|\branking\b")
_RANKING = r"(?:top|bottom|상위|하위|highest|lowest|largest|smallest|biggest|cheapest|most|least)"
_HOW_MANY = (
    re.compile(rf"{_RANKING}\s*(\d{{1,3}}|[a-z]{{1,5}})(?![\d])"),
    re.compile(rf"\b(\d{{1,3}}|[a-z]{{1,5}})\s+(?:most|{_RANKING})\b"),
    re.compile(r"(?<![\d.,])(\d{1,3})\s*(?:개|가지|곳|위|명|건)(?!월)"),
)
_NUMERALS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_MEAN = r"\b(?:average|avg|mean)\b"
_BUCKETS = (
    (
        Bucket.YEAR,
        re.compile(r"(?:연도|년도|연|년)\s*별|\b(?:by|per|each|every)\s+year\b|\b(?:yearly|annual(?:ly)?)\b"),
    ),
    (
        Bucket.MONTH,
        re.compile(
            r"월\s*별|월간|(?:어느|무슨)\s*달|몇\s*월|[은는던한싼큰]\s*달|\b(?:by|per|each|every|which|what)\s+month\b|"
            r"\bmonthly\b"
        ),
    ),
    (
        Bucket.DAY,
        re.compile(
            r"(?:일자|날짜|일)\s*별|(?:어느|무슨)\s*날|며칠|언제|[은는던한싼큰]\s*날|"
            r"\b(?:by|per|each|every|which|what)\s+(?:day|date)\b|\bdaily\b|\bwhen\b"
        ),
    ),
)
_PER = tuple(
    (
        bucket,
        re.compile(
            rf"(?:^|\s)(?:{korean})\s*평균|{_MEAN}\s+{every}\b|\b{every}\s+{_MEAN}|{_MEAN}.{{0,60}}\b(?:per|a|each)\s+{one}\b"
        ),
    )
    for bucket, korean, every, one in (
        (Bucket.DAY, r"하루|일|일일", "daily", "day"),
        (Bucket.MONTH, r"한\s*달|월|월간", "monthly", "month"),
        (Bucket.YEAR, r"연|연간", r"(?:yearly|annual)", "year"),
    )
)
_BY = re.compile(
    r"\b(?:by|per|each|every)\s+([^\W\d]{1,40})(?:\s+and\s+([^\W\d]{1,40}))?|([가-힣]{1,20}|[^\W\d_가-힣]{1,20})\s?별"
)


def read(query: str) -> Wish:
    text = unicodedata.normalize("NFKC", query).casefold()
    ascending = _LOWEST.search(text) is not None
    superlative = ascending or _HIGHEST.search(text) is not None
    ranks = superlative or _TOP.search(text) is not None
    top = _how_many(text) if ranks else None
    if ranks and top is None:
        top = DEFAULT_TOP if _TOP.search(text) else 1
    per = next((bucket for bucket, pattern in _PER if pattern.search(text)), None)
    return Wish(
        _operation(text, superlative=superlative, ascending=ascending),
        top,
        ascending,
        None if per else next((bucket for bucket, pattern in _BUCKETS if pattern.search(text)), None),
        _by(text),
        per,
    )


def _operation(text: str, *, superlative: bool, ascending: bool) -> Operation:
    if _AVERAGE.search(text):
        return Operation.AVERAGE
    if _COUNT.search(text):
        return Operation.COUNT
    if superlative and not _TOP.search(text):
        return Operation.LOWEST if ascending else Operation.HIGHEST
    return Operation.SUM


def _how_many(text: str) -> int | None:
    for pattern in _HOW_MANY:
        for found in pattern.finditer(text):
            count = int(found[1]) if found[1].isdigit() else _NUMERALS.get(found[1], 0)
            if count > 0:
                return min(count, MAX_TOP)
    return None


def _by(text: str) -> tuple[str, ...]:
    return tuple(words.stem(word) for found in _BY.finditer(text) for word in found.groups() if word)
