from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.python import Answer, Client
from clients.python.cli.ask import Question, number, page, show, table
from tests.clients.python.cli.commands import cli, on_terminal
from tests.conftest import Serve


async def test_about_a_file_of_ones_own(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    path = tmp_path / "sales.csv"
    path.write_text("region,amount\nSeoul,10\nBusan,2.5\nSeoul,5\n", encoding="utf-8-sig")
    async with cli(server.url, "ask", "--data", str(path), "total amount by region", "--json") as process:
        assert await process.finish() == 0, process.output
    answer = json.loads(process.output)
    assert answer["data"]["overall"] == 17.5
    assert answer["data"]["figures"][0] == {"label": "Seoul", "value": 15}


async def test_which_one_is_meant(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    paths = [tmp_path / "aws_costs.csv", tmp_path / "gcp_costs.csv"]
    for amount, path in enumerate(paths, 1):
        path.write_text(f"service,cost\nVM,{amount}\n")
    data = [each for path in paths for each in ("--data", str(path))]
    async with cli(server.url, "ask", *data, "total cost") as process:
        await process.read_until("['aws_costs', 'gcp_costs']")
        assert process.process.stdin is not None
        process.process.stdin.write(b"gcp_costs\n")
        assert await process.finish() == 0, process.output
    assert "Total cost: 2 (gcp_costs" in process.output


async def test_on_a_terminal_a_number_will_do_and_figures_are_bars(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    paths = [tmp_path / "aws_costs.csv", tmp_path / "gcp_costs.csv"]
    for path in paths:
        path.write_text(f"service,cost\nVM,7\n{path.stem},3\n")
    data = [each for path in paths for each in ("--data", str(path))]
    async with on_terminal(server.url, "ask", *data, "top 2 services by cost") as terminal:
        await terminal.until("> ")
        terminal.type("2\n")
        assert await terminal.finish() == 0
        shown = await terminal.until(" ms")
        assert "█" in shown
        assert "gcp_costs (2 rows)" in shown
        assert "Traceback" not in shown


async def test_no_data_is_one_line(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("a,b\n")
    server = await serve()
    for arguments, code in ((["--data", str(path), "total"], 1), (["--data", "/nowhere", "total"], 2), ([], 2)):
        async with cli(server.url, "ask", *arguments) as process:
            assert await process.finish() == code
        assert "Traceback" not in process.output


def test_what_looks_like_a_number_is_one() -> None:
    assert [number(each) for each in ("5", " 2.5 ", "-1e3", "nan", "inf", "", "2026-01-01", None)] == [
        5,
        2.5,
        -1000.0,
        "nan",
        "inf",
        "",
        "2026-01-01",
        "",
    ]


def test_pages() -> None:
    rows = [{"a": each % 2, "b": each} for each in range(10)]
    assert page(rows, {"filters": {"a": [1]}, "columns": ["b"], "offset": 1, "limit": 2}) == [{"b": 3}, {"b": 5}]
    assert page(rows, {}) == rows


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    path.write_text("")
    with pytest.raises(ValueError, match="no table"):
        table(path)


async def test_an_answer_moves_no_cursor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "input").touch()
    with (tmp_path / "input").open() as nothing, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", nothing)
        await _answered(capsys)


async def _answered(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x9b2J\x1b[2J"
    answer = Answer("q", evil, {"figures": [{"label": evil, "value": 1}]}, ({"dataset": evil, "rows": 1},), 5)

    class Answering(Client):
        async def ask(self, *_: Any, **__: Any) -> Answer:
            return answer

    await Question(Answering("http://h"), {}, pretty=False, quiet=False).put("?")
    show(answer)
    said = capsys.readouterr().out
    assert said.count("�2J�[2J") == 4
    assert not {"\x1b", "\x9b"} & {*said}
