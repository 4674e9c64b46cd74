"""The stretch of days that a query names, in Korean or English, given today's date; nothing here knows rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAME = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)


_SINCE = re.compile(r"\bsince\s+(?:the\s+)?$")
_ONWARDS = re.compile(r"\s*(?:이후|이래|부터)")
_TO = re.compile(r"\s*(?:~|-|–|부터|에서|(?:up\s+)?to|until|till|through)\s*(?:the\s+)?")
_AND = re.compile(r"\s*(?:and|와|과)\s*")
_BETWEEN = re.compile(r"\bbetween\b")


@dataclass(frozen=True, slots=True)
class Period:
    """Both days belong to it."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def to_wire(self) -> dict[str, str]:
        return {"from": self.first.isoformat(), "to": self.last.isoformat()}


def named(query: str, today: date) -> Period | None:
    """All that is meant, where the query names several as ends of one. None for none, or none that a calendar has."""
    found = every(query, today)
    if len(found) < 2:
        return found[0] if found else None
    return Period(min(each.first for each in found), max(each.last for each in found))


def every(query: str, today: date, *, ranges: bool = True) -> list[Period]:
    """In the order of the text, each once: `9월부터 11월까지` is one period, unless its ends are wanted rather than
    `ranges`; `9월과 10월` are two. Of one within another the narrower is meant; `since March` lasts until today."""
    text = unicodedata.normalize("NFKC", query).casefold()
    periods: list[Period] = []
    opened: Period | None = None  # the one before, as it was named
    before = 0
    for at, end, period in _places(text, today):
        if opened is not None and _is_range(text, before, at):
            periods.pop()
            if ranges:
                period = Period(min(opened.first, period.first), max(opened.last, period.last))
            else:
                periods.append(opened)
        opened, before = period, end
        if _SINCE.search(text[:at]) or _ONWARDS.match(text, end):
            period = Period(period.first, max(period.last, today))
        periods.append(period)
    distinct = list(dict.fromkeys(periods))
    return [each for each in distinct if not any(_is_within(other, each) for other in distinct)]


def _places(text: str, today: date) -> list[tuple[int, int, Period]]:
    """Where in the text each period stands. An impossible date is none, and no part of it is another."""
    taken: list[tuple[int, int]] = []
    places: list[tuple[int, int, Period]] = []
    for pattern, period in _RULES:
        for found in pattern.finditer(text):
            at, end = found.span()
            if any(at < other_end and start < end for start, other_end in taken):
                continue
            taken.append((at, end))
            try:
                places.append((at, end, period(found, today)))
            except (ValueError, OverflowError):
                continue
    return sorted(places, key=lambda place: place[0])


def _is_range(text: str, start: int, end: int) -> bool:
    between = text[start:end]
    return _TO.fullmatch(between) is not None or (
        _AND.fullmatch(between) is not None and _BETWEEN.search(text[:start]) is not None
    )


def _is_within(inner: Period, outer: Period) -> bool:
    return inner != outer and inner.first in outer and inner.last in outer


