"""A plain WebSocket client that keeps what it received, so that tests await messages instead of sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.client import PATIENCE
from tests.support.running import Running, token

Said = dict[str, Any]


def address(server: Running, path: str, sub: str | None = None, **claims: Any) -> str:
    query = "" if sub is None else f"?token={token(sub, **claims)}"
    return f"{server.url.replace('http', 'ws', 1)}{path}{query}"


class Plain:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[Said] = []
        self._taken: set[int] = set()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.say(json.dumps({"type": kind, **fields}))

    async def say(self, message: str | bytes) -> None:
        await self.socket.send(message)

    async def next(self) -> Said:
        """The next message, whatever it is; one that `expect` passed by is not seen again here."""
        async with asyncio.timeout(PATIENCE):
            said: Said = json.loads(await self.socket.recv())
        self.received.append(said)
        return said

    async def expect(self, kind: str, matching: Callable[[Said], bool] = lambda said: True) -> Said:
        """The oldest message of this type that no earlier `expect` took; waits for it."""
        at = 0
        while True:
            while at == len(self.received):
                await self.next()
            said = self.received[at]
            if at not in self._taken and said["type"] == kind and matching(said):
                self._taken.add(at)
                return said
            at += 1

    async def settle(self) -> None:
        """What was sent before now was handled: a ping went behind it and came back."""
        mark = f"settle {len(self.received)}"
        await self.send("ping", timestamp=mark)
        await self.expect("pong", lambda said: said["timestamp"] == mark)

    def of(self, kind: str) -> list[Said]:
        """All so far."""
        return [said for said in self.received if said["type"] == kind]

    async def closed(self) -> int:
        """Reads to the end; the code that it was closed with."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.next()
        assert self.socket.close_code is not None
        return self.socket.close_code


@asynccontextmanager
async def plain(
    server: Running, path: str, sub: str | None = None, *, headers: dict[str, str] | None = None, **claims: Any
) -> AsyncIterator[Plain]:
    uri = address(server, path, sub, **claims)
    async with connect(uri, additional_headers=headers or {}, max_queue=None) as socket:  # it reads all the time
        yield Plain(socket)
