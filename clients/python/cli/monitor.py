"""`monitor`: every machine's status, every second; on a terminal as a table that stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from clients.python.cli import terminal
from clients.python.cli.target import Target, as_json, brief, first, run
from clients.python.client import Client
from clients.python.connection import Connection
from clients.python.monitor import Machine, Monitor, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

STATUSES = tuple(terminal.STATUS_STYLES)
MOST_ALARMS = 5

EXAMPLES = """
\b
Examples:
  monitor                                   all machines, until Ctrl-C
  monitor --status error --status disconnected
  monitor --equipment KRCWO12ELOA101 --count 1 --json
"""


@click.command(epilog=EXAMPLES)
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--equipment", multiple=True, metavar="CODE", help="Only this machine; may be given more than once.")
@click.option("--line", multiple=True, metavar="NAME", help="Only this line's machines.")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only machines of this status.")
@as_json
@click.pass_obj
def monitor(
    target: Target,
    count: int | None,
    equipment: tuple[str, ...],
    line: tuple[str, ...],
    status: tuple[str, ...],
    as_json: bool,
) -> None:
    """Every machine's status, every second."""
    target = target.with_json(as_json)
    wanted = {"equipment": equipment or None, "lines": line or None, "statuses": status or None}

    async def work() -> None:
        async with target.client(tokenless=True) as client:
            opened = await client.monitor(**wanted)
            if target.is_pretty():
                await _table(client, opened, count)
                return
            left = count
            async for each in opened:
                click.echo(brief(each.raw) if as_json else plain(each))
                if left is not None and (left := left - 1) == 0:
                    return

    run(target, work)


def plain(status: Status) -> str:
    states: dict[str, list[str]] = {}
    for machine in status.machines:
        states.setdefault(machine.status, []).append(machine.name)
    lines = [f"{status.timestamp}  {len(status.machines)} machines"]
    lines += [f"  {each:<12} {len(states[each]):>2}  {', '.join(states[each])}" for each in STATUSES if each in states]
    return terminal.safe("\n".join(lines))


async def _table(client: Client, opened: Monitor, count: int | None) -> None:
    from rich.live import Live

    connection = await client.connection("/monitor")
    alarms: deque[Mapping[str, Any]] = deque(maxlen=MOST_ALARMS)
    timestamp, left = "", count
    with Live(console=terminal.console(), auto_refresh=False, screen=False) as live:

        def show() -> None:
            live.update(screen(opened.machines, timestamp, connection, list(alarms)), refresh=True)

        async def statuses() -> None:
            nonlocal timestamp, left
            async for status in opened:
                timestamp = status.timestamp
                show()
                if left is not None and (left := left - 1) == 0:
                    return

        async def hear_alarms() -> None:
            async for alarm in opened.alarms():
                alarms.append(alarm)
                show()

        connection.on_state(show)
        try:
            await first(statuses(), hear_alarms())
        finally:
            show()


def screen(
    machines: tuple[Machine, ...], timestamp: str, connection: Connection, alarms: list[Mapping[str, Any]]
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=False, row_styles=["", "on grey7"])
    for name in ("Code", "Machine", "Status", "Quality", "Last updated"):
        table.add_column(name, no_wrap=name != "Machine")
    for machine in machines:
        style = terminal.STATUS_STYLES.get(machine.status, "")
        table.add_row(
            Text(terminal.safe(machine.code), "dim"),
            Text(terminal.safe(machine.name), style if machine.status == "error" else ""),
            Text(terminal.safe(f" {machine.status} "), style),
            Text(terminal.safe(machine.quality), "" if machine.quality == "good" else "yellow"),
            Text(terminal.safe(machine.last_updated[11:19]), "dim"),
        )
    counts = {each: sum(machine.status == each for machine in machines) for each in STATUSES}
    head = Text(terminal.safe(f"{terminal.light(connection)}  {timestamp[:19].replace('T', ' ')} UTC   "))
    for each, count in counts.items():
        if count:
            head.append(f" {count} {each} ", terminal.STATUS_STYLES[each]).append("  ")
    lines = [
        Text(
            terminal.safe(
                f"{str(alarm.get('raised_at') or alarm.get('timestamp') or '')[11:19]}  {alarm.get('state', ''):<13}"
                f" {alarm.get('kind', '')}  {alarm.get('equipment_name') or alarm['equipment_code']}"
            ),
            "red" if alarm.get("state") == "raised" else "dim",
        )
        for alarm in alarms
    ]
    return Group(head, table, *lines)
