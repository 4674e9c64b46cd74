"""Plain WebSockets by hand, at doors into the namespace of `tests.support.echo`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server.realtime.doors import Door
from server.realtime.engine.dialect import Dialect
from tests.realtime.inherited.wire import Wire, wire
from tests.support import echo, running
from tests.support.client import PATIENCE
from tests.support.running import Running

UNBOUNDED = 1_000_000  # bytes, more than any of these clients is behind
ECHO, PINGED = "/ws/echo", "/ws/pinged"
DOORS = (Door(ECHO, "/echo", Dialect()), Door(PINGED, "/echo", Dialect(pings=True)))


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Running, echo.EchoNamespace]]:
    """`tests.support.echo.serving` with both doors."""
    async with echo.serving(doors=DOORS, **options) as served:
        yield served


class Plain:
    """`heard` are the numbers of the news it got, in order."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.heard: list[int] = []
        self.id = ""

    async def say(self, kind: str, **payload: object) -> None:
        await self.wire.send(json.dumps({"type": kind, **payload}))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next of that type; others are passed over. Raises EOFError, with the close code, at the end."""
        while (message := await self.receive())["type"] != kind:
            pass
        return message

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.wire.receive())
        if message["type"] == "news":
            self.heard.append(message["n"])
        elif message["type"] == "connected":
            self.id = message["connection_id"]
        return message

    async def settle(self) -> None:
        """All that was sent before has arrived."""
        await self.say("ping", timestamp="settled")
        while (await self.hear("pong"))["timestamp"] != "settled":
            pass

    async def enter(self, *rooms: int) -> None:
        for room in rooms:
            await self.say("enter", number=room)
            await self.hear("ack")

    async def until(self, number: int) -> list[int]:
        """Reads on to that; what it `heard`."""
        async with asyncio.timeout(PATIENCE):
            while number not in self.heard:
                await self.receive()
        return self.heard


@asynccontextmanager
async def opening(
    server: Running, sub: str = "alice", *, path: str = ECHO, token: str | None = None, **how: Any
) -> AsyncIterator[Plain]:
    """It has heard nothing yet. `how` it does is `wire`'s; a small kernel buffer it has only where that says so."""
    path = f"{path}?token={running.token(sub) if token is None else token}"
    async with wire(server.url, path, **{"unread_bytes": UNBOUNDED} | how) as found:
        yield Plain(found)


@asynccontextmanager
async def plain(server: Running, sub: str = "alice", **how: Any) -> AsyncIterator[Plain]:
    """One that is connected; `how` it is opened."""
    async with opening(server, sub, **how) as found:
        await found.hear("connected")
        yield found
