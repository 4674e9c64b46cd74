"""Clients by hand: a websocket that reads only when told and sends any bytes, a poller; and what they may leave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from server.realtime.workers import MAX_IDLE
from tests.realtime.inherited.client_frames import BINARY, CLOSE, TEXT, masked
from tests.support.client import PATIENCE
from tests.support.raw import POLLING, WEBSOCKET
from tests.support.running import Running, token

UNREAD_BYTES = 4096  # what the kernel and asyncio take for a reader that does not read, give or take


def connect_packet(sub: str = "alice", namespace: str = "/echo") -> str:
    return f'40{namespace},{{"token":"{token(sub)}"}}'


class Wire:
    """A websocket. What it does not `receive` stays in the kernel, and then at the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *packets: str | bytes) -> None:
        self.writer.write(b"".join(map(masked, packets)))
        await self.writer.drain()

    async def receive(self) -> str | bytes:
        """The next message. Raises EOFError, with the close code if there was one, at the end."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    opcode, body = await self._frame()
                except (asyncio.IncompleteReadError, ConnectionError):
                    raise EOFError from None
                if opcode == CLOSE:
                    raise EOFError(int.from_bytes(body[:2], "big"))
                if opcode == TEXT:
                    return body.decode()
                if opcode == BINARY:
                    return body

    async def expect(self, start: str) -> str:
        """The next text that begins so; the others are passed over."""
        while not isinstance(message := await self.receive(), str) or not message.startswith(start):
            pass
        return message

    async def ended(self) -> int | None:
        """Reads to the end; the close code, if it was told one."""
        try:
            while True:
                await self.receive()
        except EOFError as end:
            return end.args[0] if end.args else None

    async def drop(self) -> None:
        """Reads to the end, and looks at nothing."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    async def join(self, sub: str = "alice") -> None:
        await self.send(connect_packet(sub))
        await self.expect('42/echo,["connected"')

    def abort(self) -> None:
        """Gone without a word."""
        self.writer.transport.abort()

    async def _frame(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        assert not first & 0x70, "no extension was negotiated"
        assert first & 0x80, "the server has no need of fragments"
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)


@asynccontextmanager
async def wire(
    url: str, path: str = WEBSOCKET, headers: str = "", unread_bytes: int = UNREAD_BYTES
) -> AsyncIterator[Wire]:
    """`headers` are whole lines."""
    host, _, port = url.removeprefix("http://").partition(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread_bytes)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plain, limit=unread_bytes // 2)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
    )
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head.splitlines()[0], head
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


class Poller:
    """A session over long polling."""

    def __init__(self, http: aiohttp.ClientSession, url: str, sid: str = "") -> None:
        self.http = http
        self.url = url
        self.sid = sid

    async def get(self) -> tuple[int, list[str]]:
        """The status, and the packets."""
        async with self.http.get(self.url) as response:
            return response.status, (await response.text()).split("\x1e")

    async def post(self, *packets: str) -> int:
        async with self.http.post(self.url, data="\x1e".join(packets).encode()) as response:
            await response.read()
            return response.status

    async def expect(self, start: str) -> str:
        """Polls until a packet begins so."""
        async with asyncio.timeout(PATIENCE):
            while True:
                status, packets = await self.get()
                assert status == 200, packets
                for packet in packets:
                    if packet.startswith(start):
                        return packet

    async def join(self, sub: str = "alice") -> None:
        assert await self.post(connect_packet(sub)) == 200
        await self.expect('42/echo,["connected"')


@asynccontextmanager
async def poller(url: str) -> AsyncIterator[Poller]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        async with http.get(url + POLLING) as response:
            sid = json.loads((await response.text())[1:])["sid"]
        yield Poller(http, f"{url}{POLLING}&sid={sid}", sid)


async def eventually(condition: Callable[[], object]) -> None:
    """For what has no event of its own."""
    async with asyncio.timeout(PATIENCE / 2):  # below what the server itself waits for a client
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def becomes(measure: Callable[[], object], expected: object) -> None:
    with contextlib.suppress(TimeoutError):
        await eventually(lambda: measure() == expected)
    found = measure()
    assert found == expected, f"{found} is not {expected}"


def alive(*kinds: type) -> dict[str, int]:
    """How many objects of each kind there are: what leaks is found wherever it is kept."""
    gc.collect()
    counts = dict.fromkeys((kind.__name__ for kind in kinds), 0)
    for each in gc.get_objects():
        if type(each) in kinds:
            counts[type(each).__name__] += 1
    return counts


def held(server: Running) -> dict[str, Any]:
    """What a server holds for its clients."""
    realtime = server.realtime
    names = [task.get_name() for task in asyncio.all_tasks()]
    return {
        "sessions": len(realtime.eio.sessions),
        "members": len(realtime.manager),
        "environs": len(realtime.environ),
        "half-read packets": sum(each.state.pending is not None for each in realtime.eio.sessions.values()),
        "tasks": len(names) - names.count("worker"),
        "workers": max(MAX_IDLE, names.count("worker")),  # so many may stay for the next event
    }


@asynccontextmanager
async def leaving_nothing(server: Running) -> AsyncIterator[None]:
    """What the server holds at the end of the block is, soon, what it held before."""
    before = held(server)
    yield
    await becomes(lambda: held(server), before)
