"""Clients for tests: quick to come back, closed at the end, and leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from clients.python import Client, ReconnectPolicy
from clients.python.connection import Connection
from clients.python.tokens import Token
from tests.support.client import PATIENCE
from tests.support.running import token

QUICK = ReconnectPolicy(first=0.02, factor=1.5, longest=0.3)


_open: set[Client] = set()


@asynccontextmanager
async def client(
    url: str, sub: Token = "alice", *, roles: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[Client]:
    """`sub`: a user's name, or a callback for the token. The last one that closes checks that no task is left."""
    credentials = token(sub, roles=roles) if isinstance(sub, str) else sub
    opened = Client(url, credentials, **{"policy": QUICK, **options})
    _open.add(opened)
    try:
        async with asyncio.timeout(60), opened:
            yield opened
    finally:
        _open.discard(opened)
    if not _open:
        ours = {"connection", "session", "channel", "sender", "fallback", "monitor", "copilot"}
        assert not [task for task in asyncio.all_tasks() if task.get_name().split(" ")[0] in ours]


async def until_state(connection: Connection, *states: str) -> None:
    await until(connection, lambda: connection.state in states)


async def until(connection: Connection, holds: Callable[[], bool]) -> None:
    """Looked at whenever its state is told."""
    changed = asyncio.Event()
    stop = connection.on_state(changed.set)
    async with asyncio.timeout(PATIENCE):
        while not holds():
            changed.clear()
            await changed.wait()
    stop()


async def some(items: Any, count: int) -> list[Any]:
    """The next so many."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(items) for _ in range(count)]


class Filter:
    """A TCP proxy that refuses connections whose first bytes hold one of `refused`, as some networks do."""

    def __init__(self, port: int) -> None:
        self.refused: tuple[bytes, ...] = ()
        self._target = port
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Filter:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, thither = await asyncio.open_connection("127.0.0.1", self._target)
        pair = {writer, thither}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump(reader, thither, check=True))
                ways.create_task(self._pump(there, writer, check=False))
        except* (OSError, EOFError):
            pass
        finally:
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, check: bool) -> None:
        while chunk := await source.read(65_536):
            if check and any(each in chunk for each in self.refused):
                raise EOFError
            sink.write(chunk)
            await sink.drain()
        raise EOFError
