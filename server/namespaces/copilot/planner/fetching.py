"""A dataset's rows through its client, page by page and within a budget; what they say is `figures`.

Beside `from` and `to` (days, both included) the params of each request are `offset` and `limit`, and where the dataset
tells of its columns `filters` (by column, the values to keep) and `columns` (those to send). A client may ignore any
of them: a page that is not as long as `limit` is the last, and so is one that comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.namespaces.copilot.planner import selection, words
from server.namespaces.copilot.planner.periods import Period
from server.namespaces.copilot.planner.ranking import Dataset
from server.namespaces.copilot.planner.selection import Filters
from server.namespaces.copilot.planner.table import Row

FIRST_LIMIT = 250
MAX_LIMIT = 5000
PAGE_BYTES = 40_000  # well within the largest message that a server takes by default
_NOWHERE = 2**31 - 1  # an offset beyond the rows of any dataset


class Source(Protocol):
    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Row]: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What one query may read. `size` is about the bytes of its rows as JSON."""

    rows: int = 100_000
    size: int = 32 * 1024 * 1024
    pages: int = 1000
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Fetched:
    rows: list[Row]
    complete: bool  # else the budget ended first


def filters(query: str, dataset: Dataset) -> Filters:
    """The values that the query names, of those that the dataset says it has."""
    said, spoken_for = words.words(query), words.traits(dataset.columns)
    found = ((name, selection.named_of(values, said, spoken_for)) for name, values in dataset.values)
    return {name: named for name, named in found if named}


def params(query: str, dataset: Dataset, span: Period | None, kept: Filters) -> dict[str, object]:
    """What to ask of each page. Numbers that the query does not speak of are left out where it speaks of some."""
    asked: dict[str, object] = dict(span.to_wire()) if span else {}
    if kept:
        asked["filters"] = {name: list(values) for name, values in kept.items()}
    telling = words.telling(query)
    meant = {
        name for name in dataset.numbers if any(words.likeness(word, words.traits([name])) > 0 for word in telling)
    }
    if meant and meant != dataset.numbers:
        asked["columns"] = [name for name in dataset.columns if name in meant or name not in dataset.numbers]
    return asked


async def fetch(
    source: Source,
    dataset: str,
    asked: Mapping[str, object],
    *,
    budget: Budget | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Fetched:
    """Raises as `source` does. `clock` is in seconds."""
    budget = budget or Budget()
    until = clock() + budget.seconds
    rows: list[Row] = []
    size, limit, pages = 0, min(FIRST_LIMIT, budget.rows), False
    for _ in range(budget.pages):
        page = await source.rows(dataset, {**asked, "offset": len(rows), "limit": limit})
        if page and rows and not pages and _repeats(page, rows):
            # Rows may be alike; but whoever has some where there can be none sends the same ones for ever.
            again = await source.rows(dataset, {**asked, "offset": _NOWHERE, "limit": 1})
            if again:
                longest = max((list(each) for each in (rows, page, again)), key=len)
                complete = len(again) > 1 or len(page) < limit
                return Fetched(longest[: budget.rows], complete and len(longest) <= budget.rows)
            pages = True
        size += len(str(page).encode(errors="surrogatepass"))
        rows.extend(page)
        if len(rows) > budget.rows:
            return Fetched(rows[: budget.rows], complete=False)
        if len(page) != limit:
            return Fetched(rows, complete=True)
        if size >= budget.size or len(rows) == budget.rows or clock() >= until:
            break
        limit = min(max(1, PAGE_BYTES * len(rows) // size), MAX_LIMIT, budget.rows - len(rows))
    return Fetched(rows, complete=False)


def _repeats(page: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether it is what the first pages were, as far as both go."""
    return all(row == before for row, before in zip(page, rows, strict=False))
