"""Atrium as it is deployed: tokens, rates, schemas, heartbeats, bounds and compression are on, and nothing is raised
but the rates, which the load would exceed, and the number of connections: `python -m ... PORT SECRET [REDIS_URL]`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import uvloop
from aiohttp import web
from marshmallow import fields, validate

from server.__main__ import rest_collector
from server.auth.tokens import SecretKey, TokenAuthority
from server.http import middleware
from server.observability import logs
from server.realtime.admission import CONNECT_RATE, Admission
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds as DispatchBounds
from server.realtime.cluster.dispatch import Dispatch
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.sessions import Sessions
from server.realtime.connection import Connection
from server.realtime.doors import Door
from server.realtime.engine.dialect import Dialect
from server.realtime.limits import Rate, RateLimits
from server.realtime.namespace import EVENT_RATE, Namespace, event
from server.realtime.rooms import EVERYONE
from server.realtime.schema import Count, Payload, Text
from server.realtime.server import Bounds, RealtimeServer
from tests.bench.servers.emitting import BURST, emitting

REDIS_PREFIX = "bench"

MILLIONS = Rate(5_000_000, 1)


class Say(Payload):
    text = Text(most=1000, required=True)
    number = Count(required=True)


class Join(Payload):
    room = Text(most=100, required=True)


class Fill(Payload):
    room = Text(most=100, required=True)
    messages = Count(required=True)
    payload = fields.Dict(required=True)


class Broadcast(Payload):
    pattern = fields.String(validate=validate.OneOf(["paced", "back_to_back", "burst"]), required=True)
    messages = Count(required=True)
    interval_ms = Count(required=True)
    payloads = fields.List(fields.Dict(), required=True)
    room = Text(most=100, load_default=EVERYONE)


class Bench(Namespace):
    path = "/bench"

    @event("echo", Say)
    async def echo(self, connection: Connection, text: str, number: int) -> Mapping[str, object]:
        return {"text": text, "number": number}

    @event("broadcast", Broadcast)
    async def broadcast(
        self,
        connection: Connection,
        pattern: str,
        messages: int,
        interval_ms: int,
        payloads: list[dict[str, Any]],
        room: str,
    ) -> None:
        async def emit(payload: Mapping[str, object]) -> None:
            await self.emit("tick", payload, room=room)

        command = emitting(emit, pattern=pattern, messages=messages, interval_ms=interval_ms, payloads=payloads)
        self.spawn(command, "broadcast")

    @event("join", Join)
    async def join(self, connection: Connection, room: str) -> None:
        await self.enter(connection, room)

    @event("fill", Fill)
    async def fill(self, connection: Connection, room: str, messages: int, payload: dict[str, Any]) -> None:
        """Acked when all of it is in the room's log."""
        for number in range(messages):
            await self.emit("tick", payload, room=room)
            if number % BURST == 0:
                await self.flushed()
        await self.flushed()


def one_among_many(redis_url: str) -> dict[str, Any]:
    """As `server.app` makes it by default."""
    node = Node(connector(redis_url), REDIS_PREFIX)
    dispatch = Dispatch(node.id, node.keys, node.commands, DispatchBounds())
    return {"node": node, "manager": ClusterFanout(node, dispatch, Sessions(node, seconds=120, unnoticed=60))}


async def serve(port: int, secret: str, redis_url: str | None = None, *, namespace: Namespace | None = None) -> None:
    limits = RateLimits({EVENT_RATE: MILLIONS, CONNECT_RATE: MILLIONS})
    admission = Admission(TokenAuthority({"HS256": SecretKey(secret)}), limits, max_connections=10_000)
    cluster = {} if redis_url is None else one_among_many(redis_url)
    realtime = RealtimeServer(admission, limits, bounds=Bounds(max_connections=10_000), **cluster)
    realtime.add(namespace or Bench())
    app = web.Application(middlewares=[middleware.origins([], allow_loopback=False), middleware.errors])
    realtime.attach(app)
    realtime.open_doors(app, [Door("/ws/bench", "/bench", Dialect())])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    rest_collector()
    print("READY", flush=True)  # noqa: T201
    await asyncio.Event().wait()


def run(serving: Coroutine[Any, Any, None]) -> None:
    logs.configure(level="WARNING", readable=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    options = [each for each in sys.argv[3:] if each != "deflate"]  # it deflates anyway
    run(serve(int(sys.argv[1]), sys.argv[2], *options))
