"""CSV as spreadsheets open it: Korean stays readable, and no cell is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence

CONTENT_TYPE = "text/csv; charset=utf-8"
BOM = "\ufeff"  # without it Excel takes UTF-8 for the code page of its country
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Row = Sequence[str | float | None]


async def document(header: Row, rows: AsyncIterable[Iterable[Row]]) -> AsyncGenerator[bytes, None]:
    """In parts, as the rows come."""
    yield (BOM + _lines([header])).encode()
    async for some in rows:
        yield _lines(some).encode()


def _lines(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(cell: str | float | None) -> str | float | None:
    return "'" + cell if isinstance(cell, str) and cell.startswith(FORMULA) else cell
