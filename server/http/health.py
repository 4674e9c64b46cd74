"""Whether the server lives and is ready; what makes it ready is told to it as named checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from server.http.middleware import json_response
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

CHECK_SECONDS = 2

Check = Callable[[], Awaitable[None]]


def routes(checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """`checks` raise when what they are named after is not usable."""

    async def alive(request: web.Request) -> web.Response:
        return json_response({"status": "healthy", "service": "atrium", "timestamp": iso_utc()})

    async def ready(request: web.Request) -> web.Response:
        states = dict(zip(checks, await asyncio.gather(*map(_state, checks.items())), strict=True))
        healthy = all(state == "ok" for state in states.values())
        body = {"status": "ready" if healthy else "degraded", "checks": states}
        return json_response(body, 200 if healthy else 503)

    return [web.get("/health", alive), web.get("/healthz", alive), web.get("/readyz", ready)]


async def _state(check: tuple[str, Check]) -> str:
    name, run = check
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await run()
    except Exception as error:  # whatever it is, it is not ready
        log.warning("not ready", check=name, error=repr(error))
        return "failed"
    return "ok"
