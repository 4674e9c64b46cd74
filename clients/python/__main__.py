"""`python -m clients.python chat|watch|monitor|ask|load`: what a server does, from a terminal or a script."""

from __future__ import annotations

import click

from clients.python.cli.ask import ask
from clients.python.cli.chat import chat
from clients.python.cli.load import load
from clients.python.cli.monitor import monitor
from clients.python.cli.target import AUTO, Target, policies
from clients.python.cli.watch import watch

EXAMPLES = """
\b
Examples:
  monitor                          17 machines, every second
  watch 'ticks:*'                  prices as they come
  chat support-1                   talk to the support bot
  ask "top 3 services by cost"     the copilot asks this side for data
  load chat --clients 50           how fast is it?

\b
Each has its own --help. Where the output is no terminal it is plain lines, or JSON with --json.
Exit codes: 0 done, 1 the server said no or is not there, 2 wrong usage, 130 Ctrl-C.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.option(
    "--url",
    envvar="ATRIUM_URL",
    default="http://localhost:8000",
    show_default=True,
    help="Of the server; or ATRIUM_URL.",
)
@click.option(
    "--token", envvar="ATRIUM_TOKEN", help="Or ATRIUM_TOKEN. Default: one that a server under DEBUG mints for you."
)
@click.option(
    "--reconnect",
    type=policies(),
    default=AUTO,
    show_default=True,
    help="When the connection is lost. auto: on a terminal as the namespace's seed has it, else none.",
)
@click.pass_context
def cli(context: click.Context, url: str, token: str | None, reconnect: str) -> None:
    """Try an Atrium server."""
    context.obj = Target(url.rstrip("/"), token or None, reconnect)


for command in (monitor, watch, chat, ask, load):
    cli.add_command(command)


if __name__ == "__main__":
    cli(prog_name="python -m clients.python")
