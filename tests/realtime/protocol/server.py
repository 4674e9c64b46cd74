"""A server for suites that test the protocols from outside, ours and others'. It has no rules of its own.

`python -m tests.realtime.protocol.server` prints READY and its address, and ends at SIGTERM or Ctrl-C. It serves

- `/engine.io/`: a bare engine that sends every message back;
- `/socket.io/`: a `RealtimeServer` standing alone, with the namespaces `/` and `/custom`. Both emit `auth` with what
  the client gave at its CONNECT, answer `message` by a `message-back` of the same arguments, and ack
  `message-with-ack` with them.

Settings from the environment: HOST (localhost), PORT (3000), PING_INTERVAL_MS (300), PING_TIMEOUT_MS (200),
MAX_PAYLOAD in bytes (1000000), CONNECT_TIMEOUT_MS (1000). Every origin is allowed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from server.http import middleware
from server.realtime.engine import frames
from server.realtime.engine.server import Engine
from server.realtime.engine.session import Session
from server.realtime.server import RealtimeServer

NAMESPACES = ("/", "/custom")


@dataclass(frozen=True, slots=True)
class Options:
    """Times in seconds."""

    host: str = "localhost"
    port: int = 3000
    ping_interval: float = 0.3
    ping_timeout: float = 0.2
    max_payload: int = 1_000_000
    connect_timeout: float = 1.0


@dataclass(frozen=True, slots=True)
class Serving:
    url: str
    engine: Engine
    realtime: RealtimeServer


def read(environ: Mapping[str, str]) -> Options:
    given: dict[str, Any] = {
        "host": environ.get("HOST"),
        "port": _whole(environ, "PORT"),
        "ping_interval": _seconds(environ, "PING_INTERVAL_MS"),
        "ping_timeout": _seconds(environ, "PING_TIMEOUT_MS"),
        "max_payload": _whole(environ, "MAX_PAYLOAD"),
        "connect_timeout": _seconds(environ, "CONNECT_TIMEOUT_MS"),
    }
    return Options(**{name: value for name, value in given.items() if value is not None})


def _whole(environ: Mapping[str, str], name: str) -> int | None:
    return int(environ[name]) if name in environ else None


def _seconds(environ: Mapping[str, str], name: str) -> float | None:
    return int(environ[name]) / 1000 if name in environ else None


def echoing(options: Options, **more: Any) -> Engine:
    engine = Engine(
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        max_http_buffer_size=options.max_payload,
        **more,
    )

    def echo(session: Session, data: str | bytes) -> None:
        session.send(frames.message(data))

    def nothing(session: Session, what: web.Request | str) -> None:
        """To do when a session comes or goes."""

    engine.on("connect", nothing)
    engine.on("message", echo)
    engine.on("disconnect", nothing)
    return engine


def answering(options: Options, **more: Any) -> RealtimeServer:
    server = RealtimeServer(
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        max_http_buffer_size=options.max_payload,
        connect_timeout=options.connect_timeout,
        **more,
    )
    for namespace in NAMESPACES:
        _add_handlers(server, namespace)
    return server


def _add_handlers(server: RealtimeServer, namespace: str) -> None:
    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any] | None) -> None:
        await server.emit("auth", auth or {}, to=sid, namespace=namespace)

    async def message(sid: str, *arguments: Any) -> None:
        await server.emit("message-back", arguments, to=sid, namespace=namespace)

    async def message_with_ack(sid: str, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    server.on("connect", connect, namespace=namespace)
    server.on("message", message, namespace=namespace)
    server.on("message-with-ack", message_with_ack, namespace=namespace)


@asynccontextmanager
async def serving(
    options: Options, *, clock: Callable[[], float] = time.monotonic, **more: Any
) -> AsyncIterator[Serving]:
    """`more` is for the `RealtimeServer`."""
    engine, realtime = echoing(options, clock=clock), answering(options, clock=clock, **more)
    app = web.Application(middlewares=[middleware.origins(["*"], allow_loopback=False)])
    app.on_response_prepare.append(middleware.name_origin)
    engine.attach(app, "engine.io")

    async def shutdown(app: web.Application) -> None:
        await engine.shutdown()

    app.on_shutdown.append(shutdown)
    realtime.attach(app, "socket.io")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    try:
        await runner.setup()
        await web.TCPSite(runner, options.host, options.port).start()
        yield Serving(f"http://{options.host}:{runner.addresses[0][1]}", engine, realtime)
    finally:
        await runner.cleanup()


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(read(os.environ)) as server:
        print("READY", server.url, flush=True)  # noqa: T201 - a program that says where it serves
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
