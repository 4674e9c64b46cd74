"""`watch`: a trading channel as it comes; on a terminal ticks are a watch list, and the rest lines with colours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from clients.python.channel import Channel, Update
from clients.python.cli import terminal
from clients.python.cli.target import Target, as_json, brief, run
from clients.python.client import Client
from clients.python.connection import Connection

if TYPE_CHECKING:
    from rich.console import RenderableType

FRAME_SECONDS = 0.1
FLASH_SECONDS = 0.6
MOST_ROWS = 200

EXAMPLES = """
\b
Examples:
  watch ticks:005930              prices of one symbol, until Ctrl-C
  watch 'ticks:*'                 of all symbols (quote the *)
  watch alerts --since 3f2a:17    what was missed after 17, then what comes
  watch stock_updates --json | jq .data
"""


class Since(click.ParamType[tuple[str, int]]):
    name = "EPOCH:SEQ"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, int]:
        epoch, _, seq = str(value).rpartition(":")
        if not epoch or not (seq.isascii() and seq.isdigit()):
            self.fail(f"{value!r} is not EPOCH:SEQ, such as 3f2a:17", parameter, context)
        return epoch, int(seq)


@click.command(epilog=EXAMPLES)
@click.argument("channel")
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--since", type=Since(), help="First what was missed after this message.")
@as_json
@click.pass_obj
def watch(target: Target, channel: str, count: int | None, since: tuple[str, int] | None, as_json: bool) -> None:
    """A trading CHANNEL, such as ticks:005930, stock_updates or general, or all of a kind: 'ticks:*'."""
    target = target.with_json(as_json)

    async def work() -> None:
        async with target.client() as client:
            opened = await client.channel(channel, since=since)
            if target.is_pretty():
                await _screen(client, opened, count)
                return
            if not as_json:
                click.echo(f"subscribed to {channel}" + ("" if opened.seq is None else f" at seq {opened.seq}"))
            left = count
            async for update in opened:
                click.echo(brief({**update.raw, "type": update.type}) if as_json else plain(update))
                if left is not None and (left := left - 1) == 0:
                    return

    run(target, work)


def plain(update: Update) -> str:
    return terminal.safe(f"{update.seq:>6}  {update.type}  {brief(update.data)}")


class WatchList:
    """The newest tick of each symbol; `MOST_ROWS` of them."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Update, int, float]] = {}  # update, direction, when

    def takes(self, update: Update) -> bool:
        data = update.data
        return isinstance(data, Mapping) and "symbol" in data and isinstance(data.get("price"), int | float)

    def hear(self, update: Update, now: float) -> None:
        symbol = str(update.data["symbol"])
        before = self.rows.get(symbol)
        if before is None and len(self.rows) >= MOST_ROWS:
            return
        price = update.data["price"]
        was = price if before is None else before[0].data["price"]
        self.rows[symbol] = (update, (price > was) - (price < was), now)

    def render(self, head: str, now: float) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(expand=False)
        for name in ("Symbol", "Name", "Price", "Change", "Volume", "Seq"):
            table.add_column(name, justify="left" if name in ("Symbol", "Name") else "right", no_wrap=True)
        for symbol, (update, direction, when) in sorted(self.rows.items()):
            data = update.data
            change = data.get("change", 0)
            flash = {1: "black on green", -1: "white on red"}.get(direction, "") if now - when < FLASH_SECONDS else ""
            table.add_row(
                Text(terminal.safe(symbol), "bold"),
                Text(terminal.safe(str(data.get("name", "")))),
                Text(f" {data['price']:,} ", flash),
                Text(f"{change:+,}", "green" if change > 0 else "red" if change < 0 else "dim"),
                Text(f"{data.get('volume', 0):,}", "dim"),
                Text(str(update.seq), "dim"),
            )
        return Group(Text(head), table)


async def _screen(client: Client, opened: Channel, count: int | None) -> None:
    from rich.live import Live
    from rich.text import Text

    connection = await client.connection("/trading")
    console = terminal.console()
    rows, shown, total, left = WatchList(), 0.0, 0, count
    began = time.monotonic()
    for update in opened.snapshot:
        if rows.takes(update):
            rows.hear(update, 0.0)
        else:
            console.print(_line(update, "dim"))
    with Live(console=console, auto_refresh=False) as live:

        def show() -> None:
            nonlocal shown
            shown = time.monotonic()
            head = _head(opened, connection, total, shown - began)
            live.update(rows.render(head, shown) if rows.rows else Text(head), refresh=True)

        stop = connection.on_state(show)
        try:
            show()
            async for update in opened:
                total += 1
                if rows.takes(update):
                    rows.hear(update, time.monotonic())
                else:
                    console.print(_line(update, ""))
                if time.monotonic() - shown >= FRAME_SECONDS:
                    show()
                if left is not None and (left := left - 1) == 0:
                    break
        finally:
            stop()
            show()


def _line(update: Update, style: str) -> RenderableType:
    from rich.text import Text

    line = Text(f"{update.seq:>6}  ", "dim")
    line.append(terminal.safe(f"{update.type}  "), "bold cyan").append(terminal.safe(brief(update.data)), style)
    return line


def _head(opened: Channel, connection: Connection, total: int, seconds: float) -> str:
    rate = total / seconds if seconds > 0 else 0.0
    return (
        f"{terminal.light(connection)}  {opened.name}  {total:,} updates, {rate:,.1f}/s  "
        f"missed {opened.missed}  conflated {opened.conflated}"
    )
