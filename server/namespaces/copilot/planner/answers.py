"""The answer to a query from one dataset's rows, as it goes on the wire; where rows come from is the service's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from server.errors import NoData
from server.namespaces.copilot.planner import figures, phrases, words
from server.namespaces.copilot.planner.figures import Figure, Figures
from server.namespaces.copilot.planner.selection import Filters, Nothing
from server.namespaces.copilot.planner.table import Row
from server.namespaces.copilot.planner.timeframe import Timeframe

_EXACT = 2**53  # JavaScript's integers are exact up to here


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    data: dict[str, object]
    sources: list[dict[str, object]]


def answer(
    query: str,
    dataset: str,
    rows: Sequence[Row],
    today: date,
    *,
    frame: Timeframe | None = None,
    filters: Filters | None = None,
    about: Sequence[str] | None = None,
    complete: bool = True,
) -> Answer:
    """`rows` holds at least one row, and is a part of all that there are unless `complete`; the others as in
    `figures.compute`. Takes time in proportion to the rows. Raises NoData, saying what is missing."""
    korean = words.is_korean(query)
    found = figures.compute(query, rows, today, frame=frame, dataset=dataset, filters=filters, about=about)
    if isinstance(found, Nothing):
        raise NoData(phrases.nothing(found, dataset, korean=korean))
    text = phrases.answer(found, dataset, korean=korean)
    source: dict[str, object] = {"dataset": dataset, "rows": len(rows)}
    if not complete:
        text = f"{text} {phrases.incomplete(len(rows), korean=korean)}"
        source["complete"] = False
    return Answer(text, _data(found), [source])


def _data(found: Figures) -> dict[str, object]:
    """The fields of a comparison are there only where two periods are compared, `unknown` only where a name is."""
    current, previous = found.frame.current, found.frame.previous
    data: dict[str, object] = {
        "operation": found.operation.value,
        "measure": found.measure,
        "group_by": found.group_by,
        "period": current.to_wire() if current and found.period_applied else None,
        "filters": found.filters,
        "rows": found.rows,
        "skipped": found.skipped,
        "groups": found.groups,
        "figures": [_figure(figure) for figure in found.figures],
        "overall": None if found.overall is None else _json(found.overall),
    }
    if found.per:
        data["per"] = found.per.name.lower()
    if found.unknown:
        data["unknown"] = found.unknown
    if previous is not None:
        data["compared_with"] = previous.to_wire()
        data["overall_previous"] = None if found.previous is None else _json(found.previous)
    return data


def _figure(figure: Figure) -> dict[str, object]:
    wire: dict[str, object] = {"label": figure.label, "value": _json(figure.value)}
    if figure.previous is not None:
        percent = figure.percent
        wire["previous"] = _json(figure.previous)
        wire["change"] = _json(figure.change)
        wire["change_percent"] = None if percent is None else _json(percent)
    return wire


def _json(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() and abs(value) <= _EXACT else float(value)
