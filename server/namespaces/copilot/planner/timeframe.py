"""Which days a query asks for: one period, two that it compares, or one that it leaves open. It reads no rows."""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum

from server.namespaces.copilot.planner import periods
from server.namespaces.copilot.planner.periods import Period


@dataclass(frozen=True, slots=True)
class Timeframe:
    """`previous` is what `current` is compared with. `missing`: the query needs a period, and names none that a
    calendar has. `changes`: its figures are to be ranked by how much they changed."""

    current: Period | None = None
    previous: Period | None = None
    missing: bool = False
    changes: bool = False
    falling: bool = False  # the largest fall first

    @property
    def span(self) -> Period | None:
        """All days that are needed."""
        if self.current is None or self.previous is None:
            return self.current
        return Period(min(self.current.first, self.previous.first), max(self.current.last, self.previous.last))


class _Unit(Enum):
    """Months, or days where a calendar's months do not matter."""

    DAY = (0, 1)
    WEEK = (0, 7)
    MONTH = (1, 0)
    QUARTER = (3, 0)
    YEAR = (12, 0)


_CHANGE = re.compile(
    r"증감|변화|변동|늘었|늘어|줄었|줄어|증가|감소|올랐|올라|오른|내렸|내려|떨어졌|떨어진|"
    r"\bchang(?:e|es|ed|ing)\b|\bincreas|\bdecreas|\bgrow|\bgrew\b|\bdeclin|\bdropp?(?:ed|s)?\b|\bfell\b|\brose\b"
)
_FALL = re.compile(
    r"감소|줄었|줄어|줄인|내렸|내려|떨어졌|떨어진|\bdecreas|\bdeclin|\bdropp?(?:ed|s)?\b|\bfell\b|\bshr[iau]nk"
)
_MEASURED = r"\s*(?:에\s*)?(?:대비|보다|비해|비하)"
_AGAINST = r"\b(?:compared?\s+(?:to|with)|than|versus|vs\.?|against)\s+(?:the\s+)?(?:last|previous|prior)\s+"
_BASES = tuple(
    (unit, re.compile(pattern))
    for unit, pattern in (
        (
            _Unit.YEAR,
            rf"전년\s*동[월기]?{_MEASURED}|(?:전년|작년|지난\s*해){_MEASURED}|{_AGAINST}year\b|\byear[\s-]o(?:ve|n)r?[\s-]year\b|\byoy\b",
        ),
        (
            _Unit.QUARTER,
            rf"(?:전|지난|저번)\s*분기{_MEASURED}|{_AGAINST}quarter\b|\bquarter[\s-]over[\s-]quarter\b|\bqoq\b",
        ),
        (
            _Unit.MONTH,
            rf"(?:전월|전달|지난\s*달|저번\s*달){_MEASURED}|{_AGAINST}month\b|\bmonth[\s-]over[\s-]month\b|\bmom\b",
        ),
        (
            _Unit.WEEK,
            rf"(?:전주|지난\s*주|저번\s*주){_MEASURED}|{_AGAINST}week\b|\bweek[\s-]over[\s-]week\b|\bwow\b",
        ),
        (
            _Unit.DAY,
            rf"(?:전일|어제){_MEASURED}|\b(?:than|versus|vs\.?|against)\s+yesterday\b|\bday[\s-]over[\s-]day\b",
        ),
    )
)
#: Says that days are meant, not which: also an impossible date.
_OPEN = re.compile(
    r"(?:특정|일정|해당|그|원하는)\s*(?:기간|날짜)|기간\s*동안|\b(?:a|the|that|certain|given|specific|some)\s+"
    r"(?:date\s+range|period|time\s*frame)\b|(?<!\d)\d{4}-\d{1,2}(?:-\d{1,2})?(?!\d)|(?<!\d)\d{1,2}월(?!별|간)"
)
_ALL = re.compile(r"\b(?:all|everything|whole|entire|any)\b|전체|전부|모두|모든")
_SERIES = re.compile(
    r"(?:일|주|월|분기|연도|년도|연|년)\s*별|월간|\b(?:daily|weekly|monthly|yearly|annual)\b|추이|\btrend"
)


_NAME = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = re.compile(r"(?<![\d.])(20\d\d)(?!\d|[-./]\d)(?:\s*년(?!도?\s*별))?")
_DATED = re.compile(
    rf"(?P<whole>20\d\d\s*년\s*\d{{1,2}}\s*월|\b{_NAME}\s+(?:\d{{1,2}},?\s+)?20\d\d|\b20\d\d\s+{_NAME}(?![a-z]))"
    rf"|(?P<korean>(?<![\d.])\d{{1,2}}\s*월(?!별|간|요일))|(?P<english>\b(?!may){_NAME}(?![a-z]))"
)
_THROUGH = re.compile(r"부터|까지|~|\b(?:to|until|till|through|since|from)\b")


