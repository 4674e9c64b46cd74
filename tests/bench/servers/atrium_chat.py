"""Atrium as it is deployed, for chat and the monitor: nothing is raised but the rates, which the load would exceed,
sessions have no agent, and nothing is traded: `python -m ... DIRECTORY PORT SECRET DATABASE_URL`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from server.__main__ import rest_collector
from server.app import build_app
from server.observability import logs
from server.settings import Settings, load

MILLIONS = "5000000"


async def serve(settings: Settings) -> None:
    runner = web.AppRunner(build_app(settings), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", settings.port).start()
    rest_collector()
    print("READY", flush=True)  # noqa: T201
    await asyncio.Event().wait()


def settings(directory: str, port: str, secret: str, database_url: str) -> Settings:
    return load(
        {
            "PORT": port,
            "JWT_SECRET_KEY": secret,
            "DATABASE_URL": database_url,
            "DATA_DIR": directory,
            "FILE_STORAGE_PATH": f"{directory}/files",
            "LOG_LEVEL": "WARNING",
            "CHAT_DEFAULT_AGENT": "",
            "TRADING_FEED": "none",
            "RATE_LIMIT_MESSAGES_PER_MINUTE": MILLIONS,
            "RATE_LIMIT_EVENTS_PER_SECOND": MILLIONS,
            "RATE_LIMIT_CONNECTS_PER_SECOND": MILLIONS,
        }
    )


if __name__ == "__main__":
    logs.configure(level="WARNING", readable=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings(*sys.argv[1:])))
