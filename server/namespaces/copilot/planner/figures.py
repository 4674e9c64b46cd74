"""Figures computed from rows for a query: which column, which rows, which groups. How they are said is `phrases`.

Nothing is estimated: a figure is exact decimal arithmetic over the rows, and what had to be left out is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext

from server.namespaces.copilot.planner import selection, table, timeframe, wish, words
from server.namespaces.copilot.planner.selection import Filters, Nothing, Selection
from server.namespaces.copilot.planner.table import Column, Kind, Row
from server.namespaces.copilot.planner.timeframe import Timeframe
from server.namespaces.copilot.planner.wish import Bucket, Operation, Wish

MAX_FIGURES = 100
UNRANKED_GROUPS = 20  # as many groups as an answer lists when the query names no number
MAX_MEASURES = 5
MAX_UNKNOWN = 5

_EXACT = 450  # digits: of sums of the largest and the smallest numbers that a table may hold


@dataclass(frozen=True, slots=True)
class Figure:
    """`previous` is the same of the period compared with."""

    label: str | None  # None: the rows that have no value to group by
    value: Decimal
    previous: Decimal | None = None

    @property
    def change(self) -> Decimal:
        with localcontext(prec=_EXACT):
            return self.value - (self.previous or 0)

    @property
    def percent(self) -> Decimal | None:
        """The change, of the previous value, to one decimal; None of nothing, and of 0."""
        if not self.previous:
            return None
        with localcontext(prec=_EXACT):
            return (100 * self.change / abs(self.previous)).quantize(Decimal("0.1"), ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Figures:
    """`rows` were computed with, after period and filters; `skipped` of them hold no usable number.

    `period_applied` says whether the period of `frame` could be told from the rows; `undated` could not be told.
    `unknown` are names in the query that nothing in the data bears.
    """

    operation: Operation
    measure: str | None
    group_by: str | None
    wish: Wish
    frame: Timeframe
    figures: list[Figure]
    groups: int
    overall: Decimal | None
    previous: Decimal | None
    rows: int
    skipped: int
    undated: int
    period_applied: bool
    filters: Filters
    unknown: Sequence[str]
    per: Bucket | None = None  # the averages are of the sums of each


@dataclass(frozen=True, slots=True)
class _Grouping:
    name: str
    key: Callable[[Row], str | None]
    chronological: bool = False


def compute(
    query: str,
    rows: Sequence[Row],
    today: date,
    *,
    frame: Timeframe | None = None,
    dataset: str = "",
    filters: Filters | None = None,
    about: Sequence[str] | None = None,
) -> Figures | Nothing:
    """`rows` holds at least one row. `frame` is what the person said of the days, if not in the query; `filters` hold
    besides what the query is found to name. `about` are
    texts on the rows, such as their dataset's name: a query that neither they nor the rows speak of is not answered.
    None for a dataset that the person chose."""
    columns = table.columns(rows)
    wanted = wish.read(query)
    telling = words.telling(query)
    days = _best(_of(columns, Kind.DAY), telling) or next(iter(_of(columns, Kind.DAY)), None)
    frame = frame or timeframe.read(query, today)
    selected = selection.select(rows, {**selection.named(query, rows, columns), **(filters or {})}, days, frame)
    unknown = _unknown(telling, [*(about or ()), *(column.name for column in columns)], selected.filters)
    if about is not None and unknown and len(unknown) == len(telling):
        return Nothing(unknown=unknown[:MAX_UNKNOWN])
    if isinstance(selected, Nothing):
        return selected

    measures = _measures(_of(columns, Kind.NUMBER), telling, wanted)
    subject = frozenset() if wanted.top else words.traits([dataset])  # "of all instances" says of what, not by what
    spoken = [word for word in telling if words.likeness(word, subject) == 0]
    grouping = _grouping(columns, spoken, wanted, days, selected.filters)
    operation = wanted.operation
    if operation is Operation.COUNT and any(_matches(column, telling) for column in measures) and grouping is None:
        operation = Operation.SUM  # "how many orders" where orders are a figure
    if (grouping is not None or frame.changes) and operation in (Operation.HIGHEST, Operation.LOWEST):
        operation = Operation.SUM  # the most expensive service is not the one with the dearest row
    if operation is Operation.SUM and measures and measures[0].is_ratio:
        operation = Operation.AVERAGE
    if not measures:
        operation = Operation.COUNT
    per = None
    if wanted.per is not None and days is not None and operation is Operation.AVERAGE:
        per = _by_time(days, wanted.per)
    return _Found(operation, measures, grouping, wanted, frame, per).over(selected, words.proper(query, unknown))


@dataclass(frozen=True, slots=True)
class _Found:
    operation: Operation
    measures: list[Column]
    grouping: _Grouping | None
    wish: Wish
    frame: Timeframe
    per: _Grouping | None

    def over(self, selected: Selection, unknown: Sequence[str]) -> Figures:
        counts = self.operation is Operation.COUNT
        measure = None if counts or not self.measures else self.measures[0].name
        skipped = len(selected.rows) - len(_usable(selected.rows, measure))
        usable = self._usable(selected.rows, measure)
        before = None if selected.previous is None else self._usable(selected.previous, measure)
        figures, groups = self._figures(selected, usable, before, measure)
        return Figures(
            self.operation,
            measure,
            self.grouping.name if self.grouping else None,
            self.wish,
            self.frame,
            figures,
            groups,
            _total(self.operation, [value for _, value in usable]),
            None if before is None else _total(self.operation, [value for _, value in before]),
            len(selected.rows),
            skipped,
            selected.undated,
            selected.applied,
            selected.filters,
            unknown,
            None if self.per is None else self.wish.per,
        )

    def _usable(self, rows: Sequence[Row], measure: str | None) -> list[tuple[Row, Decimal]]:
        """What there is to compute with: for an average per day each day's sum, as if it were a row."""
        usable = _usable(rows, measure)
        if self.per is None:
            return usable
        sums: dict[tuple[str | None, str | None], tuple[Row, list[Decimal]]] = {}
        for row, value in usable:
            key = (self.per.key(row), self.grouping.key(row) if self.grouping else None)
            sums.setdefault(key, (row, []))[1].append(value)
        totals = ((row, _total(Operation.SUM, values)) for row, values in sums.values())
        return [(row, total) for row, total in totals if total is not None]

    def _figures(
        self,
        selected: Selection,
        usable: list[tuple[Row, Decimal]],
        before: list[tuple[Row, Decimal]] | None,
        measure: str | None,
    ) -> tuple[list[Figure], int]:
        if self.grouping is not None:
            return self._by_group(usable, before, self.grouping)
        # Where the query names no figure among several, each is given, none is guessed.
        names = [None] if measure is None else [column.name for column in self.measures[:MAX_MEASURES]]
        figures = []
        for name in names:
            value = _total(self.operation, [value for _, value in self._usable(selected.rows, name)])
            previous = None
            if selected.previous is not None:
                previous = _total(self.operation, [value for _, value in self._usable(selected.previous, name)])
            if value is not None:
                figures.append(Figure(name, value, previous))
        return figures, 1

    def _by_group(
        self, usable: list[tuple[Row, Decimal]], before: list[tuple[Row, Decimal]] | None, grouping: _Grouping
    ) -> tuple[list[Figure], int]:
        totals = self._totals(usable, grouping)
        if before is None:
            figures = [Figure(label, total) for label, total in totals.items()]
        else:
            figures = self._compared(totals, self._totals(before, grouping))
        if grouping.chronological and self.wish.top is None:
            figures.sort(key=lambda figure: (figure.label is None, figure.label or ""))
            return figures[-MAX_FIGURES:], len(figures)
        figures.sort(key=lambda figure: figure.label or "")
        if before is not None and self.frame.changes and self.wish.top is not None:
            figures.sort(key=lambda figure: figure.change, reverse=self.frame.falling is self.wish.ascending)
        else:
            figures.sort(key=lambda figure: figure.value, reverse=not self.wish.ascending)
        return figures[: self.wish.top or UNRANKED_GROUPS], len(figures)

    def _totals(self, usable: list[tuple[Row, Decimal]], grouping: _Grouping) -> dict[str | None, Decimal]:
        members: dict[str | None, list[Decimal]] = {}
        for row, value in usable:
            members.setdefault(grouping.key(row), []).append(value)
        totals = ((label, _total(self.operation, values)) for label, values in members.items())
        return {label: total for label, total in totals if total is not None}

    def _compared(self, totals: Mapping[str | None, Decimal], before: Mapping[str | None, Decimal]) -> list[Figure]:
        """What came or went counts as 0 in a sum or a count; there is no average of nothing."""
        if self.operation not in (Operation.SUM, Operation.COUNT):
            return [Figure(label, total, before[label]) for label, total in totals.items() if label in before]
        zero = Decimal(0)
        labels = dict.fromkeys((*totals, *before))
        return [Figure(label, totals.get(label, zero), before.get(label, zero)) for label in labels]


