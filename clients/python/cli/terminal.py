"""What a terminal is good for: colours and moving tables, by `rich`. Where either is missing, all is plain."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from clients.python.connection import Connection

if TYPE_CHECKING:
    from rich.console import Console

LIGHTS = {"connected": "🟢", "connecting": "🟡", "reconnecting": "🟡", "failed": "🔴", "closed": "🔴", "fallback": "🔵"}
#: The five statuses of the equipment seed, and their colours.
STATUS_STYLES = {
    "running": "bold green",
    "idle": "yellow",
    "stopped": "blue",
    "error": "bold white on red",
    "disconnected": "grey50",
}


def is_terminal() -> bool:
    """Colours and cursor movements are wanted, and there is what makes them."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return find_spec("rich") is not None


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def light(connection: Connection) -> str:
    """The state of a connection in one line."""
    text = f"{LIGHTS[connection.state]} {connection.state}"
    if connection.state in ("reconnecting", "failed") and connection.why is not None:
        attempt = f", attempt {connection.failed_attempts + 1}" if connection.state == "reconnecting" else ""
        text += f" ({connection.why.code}{attempt})"
    return text


def failure(text: str) -> str:
    return click.style(text, fg="red") if sys.stderr.isatty() else text


def safe(text: str) -> str:
    """What others wrote, without what would move the cursor or change colours."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)
