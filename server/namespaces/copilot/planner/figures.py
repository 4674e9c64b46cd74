"""Figures computed from rows for a query: which column, which rows, which groups. How they are said is `phrases`.

Nothing is estimated: a figure is exact decimal arithmetic over the rows, and what had to be left out is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, localcontext

from server.namespaces.copilot.planner import periods, table, wish, words
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.table import Column, Kind, Row
from server.namespaces.copilot.planner.wish import Bucket, Operation, Wish

MAX_FIGURES = 100
UNRANKED_GROUPS = 20  # as many groups as an answer lists when the query names no number
MAX_MEASURES = 5
MAX_VALUES = 1000  # distinct values of a column that a query may name


@dataclass(frozen=True, slots=True)
class Figure:
    label: str | None  # None: the rows that have no value to group by
    value: Decimal


@dataclass(frozen=True, slots=True)
class Figures:
    """`rows` were computed with, after period and filters; `skipped` of them hold no usable number.

    `period` is what the query named; `period_applied` says whether it could be: `span` are the days there are.
    """

    operation: Operation
    measure: str | None
    group_by: str | None
    ascending: bool
    top: int | None
    figures: list[Figure]
    groups: int
    overall: Decimal | None
    rows: int
    skipped: int
    period: Period | None = None
    period_applied: bool = False
    span: Period | None = None
    filters: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Grouping:
    name: str
    key: Callable[[Row], str | None]
    chronological: bool = False


def compute(query: str, rows: Sequence[Row], today: date) -> Figures:
    """`rows` holds at least one row."""
    columns = table.columns(rows)
    wanted = wish.read(query)
    telling = words.telling(query)
    period = periods.named(query, today)
    days = _best(_of(columns, Kind.DAY), telling) or next(iter(_of(columns, Kind.DAY)), None)
    used, applied, span = _within(rows, period, days)
    used, filters = _filtered(query, used, columns)

    measures = _measures(_of(columns, Kind.NUMBER), telling, wanted)
    grouping = _grouping(columns, telling, wanted, days, filters)
    operation = wanted.operation
    if operation is Operation.COUNT and any(_matches(column, telling) for column in measures) and grouping is None:
        operation = Operation.SUM  # "how many orders" where orders are a figure
    if grouping is not None and operation in (Operation.HIGHEST, Operation.LOWEST):
        operation = Operation.SUM  # the most expensive service is not the one with the dearest row
    if not measures:
        operation = Operation.COUNT
    found = _Found(operation, measures, grouping, wanted)
    return found.over(used, period=period, period_applied=applied, span=span, filters=filters)


@dataclass(frozen=True, slots=True)
class _Found:
    operation: Operation
    measures: list[Column]
    grouping: _Grouping | None
    wish: Wish

    def over(
        self,
        rows: Sequence[Row],
        *,
        period: Period | None,
        period_applied: bool,
        span: Period | None,
        filters: dict[str, list[str]],
    ) -> Figures:
        counts = self.operation is Operation.COUNT
        measure = None if counts or not self.measures else self.measures[0].name
        values = [Decimal(1) if measure is None else table.number(row.get(measure)) for row in rows]
        usable = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
        figures, groups = self._figures(rows, usable, measure)
        return Figures(
            self.operation,
            measure,
            self.grouping.name if self.grouping else None,
            self.wish.ascending,
            self.wish.top,
            figures,
            groups,
            _total(self.operation, [value for _, value in usable]),
            len(rows),
            len(rows) - len(usable),
            period,
            period_applied,
            span,
            filters,
        )

    def _figures(
        self, rows: Sequence[Row], usable: list[tuple[Row, Decimal]], measure: str | None
    ) -> tuple[list[Figure], int]:
        if self.grouping is not None:
            return self._by_group(usable, self.grouping)
        if measure is None or len(self.measures) == 1:
            value = _total(self.operation, [value for _, value in usable])
            return ([] if value is None else [Figure(measure, value)]), 1
        # The query names no figure among several: each is given, none is guessed.
        each = ((name, _numbers(rows, name)) for name in (column.name for column in self.measures[:MAX_MEASURES]))
        totals = [(name, _total(self.operation, numbers)) for name, numbers in each]
        return [Figure(name, value) for name, value in totals if value is not None], 1

    def _by_group(self, usable: list[tuple[Row, Decimal]], grouping: _Grouping) -> tuple[list[Figure], int]:
        members: dict[str | None, list[Decimal]] = {}
        for row, value in usable:
            members.setdefault(grouping.key(row), []).append(value)
        figures = [
            Figure(label, total)
            for label, values in members.items()
            if (total := _total(self.operation, values)) is not None
        ]
        if grouping.chronological and self.wish.top is None:
            figures.sort(key=lambda figure: (figure.label is None, figure.label or ""))
            return figures[-MAX_FIGURES:], len(figures)
        figures.sort(key=lambda figure: figure.label or "")
        figures.sort(key=lambda figure: figure.value, reverse=not self.wish.ascending)
        return figures[: self.wish.top or UNRANKED_GROUPS], len(figures)


def _total(operation: Operation, values: Sequence[Decimal]) -> Decimal | None:
    """None for no values, but their count is 0."""
    if operation is Operation.COUNT:
        return Decimal(len(values))
    if not values:
        return None
    with localcontext(prec=120):  # sums stay exact
        if operation is Operation.AVERAGE:
            return sum(values, Decimal(0)) / len(values)
        if operation is Operation.HIGHEST:
            return max(values)
        return min(values) if operation is Operation.LOWEST else sum(values, Decimal(0))


def _numbers(rows: Sequence[Row], name: str) -> list[Decimal]:
    return [value for row in rows if (value := table.number(row.get(name))) is not None]


def _within(
    rows: Sequence[Row], period: Period | None, days: Column | None
) -> tuple[Sequence[Row], bool, Period | None]:
    """The rows of the period; all of them where none is in it or nothing tells: the answer then says so."""
    if period is None or days is None:
        return rows, False, None
    dated = [(row, day) for row in rows if (day := table.day(row.get(days.name))) is not None]
    inside = [row for row, day in dated if day in period]
    if inside:
        return inside, True, None
    return rows, False, Period(min(day for _, day in dated), max(day for _, day in dated))


def _filtered(query: str, rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Sequence[Row], dict[str, list[str]]]:
    """The rows with the values that the query names, such as a region; all of them where it names none."""
    said = words.words(query)
    spoken_for = words.traits(column.name for column in columns)
    filters: dict[str, list[str]] = {}
    for column in _of(columns, Kind.CATEGORY):
        values = {label for row in rows if (label := table.label(row.get(column.name))) is not None}
        if len(values) > MAX_VALUES:
            continue
        named = sorted(value for value in values if _is_named(value, said, spoken_for))
        if named and len(named) < len(values):
            filters[column.name] = named
    if not filters:
        return rows, {}
    kept = [row for row in rows if all(table.label(row.get(name)) in values for name, values in filters.items())]
    return (kept, filters) if kept else (rows, {})


def _is_named(value: str, said: Sequence[str], spoken_for: frozenset[str]) -> bool:
    """A value that could as well be a column's name, a number or a word of the question is not taken for a filter."""
    phrase = words.words(value)
    if sum(map(len, phrase)) < 2 or all(words.is_stop(word) or word in spoken_for for word in phrase):
        return False
    return words.contains(said, phrase)