def _month(year: int, month: int) -> Period:
    first = date(year, month, 1)
    following = date(year + month // 12, month % 12 + 1, 1)
    return Period(first, following - timedelta(days=1))


def _year(year: int) -> Period:
    return Period(date(year, 1, 1), date(year, 12, 31))


def _quarter(year: int, quarter: int) -> Period:
    return Period(_month(year, 3 * quarter - 2).first, _month(year, 3 * quarter).last)


def _newest_quarter(quarter: int, today: date) -> Period:
    return _quarter(today.year if 3 * quarter - 2 <= today.month else today.year - 1, quarter)


def _quarter_before(today: date) -> Period:
    quarter = (today.month - 1) // 3
    return _quarter(today.year, quarter) if quarter else _quarter(today.year - 1, 4)


def _named_quarter(found: re.Match[str], today: date) -> Period:
    return _quarter(int(found[2]), int(found[1])) if found[2] else _newest_quarter(int(found[1]), today)


def _newest(month: int, today: date) -> Period:
    """A month without a year is the last one of that name that has begun."""
    return _month(today.year if month <= today.month else today.year - 1, month)


def _month_before(today: date) -> Period:
    last = today.replace(day=1) - timedelta(days=1)
    return _month(last.year, last.month)


def _week(today: date, weeks_ago: int) -> Period:
    monday = today - timedelta(days=today.weekday() + 7 * weeks_ago)
    return Period(monday, monday + timedelta(days=6))


def _named_month(found: re.Match[str], today: date) -> Period:
    month = MONTHS.index(found[1][:3]) + 1
    return _month(int(found[2]), month) if found[2] else _newest(month, today)


def _month_of_year(found: re.Match[str], today: date) -> Period:
    return _month(today.year - (found[2] == "last"), MONTHS.index(found[1][:3]) + 1)


def _days(found: re.Match[str], today: date) -> Period:
    return Period(today - timedelta(days=int(found[1] or found[2]) - 1), today)


def _months(found: re.Match[str], today: date) -> Period:
    """The last three months, on 15 May, began on 16 February."""
    before = today.year * 12 + today.month - 1 - int(found[1] or found[2])
    month = _month(before // 12, before % 12 + 1)
    same_day = month.first + timedelta(days=today.day - 1)
    return Period(min(same_day, month.last) + timedelta(days=1), today)


def _weeks(found: re.Match[str], today: date) -> Period:
    return Period(today - timedelta(days=7 * int(found[1] or found[2]) - 1), today)


def _day(found: re.Match[str], today: date) -> Period:
    day = date(int(found[1]), int(found[2]), int(found[3]))
    return Period(day, day)


def _newest_day(found: re.Match[str], today: date) -> Period:
    """A day without a year is the last one that has begun."""
    day = date(today.year, int(found[1]), int(found[2]))
    day = day if day <= today else day.replace(year=day.year - 1)
    return Period(day, day)


#: What tells the month of May and the year 2024 from a verb and a number; outside the match, as ranges need it.
_BEFORE_NAME = r"(?:(?<=\bin )|(?<=\bfor )|(?<=\bof )|(?<=\bduring )|(?<=\bsince )|(?<=\bfrom )|(?<=\bto ))"
_DATE = r"(?<!\d)(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?!\d)"

#: The first that is found decides, so the more exact stand first.
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], Period]], ...] = tuple(
    (re.compile(pattern), period)
    for pattern, period in (
        (_DATE, _day),
        (r"(\d{4})\s*년\s*(\d{1,2})\s*월\s*(\d{1,2})\s*일", _day),
        (r"(\d{4})\s*년\s*(\d{1,2})\s*월", lambda found, today: _month(int(found[1]), int(found[2]))),
        (r"(?<!\d)(\d{4})[-./](\d{1,2})(?!\d)", lambda found, today: _month(int(found[1]), int(found[2]))),
        (r"(?<!\d)(\d{1,2})\s*월\s*(\d{1,2})\s*일", _newest_day),
        (
            r"(?:작년|지난\s*해|전년)\s*(\d{1,2})\s*월(?!별|간)",
            lambda found, today: _month(today.year - 1, int(found[1])),
        ),
        (r"(?:올해|금년)\s*(\d{1,2})\s*월(?!별|간)", lambda found, today: _month(today.year, int(found[1]))),
        (rf"\b{_MONTH_NAME}\s+(last|this)\s+year\b", _month_of_year),
        (r"지난\s*달|저번\s*달|전월|last month|previous month", lambda found, today: _month_before(today)),
        (r"이번\s*달|이달|당월|this month|current month", lambda found, today: _month(today.year, today.month)),
        (r"지난\s*주|저번\s*주|전주|last week|previous week", lambda found, today: _week(today, 1)),
        (r"이번\s*주|금주|this week|current week", lambda found, today: _week(today, 0)),
        (r"작년|지난\s*해|전년|last year|previous year", lambda found, today: _year(today.year - 1)),
        (r"올해|금년|이번\s*해|this year|current year", lambda found, today: _year(today.year)),
        (r"(?:최근|지난)\s*(\d{1,4})\s*일|(?:last|past)\s*(\d{1,4})\s*days?\b", _days),
        (r"(?:최근|지난)\s*(\d{1,3})\s*주|(?:last|past)\s*(\d{1,3})\s*weeks?\b", _weeks),
        (r"(?:최근|지난)\s*(\d{1,3})\s*개월|(?:last|past)\s*(\d{1,3})\s*months?\b", _months),
        (
            r"(?:지난|저번|전)\s*분기|last quarter|previous quarter",
            lambda found, today: _quarter_before(today),
        ),
        (
            r"이번\s*분기|this quarter|current quarter",
            lambda found, today: _quarter(today.year, (today.month + 2) // 3),
        ),
        (r"(\d{4})\s*년\s*([1-4])\s*분기", lambda found, today: _quarter(int(found[1]), int(found[2]))),
        (r"(?<!\d)([1-4])\s*분기", lambda found, today: _newest_quarter(int(found[1]), today)),
        (r"\bq([1-4])\b[\s,]*(\d{4})?", _named_quarter),
        (r"어제|\byesterday\b", lambda found, today: Period(today - timedelta(days=1), today - timedelta(days=1))),
        (r"오늘|\btoday\b", lambda found, today: Period(today, today)),
        (rf"\b(?:in|for|of|during)\s+{_MONTH_NAME}\b\.?,?\s*(\d{{4}})?", _named_month),
        (rf"\b{_MONTH_NAME}\.?,?\s+(\d{{4}})(?!\d)", _named_month),
        (rf"{_BEFORE_NAME}{_MONTH_NAME}\b()", _named_month),
        (rf"\b(?!may\b|sep\b|mar\b|dec\b|jan\b){_MONTH_NAME}\b()", _named_month),
        (r"(\d{4})\s*년", lambda found, today: _year(int(found[1]))),
        (r"(?<!\d)(1[0-2]|0?[1-9])\s*월(?!별|간|요)", lambda found, today: _newest(int(found[1]), today)),
        (rf"{_BEFORE_NAME}((?:19|20)\d{{2}})\b", lambda found, today: _year(int(found[1]))),
        # Neither a round number nor an amount: "orders over 2000", "2025 USD".
        (
            r"(?<![\d.,/\-$₩])(20(?:0[1-9]|[1-4]\d))(?![\d.,/\-%]|\s*(?:개|건|원|대|명|usd|krw|rows?\b))",
            lambda found, today: _year(int(found[1])),
        ),
    )
)
