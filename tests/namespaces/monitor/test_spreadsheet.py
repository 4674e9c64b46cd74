from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.monitor import spreadsheet


async def rows(*pages: list[spreadsheet.Row]) -> AsyncIterator[list[spreadsheet.Row]]:
    for page in pages:
        yield page


async def read(*pages: list[spreadsheet.Row]) -> str:
    return b"".join([part async for part in spreadsheet.document(["설비", "값"], rows(*pages))]).decode()


async def test_korean_is_read_as_utf_8_and_lines_end_as_excel_has_them() -> None:
    assert await read([("용접", 1.5), ("", None)]) == "\ufeff설비,값\r\n용접,1.5\r\n,\r\n"


async def test_nothing_but_a_header() -> None:
    assert await read() == "\ufeff설비,값\r\n"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
async def test_no_cell_is_a_formula(cell: str) -> None:
    text = (await read([(cell, -1.5)])).removeprefix("\ufeff")
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == ["'" + cell, "-1.5"]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_what_was_written_is_read(cell: str) -> None:
    [[found]] = csv.reader(io.StringIO(spreadsheet._lines([[cell + "."]]), newline=""))
    assert found.removeprefix("'") == (cell + ".").removeprefix("'")