def _measures(numbers: list[Column], telling: Sequence[str], wanted: Wish) -> list[Column]:
    """The best match first and alone; all, where a query that does not group or rank names none."""
    best = _best(numbers, telling)
    if best is not None:
        return [best]
    return numbers[:1] if wanted.by or wanted.top else numbers


def _grouping(
    columns: Sequence[Column],
    telling: Sequence[str],
    wanted: Wish,
    days: Column | None,
    filters: Mapping[str, list[str]],
) -> _Grouping | None:
    """What follows "by" or stands before "별" first, then a stretch of time, then a category merely named."""
    categories = [column for column in _of(columns, Kind.CATEGORY) if len(filters.get(column.name, ())) != 1]
    compared = next((column for column in categories if column.name in filters), None)
    hinted = _best(categories, wanted.by)
    if hinted is not None:
        return _by_category(hinted)
    if wanted.bucket is not None and days is not None:
        return _by_time(days, wanted.bucket)
    named = _best(categories, telling) or compared
    if named is not None:
        return _by_category(named)
    ranks = wanted.top is not None and (wanted.top > 1 or wanted.operation not in (Operation.HIGHEST, Operation.LOWEST))
    return _by_category(categories[0]) if ranks and categories else None


def _by_category(column: Column) -> _Grouping:
    return _Grouping(column.name, lambda row: table.label(row.get(column.name)))


def _by_time(column: Column, bucket: Bucket) -> _Grouping:
    def key(row: Mapping[str, object]) -> str | None:
        day = table.day(row.get(column.name))
        return None if day is None else day.isoformat()[: bucket.value]

    return _Grouping(column.name, key, chronological=True)


def _of(columns: Sequence[Column], kind: Kind) -> list[Column]:
    return [column for column in columns if column.kind is kind]


def _best(columns: Sequence[Column], said: Sequence[str]) -> Column | None:
    """The column whose name the words match best; the first of equals, None where no word matches."""
    scored = [(_score(column, said), column) for column in columns]
    best = max(scored, key=lambda each: each[0], default=None)
    return best[1] if best is not None and best[0] > 0 else None


def _matches(column: Column, said: Sequence[str]) -> bool:
    return _score(column, said) > 0


def _score(column: Column, said: Sequence[str]) -> float:
    """Half a point for a name without words that were not said: `cost` is meant rather than `cost_center`."""
    traits = words.traits([column.name])
    matched = sum(words.likeness(word, traits) for word in said)
    return matched + 0.5 / len(words.words(column.name) or [""]) if matched else 0.0
