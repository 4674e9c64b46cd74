"""`ask`: a question to the copilot about a table that this side holds: a little one of its own, or a CSV file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from clients.python.cli import terminal
from clients.python.cli.keyboard import Keyboard
from clients.python.cli.target import Target, as_json, brief, run
from clients.python.client import Client
from clients.python.copilot import Answer

MOST_ROWS = 100_000
MOST_BARS = 10
BAR_CELLS = 30

#: The little data set of a client that has no other.
COSTS: Sequence[Mapping[str, Any]] = [
    {"date": f"2026-{month:02}-01", "service": service, "region": region, "cost": round(base * (1 + month / 50), 2)}
    for month in (8, 9, 10)
    for service, region, base in (
        ("EC2", "ap-northeast-2", 4120.5),
        ("RDS", "ap-northeast-2", 1830.25),
        ("S3", "us-east-1", 612.4),
        ("Lambda", "us-east-1", 95.8),
    )
]
DATASET: Mapping[str, Any] = {
    "name": "cloud_costs",
    "description": "Cloud cost by service, region and month (클라우드 서비스별 비용)",
    "columns": ["date", "service", "region", "cost"],
}

EXAMPLES = """
\b
Examples:
  ask "top 3 services by cost"            about a little table of cloud costs
  ask "서비스별 비용 합계"
  ask --data sales.csv "total by region"  about your own; its first line names the columns
"""


@click.command(epilog=EXAMPLES)
@click.argument("question")
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A CSV file to ask about; may be given more than once.",
)
@as_json
@click.pass_obj
def ask(target: Target, question: str, data: tuple[Path, ...], as_json: bool) -> None:
    """Ask the copilot a QUESTION about a little table of cloud costs that this client holds, or about CSV files."""
    target = target.with_json(as_json)

    async def work() -> None:
        tables = dict(table(path) for path in data) if data else {"cloud_costs": (DATASET, COSTS)}
        async with target.client() as client:
            await Question(client, tables, pretty=target.is_pretty(), quiet=as_json).put(question)

    run(target, work)


Table = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]


def table(path: Path) -> tuple[str, Table]:
    """Its name, and itself. What looks like a number is one. Raises ValueError for a file that is no table."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        rows = [{name: number(value) for name, value in row.items() if name is not None} for row in reader]
    if not columns or not rows:
        raise ValueError(f"{path}: no table with a line of names and at least one more")
    if len(rows) > MOST_ROWS:
        raise ValueError(f"{path}: {len(rows):,} rows, and {MOST_ROWS:,} are the most")
    return path.stem, ({"name": path.stem, "description": path.stem.replace("_", " "), "columns": columns}, rows)


def number(value: str | None) -> object:
    text = (value or "").strip()
    for kind in (int, float):
        try:
            parsed = kind(text)
        except ValueError:
            continue
        return parsed if abs(parsed) < 1e300 else text  # neither nan nor inf is JSON
    return text


def page(rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the server wishes for: filters, columns, and a page. It looks after the period itself."""
    for name, values in (params.get("filters") or {}).items():
        rows = [row for row in rows if row.get(name) in values]
    offset, limit = int(params.get("offset") or 0), int(params.get("limit") or MOST_ROWS)
    columns = params.get("columns")
    return [
        {name: value for name, value in row.items() if not columns or name in columns}
        for row in rows[offset : offset + limit]
    ]


class Question:
    def __init__(self, client: Client, tables: Mapping[str, Table], *, pretty: bool, quiet: bool) -> None:
        self._client = client
        self._tables = tables
        self._pretty = pretty
        self._quiet = quiet
        self._keyboard = Keyboard()
        client.answers("request_available_data")(self._datasets)
        client.answers("request_api")(self._rows)
        client.answers("clarification_request")(self._clarify)

    async def put(self, question: str) -> None:
        if not self._pretty:
            answer = await self._client.ask(question)
            fields = {name: getattr(answer, name) for name in ("query_id", "text", "data", "sources", "latency_ms")}
            click.echo(brief(fields) if self._quiet else terminal.safe(answer.text))
            return
        console = terminal.console()
        self._status = console.status("connecting …")
        with self._status:
            answer = await self._client.ask(question, on_progress=self._progress)
        show(answer)

    def _progress(self, stage: str) -> None:
        from rich.text import Text

        self._status.update(Text(f"{terminal.safe(stage)} …"))

    async def _datasets(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        self._tell(f"server asks for the data sets: offering {', '.join(self._tables)}")
        return [dataset for dataset, _ in self._tables.values()]

    async def _rows(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        found = page(self._tables[request["dataset"]][1], request["params"])
        self._tell(f"server fetches {request['dataset']} {brief(request['params'])}: {len(found)} rows")
        return found

    async def _clarify(self, request: Mapping[str, Any]) -> str:
        """An option's number will do on a terminal."""
        options = [str(each) for each in request.get("options") or ()]
        if not self._pretty:
            click.echo(f"  {terminal.safe(str(request['question']))} {options}", err=self._quiet)
            return (await self._keyboard.line() or "").strip() or "?"
        self._status.stop()
        click.secho(f"\n{terminal.safe(str(request['question']))}", bold=True)
        for place, option in enumerate(options, 1):
            click.echo(f"  {place}  {terminal.safe(option)}")
        click.echo("> ", nl=False)
        line = (await self._keyboard.line() or "").strip()
        self._status.start()
        if line.isascii() and line.isdigit() and 0 < int(line) <= len(options):
            return options[int(line) - 1]
        return line or "?"

    def _tell(self, text: str) -> None:
        if not self._quiet:
            click.secho(f"  {terminal.safe(text)}", dim=True if self._pretty else None)
        sys.stdout.flush()


def show(answer: Answer) -> None:
    """The text, and its figures as bars."""
    from rich.table import Table as Grid
    from rich.text import Text

    console = terminal.console()
    console.print(Text(terminal.safe(answer.text), "bold"))
    figures = answer.data.get("figures") if isinstance(answer.data, Mapping) else None
    bars = [each for each in figures or () if isinstance(each.get("value"), int | float)][:MOST_BARS]
    if bars:
        most = max(abs(each["value"]) for each in bars) or 1
        grid = Grid.grid(padding=(0, 2))
        for each in bars:
            cells = "█" * max(1, round(BAR_CELLS * abs(each["value"]) / most))
            grid.add_row(Text(terminal.safe(str(each["label"]))), Text(f"{each['value']:,}"), Text(cells, "cyan"))
        console.print(grid)
    sources = ", ".join(f"{each.get('dataset')} ({each.get('rows')} rows)" for each in answer.sources)
    console.print(Text(terminal.safe(f"{sources}  {answer.latency_ms} ms"), "dim"))
