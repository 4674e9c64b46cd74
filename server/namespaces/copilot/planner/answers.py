"""The answer to a query from one dataset's rows, as it goes on the wire; where rows come from is the service's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from server.namespaces.copilot.planner import figures, phrases, words
from server.namespaces.copilot.planner.figures import Figures
from server.namespaces.copilot.planner.table import Row

_EXACT = 2**53  # JavaScript's integers are exact up to here


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    data: dict[str, object]
    sources: list[dict[str, object]]


def answer(query: str, dataset: str, rows: Sequence[Row], today: date) -> Answer:
    """`rows` holds at least one row. Takes time in proportion to them."""
    found = figures.compute(query, rows, today)
    return Answer(
        phrases.answer(found, dataset, korean=words.is_korean(query)),
        _data(found),
        [{"dataset": dataset, "rows": len(rows)}],
    )


def _data(found: Figures) -> dict[str, object]:
    return {
        "operation": found.operation.value,
        "measure": found.measure,
        "group_by": found.group_by,
        "period": found.period.to_wire() if found.period and found.period_applied else None,
        "filters": found.filters,
        "rows": found.rows,
        "skipped": found.skipped,
        "groups": found.groups,
        "figures": [{"label": figure.label, "value": _json(figure.value)} for figure in found.figures],
        "overall": None if found.overall is None else _json(found.overall),
    }


def _json(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() and abs(value) <= _EXACT else float(value)
