"""The command line: serve, migrate, token, config, asyncapi."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import click
import orjson
import structlog
from aiohttp import web
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from server import migrations, supervisor
from server.app import NAMESPACES, REALTIME, build_app
from server.auth.tokens import MAX_CLAIM_CHARS
from server.errors import ConfigError
from server.http import asyncapi as asyncapi_document
from server.observability import logs
from server.parts import development_mint
from server.settings import Settings, SettingsError, load

SHUTDOWN_SECONDS = 20
EXIT_SECONDS = 24  # whatever hangs; SPEC §8 has 25
MOST_WORKERS = 256
REPEAT_SECONDS = 0.5  # a platform may signal every process, and whoever started this one passes it on


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Atrium: a real-time server that speaks Socket.IO."""


@cli.command()
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    show_default=True,
    help="Processes that share the port, each a node; more than one needs REDIS_URL.",
)
@click.option("--worker", is_flag=True, hidden=True, help="This process is one of them.")
def serve(workers: int, worker: bool) -> None:
    """Serve on $PORT until SIGTERM or Ctrl-C, at once at a second one."""
    settings = _settings()
    logs.configure(level=settings.log_level, readable=settings.debug)
    if workers > 1:
        _supervise(settings, workers)
    app = _app(settings)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(app, settings, worker=worker))
    except OSError as error:
        _cannot_serve(settings, error)


def _app(settings: Settings) -> web.Application:
    try:
        return build_app(settings, checks={"schema": migrations.check})
    except ConfigError as error:
        click.echo(f"atrium: {error}", err=True)
        sys.exit(2)
    except (ImportError, OSError) as error:
        sys.exit(f"atrium: {error}")


def _cannot_serve(settings: Settings, error: OSError) -> NoReturn:
    sys.exit(f"atrium: cannot serve on {settings.host}:{settings.port}: {error.strerror or error}")


def _supervise(settings: Settings, workers: int) -> NoReturn:
    if settings.redis_url is None or not hasattr(socket, "SO_REUSEPORT"):
        missing = "REDIS_URL: each is a node of its own" if settings.redis_url is None else "SO_REUSEPORT"
        click.echo(f"atrium: --workers {workers} needs {missing}", err=True)
        sys.exit(2)
    try:
        held = supervisor.reserve(settings.host, settings.port)
    except OSError as error:
        _cannot_serve(settings, error)
    with held:
        port = held.getsockname()[1]
        structlog.get_logger("server").info("supervising", workers=workers, port=port)
        command = (sys.executable, "-m", "server", "serve", "--worker")
        sys.exit(asyncio.run(_keep(command, workers, {**os.environ, "PORT": str(port)})))


async def _keep(command: Sequence[str], workers: int, environ: Mapping[str, str]) -> int:
    kept = supervisor.Supervisor(command, workers, environ=environ, stop_seconds=EXIT_SECONDS + 0.5)
    _on_signals(kept.stop, kept.kill)
    return await kept.run()


def _on_signals(end: Callable[[], None], end_at_once: Callable[[], None]) -> None:
    asked_at: list[float] = []

    def signalled() -> None:
        asked_at.append(time.monotonic())
        if len(asked_at) == 1:
            end()
        elif asked_at[-1] - asked_at[0] >= REPEAT_SECONDS:
            end_at_once()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, signalled)


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


async def _serve(app: web.Application, settings: Settings, *, worker: bool) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    stop = asyncio.Event()

    def end() -> None:
        stop.set()
        last_resort = threading.Timer(EXIT_SECONDS, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()

    # A worker's supervisor decides when it is enough.
    _on_signals(end, end if worker else lambda: os._exit(0))
    try:
        await runner.setup()
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=worker or None)
        await site.start()
        log = structlog.get_logger("server")
        log.info("serving", port=settings.port, debug=settings.debug, pid=os.getpid())
        if worker:
            supervisor.watch_lifeline(end)
            supervisor.tell_serving()
        rest_collector()
        await stop.wait()
        log.info("stopping")
        await site.stop()
        await app[REALTIME].drain()
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
def asyncapi() -> None:
    """Print the AsyncAPI document: what clients and server say, with the extensions in force."""
    namespaces = _app(_settings())[NAMESPACES]
    click.echo(orjson.dumps(asyncapi_document.document(namespaces), option=orjson.OPT_INDENT_2))


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
