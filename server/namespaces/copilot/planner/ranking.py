"""Which of a client's datasets a query is about; what its rows say is `figures`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.namespaces.copilot.planner import words

MAX_CANDIDATES = 10  # as many as a person can be asked to choose from
MAX_COLUMNS = 100

MAX_VALUES = 200  # of a column, as its dataset lists them

_NUMBER_TYPES = ("number", "integer", "float", "decimal")
_TIE = 0.9  # a second this close to the first is as good
_NAME, _COLUMN, _DESCRIPTION, _WHOLE_NAME = 3.0, 2.0, 1.0, 4.0
_ORDINAL = re.compile(r"\D{0,3}(\d{1,3})\D{0,3}")


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    description: str = ""
    columns: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()  # the columns that it says hold numbers
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()  # by column, those that it says there are

    @classmethod
    def from_wire(cls, wire: Mapping[str, object]) -> Dataset:
        """`columns` (or `fields`) may be names, types by name, or objects with a `name` and perhaps a `type` and
        `values`; anything else is none. Nothing that it says of itself need be true."""
        description = wire.get("description")
        columns = _columns(wire.get("columns") or wire.get("fields"))
        return cls(
            str(wire["name"]),
            description if isinstance(description, str) else "",
            tuple(columns),
            frozenset(name for name, column in columns.items() if str(column.get("type")) in _NUMBER_TYPES),
            tuple((name, listed) for name, column in columns.items() if (listed := _texts(column.get("values")))),
        )

    @property
    def about(self) -> list[str]:
        listed = [value for _, values in self.values for value in values]
        return [self.name, self.description, *self.columns, *listed]


@dataclass(frozen=True, slots=True)
class Choice:
    """The one dataset that is meant, or those a person must choose from, likeliest first."""

    winner: Dataset | None
    candidates: tuple[Dataset, ...]
    matched: bool  # whether the query names any of them


def choose(query: str, datasets: Sequence[Dataset]) -> Choice:
    """An only dataset wins whatever the query says: there is nothing else to ask for."""
    distinct = list({dataset.name: dataset for dataset in reversed(datasets)}.values())[::-1]
    scored = [(score(query, dataset), dataset) for dataset in distinct]
    scored.sort(key=lambda each: each[0], reverse=True)
    best = scored[0][0] if scored else 0.0
    near = tuple(dataset for value, dataset in scored if value >= best * _TIE)
    winner = near[0] if len(near) == 1 else None
    return Choice(winner, near[:MAX_CANDIDATES], matched=best > 0)


def score(query: str, dataset: Dataset) -> float:
    """0 where no word of the query speaks of the dataset."""
    name = words.traits([dataset.name])
    columns = words.traits((*dataset.columns, *(value for _, values in dataset.values for value in values)))
    description = words.traits([dataset.description])
    total = sum(
        max(
            _NAME * words.likeness(word, name),
            _COLUMN * words.likeness(word, columns),
            _DESCRIPTION * words.likeness(word, description),
        )
        for word in words.telling(query)
    )
    return total + _WHOLE_NAME if words.contains(words.words(query), words.words(dataset.name)) else total


def pick(answer: str, candidates: Sequence[Dataset]) -> Dataset | None:
    """The candidate that a person's answer means: its name, its number in the list, or words about it."""
    said = words.words(answer)
    named = [dataset for dataset in candidates if dataset.name.strip().casefold() == answer.strip().casefold()]
    named = named or [dataset for dataset in candidates if words.words(dataset.name) == said]
    if len(named) == 1:
        return named[0]
    ordinal = _ORDINAL.fullmatch(answer.strip())
    if ordinal is not None and 1 <= int(ordinal[1]) <= len(candidates):
        return candidates[int(ordinal[1]) - 1]
    choice = choose(answer, candidates)
    return choice.winner if choice.matched else None


def _columns(wire: object) -> dict[str, Mapping[object, object]]:
    """What a dataset says of its columns, by their names."""
    if isinstance(wire, Mapping):
        wire = [{"name": str(name), "type": of} for name, of in list(wire.items())[:MAX_COLUMNS]]
    if not isinstance(wire, list):
        return {}
    found: dict[str, Mapping[object, object]] = {}
    for column in wire[:MAX_COLUMNS]:
        described: Mapping[object, object] = column if isinstance(column, Mapping) else {"name": column}
        if isinstance(name := described.get("name"), str):
            found[name] = described
    return found


def _texts(wire: object) -> tuple[str, ...]:
    return tuple(each for each in wire[:MAX_VALUES] if isinstance(each, str)) if isinstance(wire, list) else ()
