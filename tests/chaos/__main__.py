"""Kills nodes and Redis and disturbs links while a crowd talks; then looks whether a message was lost or doubled."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
from pathlib import Path

import click

from server.migrations import upgrade
from tests.chaos.run import run
from tests.support.ports import free_port
from tests.support.postgres import postgres

RESULTS = Path("var/chaos")


@click.command(help=__doc__)
@click.option("--messages", default=5000, show_default=True)
@click.option("--kills", default=5, show_default=True, help="Of nodes; as many other faults come with them.")
@click.option("--rate", default=150.0, show_default=True, help="Messages a second, at most.")
@click.option("--seed", type=int, help="Of an earlier run, to repeat its schedule.")
def main(messages: int, kills: int, rate: float, seed: int | None) -> None:
    seed = random.randrange(10**6) if seed is None else seed  # noqa: S311
    click.echo(f"seed {seed}: {messages} messages, {kills} kills")
    home = RESULTS / str(seed)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with postgres(free_port()) as server:
        upgrade(server.replace("postgresql:", "postgresql+asyncpg:"))
        outcome = asyncio.run(
            run(
                seed=seed,
                messages=messages,
                kills=kills,
                rate=rate,
                database_url=server,
                home=home.resolve(),
                say=click.echo,
            )
        )
    kept = home.with_suffix(".json")
    outcome.keep(kept)
    click.echo(f"{outcome}\nkept in {kept}, the nodes' logs beside it")
    sys.exit(bool(outcome.violations))


if __name__ == "__main__":
    main()
