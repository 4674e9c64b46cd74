"""A stock JavaScript client as a process that does what it is told, to be dropped and to come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.client import PATIENCE
from tests.support.process import Process, running
from tests.support.raw import RawSocket
from tests.support.running import Running, token

PROGRAM = Path(__file__).parents[1] / "clients" / "recovering.mjs"


def auth(**more: object) -> dict[str, object]:
    """Of a client that asks for recovery."""
    return {"token": token(), "recovery": True, **more}


class Client:
    """A stock client in a process of its own; `heard` is all that it told, in order."""

    def __init__(self, process: Process) -> None:
        self.process = process.process
        self.heard: list[list[Any]] = []

    async def tell(self, *line: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(line)}\n".encode())
        await self.process.stdin.drain()

    async def expect(self, event: str) -> list[Any]:
        """Reads on to the next such event; its arguments."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self.process.stdout.readline()
                if not line:
                    raise EOFError(self.heard)
                self.heard.append(json.loads(line))
                if self.heard[-1][0] == event:
                    return self.heard[-1][1:]

    async def connect(self) -> dict[str, Any]:
        """What the client says that it is: its `id` and `pid`, and whether it `recovered`; the server says the same."""
        await self.tell("connect")
        return await self.connected()

    async def connected(self) -> dict[str, Any]:
        [there] = await self.expect("connect")
        [greeting, *_] = await self.expect("connected")
        assert (greeting["connection_id"], greeting["recovered"]) == (there["id"], there["recovered"])
        return dict(there)

    async def call(self, event: str, payload: object = None) -> Any:
        await self.tell("call", event, payload or {})
        [ack] = await self.expect("ack")
        return ack

    async def cut(self) -> None:
        """Its TCP connection ends, from its side."""
        await self.tell("cut")
        await self.expect("disconnect")

    async def end(self) -> None:
        """Reads what it told and nobody waited for: asyncio waits for a process until its pipe is empty."""
        assert self.process.stdout is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.stdout.read()
        await self.process.wait()

    async def settle(self) -> None:
        await self.call("ping")

    def numbers(self, event: str = "news") -> list[int]:
        return [arguments[0]["n"] for name, *arguments in self.heard if name == event]


@asynccontextmanager
async def client(
    server: Running, transport: str = "websocket", *, namespace: str = "/echo", **more: object
) -> AsyncIterator[Client]:
    async with running("node", PROGRAM, server.url, namespace, transport, NODE_NO_WARNINGS="1") as process:
        client = Client(process)
        await client.tell("auth", auth(**more))
        try:
            yield client
        finally:
            await client.end()


async def raw_connect(raw: RawSocket, namespace: str = "/echo", **more: object) -> dict[str, Any]:
    """The CONNECT reply to a client that asks for recovery."""
    await raw.send(f"40{namespace},{json.dumps(auth(**more))}")
    return dict(json.loads((await raw.expect(f"40{namespace},")).partition(",")[2]))


async def abort(server: Running) -> None:
    """Every TCP connection ends, from the server's side."""
    for session in list(server.realtime.eio.sessions.values()):
        while session.transport == "polling" and not session.polling:  # noqa: ASYNC110 - nothing announces the next GET
            await asyncio.sleep(0.01)
        if session.outbox._transport is not None:
            session.outbox._transport.abort()
    assert server.runner.server is not None
    for request in server.runner.server.connections:
        if request.transport is not None:
            request.transport.abort()
