"""The stretch of days that a query names, in Korean or English, given today's date; nothing here knows rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAME = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)


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
    """None when the query names none, or one that no calendar has."""
    text = unicodedata.normalize("NFKC", query).casefold()
    for pattern, period in _RULES:
        found = pattern.search(text)
        if found is not None:
            try:
                return period(found, today)
            except (ValueError, OverflowError):
                return None
    return None


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
    month = _MONTHS.index(found[1][:3]) + 1
    return _month(int(found[2]), month) if found[2] else _newest(month, today)


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


def _span(found: re.Match[str], today: date) -> Period:
    first = date(int(found[1]), int(found[2]), int(found[3]))
    last = date(int(found[4]), int(found[5]), int(found[6]))
    return Period(min(first, last), max(first, last))


_DATE = r"(?<!\d)(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?!\d)"

#: The first that is found decides, so the more exact stand first.
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], Period]], ...] = tuple(
    (re.compile(pattern), period)
    for pattern, period in (
        (rf"{_DATE}\s*(?:~|-|–|to|until|부터|에서)\s*{_DATE}", _span),
        (_DATE, _day),
        (r"(\d{4})\s*년\s*(\d{1,2})\s*월\s*(\d{1,2})\s*일", _day),
        (r"(\d{4})\s*년\s*(\d{1,2})\s*월", lambda found, today: _month(int(found[1]), int(found[2]))),
        (r"(?<!\d)(\d{4})[-./](\d{1,2})(?!\d)", lambda found, today: _month(int(found[1]), int(found[2]))),
        (r"지난\s*달|저번\s*달|전월|last month|previous month", lambda found, today: _month_before(today)),
        (r"이번\s*달|이달|당월|this month|current month", lambda found, today: _month(today.year, today.month)),
        (r"지난\s*주|저번\s*주|전주|last week|previous week", lambda found, today: _week(today, 1)),
        (r"이번\s*주|금주|this week|current week", lambda found, today: _week(today, 0)),
        (r"작년|지난\s*해|전년|last year|previous year", lambda found, today: _year(today.year - 1)),
        (r"올해|금년|이번\s*해|this year|current year", lambda found, today: _year(today.year)),
        (r"(?:최근|지난)\s*(\d{1,4})\s*일|(?:last|past)\s*(\d{1,4})\s*days?\b", _days),
        (r"(?:최근|지난)\s*(\d{1,3})\s*주|(?:last|past)\s*(\d{1,3})\s*weeks?\b", _weeks),
        (r"(?:최근|지난)\s*(\d{1,3})\s*개월|(?:last|past)\s*(\d{1,3})\s*months?\b", _months),
        (r"지난\s*분기|전\s*분기|last quarter|previous quarter", lambda found, today: _quarter_before(today)),
        (
            r"이번\s*분기|this quarter|current quarter",
            lambda found, today: _quarter(today.year, (today.month + 2) // 3),
        ),
        (r"(\d{4})\s*년\s*([1-4])\s*분기", lambda found, today: _quarter(int(found[1]), int(found[2]))),
        (r"(?<!\d)([1-4])\s*분기", lambda found, today: _newest_quarter(int(found[1]), today)),
        (r"\bq([1-4])\b[\s,]*(\d{4})?", _named_quarter),
        (r"어제|\byesterday\b", lambda found, today: Period(today - timedelta(days=1), today - timedelta(days=1))),
        (r"오늘|\btoday\b", lambda found, today: Period(today, today)),
        (rf"\b(?:in|for|of|during|since)\s+{_MONTH_NAME}\b\.?,?\s*(\d{{4}})?", _named_month),
        (rf"\b{_MONTH_NAME}\.?,?\s+(\d{{4}})(?!\d)", _named_month),
        (rf"\b(?!may\b|sep\b|mar\b|dec\b|jan\b){_MONTH_NAME}\b()", _named_month),
        (r"(\d{4})\s*년", lambda found, today: _year(int(found[1]))),
        (r"(?<!\d)(1[0-2]|0?[1-9])\s*월(?!별|간|요)", lambda found, today: _newest(int(found[1]), today)),
        (r"\b(?:in|for|of|during)\s+((?:19|20)\d{2})\b", lambda found, today: _year(int(found[1]))),
    )
)
