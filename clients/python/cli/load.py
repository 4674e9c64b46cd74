"""`load`: how fast a server of one's own is. Live on a terminal; elsewhere the results, a line each, or JSON."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from clients.python.cli import terminal
from clients.python.cli.target import Target, as_json, brief, run
from clients.python.load.results import PERCENTILES, Results
from clients.python.load.run import MOST_CLIENTS, MOST_RATE, MOST_SECONDS, LoadTest
from clients.python.load.workloads import WHAT
from clients.python.tokens import Token

if TYPE_CHECKING:
    from rich.console import RenderableType

FRAME_SECONDS = 0.25

EXAMPLES = """
\b
What the clients do:
  ping      ask for a pong                            acks
  chat      say something in a session of their own   acks, deliveries to oneself
  trading   say something in one channel, all of them acks, deliveries to everybody
  monitor   listen to the machines                    deliveries, from the status's time on
  copilot   ask about a table of three rows           acks are whole answers

\b
Examples:
  load ping                                           50 clients, 100 a second, 10 seconds
  load trading --clients 200 --rate 20 --duration 30
  load chat --json > chat.json

\b
A server limits what one user may do. Under DEBUG each client here is a user of its own; else set the
RATE_LIMIT_… of your server higher, or read how often it said RATE_LIMITED.
"""

ONE_USER = (
    "All clients were one user, of the token that was given (ATRIUM_TOKEN?), and RATE_LIMITED is that user's limit. "
    "Without a token a server under DEBUG makes each a user of its own."
)


@click.command(epilog=EXAMPLES)
@click.argument("what", type=click.Choice(WHAT), metavar="WHAT")
@click.option("--clients", type=click.IntRange(1, MOST_CLIENTS), default=50, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, MOST_RATE),
    default=100.0,
    show_default=True,
    help="Sent in a second, by all clients together.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0.1, MOST_SECONDS),
    default=10.0,
    show_default=True,
    help="In seconds, without the connecting.",
)
@click.option("--transport", type=click.Choice(["websocket", "polling"]), default="websocket", show_default=True)
@click.option("--mine", is_flag=True, help="The server is not on this machine, and it is mine to load.")
@as_json
@click.pass_obj
def load(
    target: Target,
    what: str,
    clients: int,
    rate: float,
    duration: float,
    transport: str,
    mine: bool,
    as_json: bool,
) -> None:
    """Load a server of your own and see how it does: WHAT is ping, chat, trading, monitor or copilot."""
    if not mine and not is_here(target.url):
        raise click.UsageError(f"{target.url} is not on this machine: --mine says that it is yours to load")
    target = target.with_json(as_json)
    results = Results(what, clients, rate)

    def credentials(number: int) -> Token:
        return target.token if what == "monitor" else target.credentials(f"load-{number}")

    async def work() -> None:
        test = LoadTest(target.url, credentials, results, seconds=duration, transports=(transport,))
        try:
            await (_watched(test, duration) if target.is_pretty() else test.run())
        finally:
            if not target.is_pretty() and results.seconds:
                click.echo(brief(results.to_json()) if as_json else "\n".join(results.lines()))
            if target.token is not None and results.errors["RATE_LIMITED"]:
                click.echo(ONE_USER, err=True)

    run(target, work)


def is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _watched(test: LoadTest, duration: float) -> None:
    from rich.live import Live

    running = asyncio.create_task(test.run())
    with Live(console=terminal.console(), auto_refresh=False) as live:
        try:
            while not running.done():
                live.update(screen(test, duration), refresh=True)
                await asyncio.wait({running}, timeout=FRAME_SECONDS)
            running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            live.update(screen(test, duration), refresh=True)


def screen(test: LoadTest, duration: float) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    results = test.results
    connecting = test.phase == "connecting"
    total, done = (results.clients, results.connected) if connecting else (duration, results.seconds)
    table = Table()
    for name in ("", "count", "per second", *(name for name, _ in PERCENTILES), "max"):
        table.add_column(name, justify="right" if name else "left")
    for name, histogram in (("acks", results.acks), ("deliveries", results.deliveries)):
        if histogram.count:
            times = [*(histogram.percentile(share) for _, share in PERCENTILES), histogram.longest]
            rate = histogram.count / results.seconds if results.seconds else 0.0
            shown = [f"{(each or 0) * 1000:,.1f} ms" for each in times]
            table.add_row(name, f"{histogram.count:,}", f"{rate:,.0f}", *shown)
    head = (
        f"{test.phase}: {results.what}, {results.connected}/{results.clients} clients, "
        f"{results.sent:,} sent, {results.seconds:.1f}/{duration:g} s"
    )
    faults = [Text(f"{code} {count:,}", "red") for code, count in results.errors.most_common()]
    if results.late:
        faults.append(Text(f"{results.late:,} not sent in time", "yellow"))
    bar = Table.grid()
    bar.add_row(ProgressBar(total=total, completed=done, width=60))
    return Group(Text(head, "bold"), bar, *([table] if table.row_count else []), *faults)
