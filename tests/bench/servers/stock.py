"""python-socketio as it comes, on aiohttp and uvloop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import jwt
import socketio
import uvloop
from aiohttp import web

from tests.bench.servers.emitting import emitting

NAMESPACE = "/bench"


async def serve(port: int, secret: str) -> None:
    server = socketio.AsyncServer(async_mode="aiohttp")

    @server.on("connect", namespace=NAMESPACE)
    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
        try:
            jwt.decode(auth["token"], secret, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise socketio.exceptions.ConnectionRefusedError("invalid token") from error

    @server.on("echo", namespace=NAMESPACE)
    async def echo(sid: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "text": payload["text"], "number": payload["number"]}

    @server.on("broadcast", namespace=NAMESPACE)
    async def broadcast(sid: str, command: dict[str, Any]) -> None:
        async def emit(payload: dict[str, Any]) -> None:
            await server.emit("tick", payload, namespace=NAMESPACE)

        server.start_background_task(emitting, emit, **command)

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("READY", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), sys.argv[2]))
