"""The command line: serve, migrate, token, config."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable

import click
import orjson
import structlog
from aiohttp import web
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from server import migrations
from server.app import build_app, development_mint
from server.auth.tokens import MAX_CLAIM_CHARS
from server.errors import ConfigError
from server.observability import logs
from server.settings import Settings, SettingsError, load

SHUTDOWN_SECONDS = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Atrium: a real-time server that speaks Socket.IO."""


@cli.command()
def serve() -> None:
    """Serve on $PORT until SIGTERM or Ctrl-C."""
    settings = _settings()
    logs.configure(level=settings.log_level, readable=settings.debug)
    try:
        app = build_app(settings, checks={"schema": migrations.check})
    except (ConfigError, ImportError, OSError) as error:
        sys.exit(f"atrium: {error}")
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(app, settings))
    except OSError as error:
        sys.exit(f"atrium: cannot serve on {settings.host}:{settings.port}: {error.strerror or error}")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # it does not run on Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def rest_collector() -> None:
    """Connections are freed without the garbage collector, which would look at all of them for each few thousand that
    come: with 10,000 open its full passes stop everything for 230 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1000)


async def _serve(app: web.Application, settings: Settings) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port).start()
        log = structlog.get_logger("server")
        log.info("serving", port=settings.port, debug=settings.debug)
        rest_collector()
        if settings.redis_url:
            log.warning("REDIS_URL is set, but this version runs as one node and does not use it")
        await stop.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()


@cli.command()
@click.option("--down", metavar="REVISION", help="Go back to this revision instead (base: to nothing).")
def migrate(down: str | None) -> None:
    """Bring the database to the newest schema."""
    settings = _settings()
    logs.configure(level=settings.log_level, readable=settings.debug)
    try:
        if down is None:
            migrations.upgrade(settings.database_url)
        else:
            migrations.downgrade(settings.database_url, down)
    except (SQLAlchemyError, CommandError, ImportError, OSError) as error:
        sys.exit(f"atrium: cannot migrate: {str(error).splitlines()[0]}")
    if os.environ.get("HONCHO_PROCESS_NAME"):
        # `honcho start` runs the Procfile's release beside its web, and ends all when one ends.
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _usable(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not 0 < len(value) <= MAX_CLAIM_CHARS or not value.isprintable():
        raise click.BadParameter(f"1 to {MAX_CLAIM_CHARS} printable characters")
    return value


@cli.command()
@click.option("--sub", required=True, callback=_usable, help="The user's id.")
@click.option("--role", "roles", multiple=True, help="A role; may be given more than once.")
@click.option("--tenant", help="The user's tenant.")
@click.option("--expires", default=3600, show_default=True, help="Lifetime in seconds.")
def token(sub: str, roles: tuple[str, ...], tenant: str | None, expires: int) -> None:
    """Print a token that this server accepts."""
    try:
        click.echo(development_mint(_settings())(sub, roles, tenant, expires))
    except ValueError as error:
        sys.exit(f"atrium: {error}")


@cli.command()
def config() -> None:
    """Print the settings in force, secrets masked."""
    for name, value in sorted(_settings().masked().items()):
        shown = "" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
        click.echo(f"{name}={shown}")


def _settings() -> Settings:
    try:
        return load()
    except (SettingsError, OSError) as error:
        click.echo(f"atrium: DATA_DIR: {error}" if isinstance(error, OSError) else str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    cli()
