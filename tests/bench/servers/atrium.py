"""Atrium as it is deployed: tokens, rates, schemas, heartbeats, bounds and compression are on, and nothing is raised
but the rates, which the load would exceed, and the number of connections."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import uvloop
from aiohttp import web
from marshmallow import fields, validate

from server.__main__ import rest_collector
from server.auth.tokens import SecretKey, TokenAuthority
from server.http import middleware
from server.observability import logs
from server.realtime.admission import CONNECT_RATE, Admission
from server.realtime.connection import Connection
from server.realtime.limits import Rate, RateLimits
from server.realtime.namespace import EVENT_RATE, Namespace, event
from server.realtime.rooms import EVERYONE
from server.realtime.schema import Count, Payload, Text
from server.realtime.server import Bounds, RealtimeServer
from tests.bench.servers.emitting import emitting

MILLIONS = Rate(5_000_000, 1)


class Say(Payload):
    text = Text(most=1000, required=True)
    number = Count(required=True)


class Broadcast(Payload):
    pattern = fields.String(validate=validate.OneOf(["paced", "back_to_back", "burst"]), required=True)
    messages = Count(required=True)
    interval_ms = Count(required=True)
    payloads = fields.List(fields.Dict(), required=True)


class Bench(Namespace):
    path = "/bench"

    @event("echo", Say)
    async def echo(self, connection: Connection, text: str, number: int) -> Mapping[str, object]:
        return {"text": text, "number": number}

    @event("broadcast", Broadcast)
    async def broadcast(
        self, connection: Connection, pattern: str, messages: int, interval_ms: int, payloads: list[dict[str, Any]]
    ) -> None:
        async def emit(payload: Mapping[str, object]) -> None:
            await self.emit("tick", payload, room=EVERYONE)

        command = emitting(emit, pattern=pattern, messages=messages, interval_ms=interval_ms, payloads=payloads)
        self.spawn(command, "broadcast")


async def serve(port: int, secret: str) -> None:
    limits = RateLimits({EVENT_RATE: MILLIONS, CONNECT_RATE: MILLIONS})
    admission = Admission(TokenAuthority({"HS256": SecretKey(secret)}), limits, max_connections=10_000)
    realtime = RealtimeServer(admission, limits, bounds=Bounds(max_connections=10_000))
    realtime.add(Bench())
    app = web.Application(middlewares=[middleware.origins([], allow_loopback=False), middleware.errors])
    realtime.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    rest_collector()
    print("READY", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    logs.configure(level="WARNING", readable=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), sys.argv[2]))
