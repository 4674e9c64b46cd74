"""Which of a client's datasets a query is about; what its rows say is `figures`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.namespaces.copilot.planner import words

MAX_CANDIDATES = 10  # as many as a person can be asked to choose from
MAX_COLUMNS = 100

_TIE = 0.9  # a second this close to the first is as good
_NAME, _COLUMN, _DESCRIPTION, _WHOLE_NAME = 3.0, 2.0, 1.0, 4.0
_ORDINAL = re.compile(r"\D{0,3}(\d{1,3})\D{0,3}")


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    description: str = ""
    columns: tuple[str, ...] = ()

    @classmethod
    def from_wire(cls, wire: Mapping[str, object]) -> Dataset:
        """`columns` (or `fields`) may be names, objects with a `name`, or an object by name; anything else is none."""
        description = wire.get("description")
        return cls(
            str(wire["name"]),
            description if isinstance(description, str) else "",
            _column_names(wire.get("columns") or wire.get("fields")),
        )


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
    columns = words.traits(dataset.columns)
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


def _column_names(wire: object) -> tuple[str, ...]:
    if isinstance(wire, Mapping):
        return tuple(str(name) for name in wire)[:MAX_COLUMNS]
    if not isinstance(wire, list):
        return ()
    names = (column.get("name") if isinstance(column, Mapping) else column for column in wire)
    return tuple(name for name in names if isinstance(name, str))[:MAX_COLUMNS]