def _usable(rows: Sequence[Row], measure: str | None) -> list[tuple[Row, Decimal]]:
    """Every row counts as one where nothing is measured."""
    if measure is None:
        return [(row, Decimal(1)) for row in rows]
    return [(row, value) for row in rows if (value := table.number(row.get(measure))) is not None]


def _unknown(telling: Sequence[str], texts: Sequence[str], filters: Filters) -> list[str]:
    """The words that nothing in the data bears."""
    known = words.traits([*texts, *(value for values in filters.values() for value in values)])
    return [word for word in telling if words.likeness(word, known) == 0]


def _total(operation: Operation, values: Sequence[Decimal]) -> Decimal | None:
    """None for no values, but their count is 0."""
    if operation is Operation.COUNT:
        return Decimal(len(values))
    if not values:
        return None
    with localcontext(prec=_EXACT):  # sums stay exact
        if operation is Operation.AVERAGE:
            return sum(values, Decimal(0)) / len(values)
        if operation is Operation.HIGHEST:
            return max(values)
        return min(values) if operation is Operation.LOWEST else sum(values, Decimal(0))


def _measures(numbers: list[Column], telling: Sequence[str], wanted: Wish) -> list[Column]:
    """The best match first and alone; all, where a query that does not group or rank names none."""
    best = _best(numbers, telling)
    if best is not None:
        return [best]
    summed = [column for column in numbers if wanted.operation is not Operation.SUM or not column.is_ratio]
    return summed[:1] if wanted.by or wanted.top else summed


def _grouping(
    columns: Sequence[Column],
    telling: Sequence[str],
    wanted: Wish,
    days: Column | None,
    filters: Filters,
) -> _Grouping | None:
    """What follows "by" or stands before "별" first, then a stretch of time, then a category merely named."""
    categories = [column for column in _of(columns, Kind.CATEGORY) if len(filters.get(column.name, ())) != 1]
    compared = next((column for column in categories if column.name in filters), None)
    hinted = _best(categories, wanted.by)
    if hinted is not None:
        return _by_category(hinted)
    if wanted.bucket is not None and days is not None:
        return _by_time(days, wanted.bucket)
    kinds = categories if wanted.top else [column for column in categories if not column.identifies]
    named = _best(kinds, telling) or compared
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
