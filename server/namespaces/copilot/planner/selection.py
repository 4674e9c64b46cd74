"""The rows that a query is about: those of its periods, with the values it names. What is computed: `figures`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from server.namespaces.copilot.planner import table, words
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.table import Column, Kind, Row
from server.namespaces.copilot.planner.timeframe import Timeframe

MAX_VALUES = 1000  # distinct values of a column that a query may name

Filters = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Selection:
    """`previous` are the rows of the period compared with. `undated` rows hold no readable day, so they are in no
    period. `applied` is False where no column holds days: the rows are then all there are."""

    rows: Sequence[Row]
    previous: Sequence[Row] | None = None
    filters: Filters = field(default_factory=dict)
    applied: bool = False
    undated: int = 0


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why there is no answer: no row of `period` (`span` are the days there are, None where no column holds days),
    none with `filters`, or nothing in the data that the query speaks of (`unknown`)."""

    period: Period | None = None
    span: Period | None = None
    filters: Filters = field(default_factory=dict)
    unknown: Sequence[str] = ()


def select(rows: Sequence[Row], filters: Filters, days: Column | None, frame: Timeframe) -> Selection | Nothing:
    kept = [row for row in rows if _has(row, filters)] if filters else rows
    if not kept:
        return Nothing(filters=filters)
    if frame.current is None:
        return Selection(kept, filters=filters)
    if days is None:
        return Selection(kept, filters=filters) if frame.previous is None else Nothing(frame.previous, filters=filters)
    dated = [(row, day) for row in kept if (day := table.day(row.get(days.name))) is not None]
    undated = len(kept) - len(dated)
    parts: list[Sequence[Row]] = []
    for period in (frame.current, frame.previous):
        if period is None:
            continue
        part = [row for row, day in dated if day in period]
        if not part:
            return Nothing(period, _span(day for _, day in dated), filters)
        parts.append(part)
    return Selection(parts[0], parts[1] if len(parts) > 1 else None, filters, applied=True, undated=undated)


def named(query: str, rows: Iterable[Row], columns: Sequence[Column]) -> dict[str, list[str]]:
    """By column, the values that the query names, such as a region; not all that a column has, which tell nothing."""
    said = words.words(query)
    spoken_for = words.traits(column.name for column in columns)
    filters: dict[str, list[str]] = {}
    for column in columns:
        if column.kind is not Kind.CATEGORY:
            continue
        values = {label for row in rows if (label := table.label(row.get(column.name))) is not None}
        if len(values) > MAX_VALUES:
            continue
        found = named_of(values, said, spoken_for)
        if found and len(found) < len(values):
            filters[column.name] = found
    return filters


def named_of(values: Iterable[str], said: Sequence[str], spoken_for: frozenset[str]) -> list[str]:
    """Those of the values that the words `said` name: of `S3` and `S3 Glacier` the longer. None that could as well be
    a column's name, a number or a word of the question."""
    phrases = {value: words.words(value) for value in values}
    found = {
        value: phrase
        for value, phrase in phrases.items()
        if sum(map(len, phrase)) >= 2
        and not all(words.is_stop(word) or word in spoken_for for word in phrase)
        and words.contains(said, phrase)
    }
    return sorted(
        value
        for value, phrase in found.items()
        if not any(other != phrase and words.contains(other, phrase) for other in found.values())
    )


def _has(row: Row, filters: Filters) -> bool:
    return all(table.label(row.get(name)) in values for name, values in filters.items())


def _span(days: Iterable[date]) -> Period | None:
    ordered = sorted(days)
    return Period(ordered[0], ordered[-1]) if ordered else None
