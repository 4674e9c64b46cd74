"""A namespace whose events try every rule of the base, and a server that serves only it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from marshmallow import fields

from server.auth.tokens import SecretKey, TokenAuthority
from server.errors import Forbidden
from server.realtime.admission import Admission
from server.realtime.connection import Connection
from server.realtime.doors import Door
from server.realtime.limits import Rate, RateLimits
from server.realtime.namespace import Namespace, event
from server.realtime.rooms import room_name
from server.realtime.schema import Count, Payload, Text
from server.realtime.server import Bounds, RealtimeServer
from tests.support.running import SECRET, Running, token

AS_IN_APP = {"ping_interval": 20, "ping_timeout": 10, "most_missed_pongs": 3}


class Say(Payload):
    text = Text(most=100_000, required=True)


class Number(Payload):
    number = Count(required=True)


class Answer(Payload):
    answer = Text(most=100, required=True)


class Anything(Payload):
    value = fields.Raw(required=True)


class EchoNamespace(Namespace):
    path = "/echo"

    def __init__(self, *, require_auth: bool = True) -> None:
        super().__init__(require_auth=require_auth)
        self.gate = asyncio.Event()
        self.order: list[int] = []
        self.gone_reasons: list[str] = []
        self.gone_event = asyncio.Event()
        self.entered = asyncio.Event()

    async def left(self, connection: Connection, rooms_left: Any, reason: str) -> None:
        self.gone_reasons.append(reason)
        self.gone_event.set()

    @event("echo", Say)
    async def echo(self, connection: Connection, text: str) -> Mapping[str, object]:
        return {"text": text}

    @event("any", Anything)
    async def any(self, connection: Connection, value: object) -> Mapping[str, object]:
        return {"value": value}

    @event("limited", rate="queries")
    async def limited(self, connection: Connection) -> None:
        return None

    @event("wait", Number)
    async def wait(self, connection: Connection, number: int) -> None:
        """Held at the gate; `order` tells in which order they were done."""
        self.entered.set()
        await self.gate.wait()
        self.order.append(number)

    @event("note", Number)
    async def note(self, connection: Connection, number: int) -> None:
        self.order.append(number)

    @event("boom")
    async def boom(self, connection: Connection) -> None:
        raise RuntimeError("secret detail")

    @event("forbidden")
    async def forbidden(self, connection: Connection) -> None:
        raise Forbidden("Not you")

    @event("enter", Number)
    async def enter_numbered(self, connection: Connection, number: int) -> None:
        await self.enter(connection, room_name(connection.tenant, "numbered", str(number)))

    @event("shout", Say)
    async def shout(self, connection: Connection, text: str) -> None:
        await self.emit("shouted", {"text": text}, room=room_name(connection.tenant, "numbered", "1"))

    @event("ask_inline")
    async def ask_inline(self, connection: Connection) -> None:
        await self.ask(connection, "question", {}, Answer, timeout=5)


def connect_packet(sub: str = "alice") -> str:
    """What a raw client enters with."""
    return f'40/echo,{{"token":"{token(sub)}"}}'


@asynccontextmanager
async def serving(
    *,
    bounds: Bounds | None = None,
    rates: Mapping[str, Rate] | None = None,
    exempt_loopback: bool = True,
    require_auth: bool = True,
    now: Any = None,
    port: int = 0,
    doors: Sequence[Door] = (),
    **options: Any,
) -> AsyncIterator[tuple[Running, EchoNamespace]]:
    limits = RateLimits(rates or {})
    bounds = bounds or Bounds()
    clock = {} if now is None else {"now": now}
    admission = Admission(
        TokenAuthority({"HS256": SecretKey(SECRET)}, **clock),
        limits,
        max_connections=bounds.max_connections,
        exempt_loopback=exempt_loopback,
        **clock,
    )
    server = RealtimeServer(admission, limits, bounds=bounds, **(AS_IN_APP | options))
    namespace = EchoNamespace(require_auth=require_auth)
    server.add(namespace)
    app = web.Application()

    async def open_gate(app: web.Application) -> None:
        namespace.gate.set()

    app.on_shutdown.append(open_gate)
    server.attach(app)
    server.open_doors(app, doors)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield Running(f"http://127.0.0.1:{runner.addresses[0][1]}", app, runner, server), namespace
    finally:
        await runner.cleanup()
