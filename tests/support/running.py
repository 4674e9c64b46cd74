"""A whole server on port 0 in this process's loop, and tokens it accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from server.app import REALTIME, build_app
from server.auth.tokens import mint
from server.realtime.server import RealtimeServer
from server.settings import Settings, load

SECRET = "a test secret that is long enough for HS256"


def settings(**environ: object) -> Settings:
    """Quiet defaults for tests; `environ` by variable name."""
    base = {
        "DEBUG": "true",
        "JWT_SECRET_KEY": SECRET,
        "LOG_LEVEL": "WARNING",
        "RATE_LIMIT_EVENTS_PER_SECOND": "1000000",
        "STREAM_DELAY_MS": "0",
    }
    return load(base | {name: str(value) for name, value in environ.items()})


def token(sub: str = "alice", *, roles: Sequence[str] = (), tenant: str | None = None, lifetime: float = 3600) -> str:
    return mint(SECRET, sub, roles=roles, tenant=tenant, lifetime=lifetime)


@dataclass
class Running:
    url: str
    app: web.Application
    runner: web.AppRunner
    realtime: RealtimeServer


async def start(settings: Settings) -> Running:
    app = await asyncio.to_thread(build_app, settings)  # it reads files, before there is a loop to block
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    return Running(f"http://127.0.0.1:{port}", app, runner, app[REALTIME])