def _dated(text: str) -> str:
    """With the one year that is said at each month that has none; not in ranges, which may go on into the next."""
    years, found = set(_YEAR.findall(text)), list(_DATED.finditer(text))
    if len(years) != 1 or _THROUGH.search(text) or all(each["whole"] for each in found):
        return text
    [year] = years
    parts: list[str] = []
    end = 0
    for each in found:
        parts.append(_YEAR.sub(" ", text[end : each.start()]))  # one that stands alone is said at the months now
        month = each[0]
        parts.append(month if each["whole"] else f"{year}년 {month}" if each["korean"] else f"{month} {year}")
        end = each.end()
    return "".join([*parts, _YEAR.sub(" ", text[end:])])


def read(query: str, today: date) -> Timeframe:
    text = _dated(unicodedata.normalize("NFKC", query).casefold())
    series = _SERIES.search(text) is not None
    changes = _CHANGE.search(text) is not None and not series
    falling = _FALL.search(text) is not None
    for unit, pattern in _BASES:
        found = pattern.search(text)
        if found is not None:
            rest = periods.every(f"{text[: found.start()]} , {text[found.end() :]}", today)
            current = rest[0] if rest else _running(unit, today)
            return Timeframe(current, _before(current, unit), changes=changes, falling=falling)
    ends = periods.every(text, today, ranges=False) if changes else []
    whole = len(ends) == 2 and all(period.first < period.last for period in ends)
    named = ends if whole else periods.every(text, today)  # from September to October; not from the 1st to the 15th
    if len(named) == 2 and not series:
        earlier, later = sorted(named, key=lambda period: period.first)
        return Timeframe(later, earlier, changes=changes, falling=falling)
    period = periods.named(text, today)
    missing = period is None and (changes or _OPEN.search(text) is not None)
    previous = _preceding(period) if period is not None and changes else None
    return Timeframe(period, previous, missing, changes, falling)


def answered(said: str, today: date, asked: Timeframe) -> Timeframe | None:
    """What a person's answer makes of a timeframe with its period missing; None where it names none either. All days
    will do where nothing is compared."""
    found = read(said, today)
    if not asked.changes and _ALL.search(said.casefold()):
        return Timeframe()
    if found.current is None:
        return None
    previous = found.previous or (_preceding(found.current) if asked.changes else None)
    return Timeframe(found.current, previous, changes=asked.changes, falling=asked.falling)


def _running(unit: _Unit, today: date) -> Period:
    """The day, week, month … that today belongs to."""
    if unit is _Unit.DAY:
        return Period(today, today)
    if unit is _Unit.WEEK:
        monday = today - timedelta(days=today.weekday())
        return Period(monday, monday + timedelta(days=6))
    months = unit.value[0]
    first = today.replace(month=(today.month - 1) // months * months + 1, day=1)
    return Period(first, _end_of_month(_shifted(first, months - 1) or first))


def _before(period: Period, unit: _Unit) -> Period | None:
    """The same stretch a unit earlier; a whole month becomes a whole month."""
    months, days = unit.value
    try:
        if not months:
            return Period(period.first - timedelta(days=days), period.last - timedelta(days=days))
    except OverflowError:
        return None
    first, last = _shifted(period.first, -months), _shifted(period.last, -months)
    if first is None or last is None:
        return None
    return Period(first, _end_of_month(last) if period.last == _end_of_month(period.last) else last)


def _preceding(period: Period) -> Period | None:
    """The stretch of the same length that ends the day before."""
    whole = period.first.day == 1 and period.last == _end_of_month(period.last)
    try:
        last = period.first - timedelta(days=1)
        if not whole:
            return Period(last - (period.last - period.first), last)
    except OverflowError:
        return None
    months = (period.last.year - period.first.year) * 12 + period.last.month - period.first.month + 1
    first = _shifted(period.first, -months)
    return None if first is None else Period(first, last)


def _shifted(day: date, months: int) -> date | None:
    """None for what no calendar has; the 31st becomes the last day of a shorter month."""
    month = day.year * 12 + day.month - 1 + months
    if not date.min.year * 12 <= month < (date.max.year + 1) * 12:
        return None
    first = date(month // 12, month % 12 + 1, 1)
    return first.replace(day=min(day.day, _end_of_month(first).day))


def _end_of_month(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])
