"""Clients without a library: they say what they are told, show what they got, and answer pings by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.client import PATIENCE

PING, PONG = "2", "3"


class Poller:
    """One long-polling session."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url
        self.sid = ""

    async def open(self) -> dict[str, Any]:
        """The handshake."""
        status, body = await self.get()
        assert (status, body[0]) == (200, "0")
        handshake: dict[str, Any] = json.loads(body[1:])
        self.sid = handshake["sid"]
        self.url += f"&sid={self.sid}"
        return handshake

    async def request(self, method: str, body: str | None = None) -> tuple[int, str]:
        async with self._http.request(method, self.url, data=body) as response:
            return response.status, await response.text()

    async def get(self) -> tuple[int, str]:
        return await self.request("GET")

    async def post(self, body: str) -> tuple[int, str]:
        return await self.request("POST", body)

    async def poll(self) -> str:
        """The next payload that is no ping."""
        async with asyncio.timeout(PATIENCE):
            while True:
                status, body = await self.get()
                assert status == 200, body
                if body != PING:
                    return body
                await self.post(PONG)


class Websocket:
    """One websocket: a session's own, or the one it upgrades to."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            await (self._socket.send_str(packet) if isinstance(packet, str) else self._socket.send_bytes(packet))

    async def frame(self) -> str | bytes:
        """The next one, whatever it is. Raises EOFError at the close."""
        message = await self._socket.receive(timeout=PATIENCE)
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise EOFError(self._socket.close_code)
        data: str | bytes = message.data
        return data

    async def receive(self) -> str | bytes:
        """The next packet that is no ping. Raises EOFError at the close."""
        async with asyncio.timeout(PATIENCE):
            while (packet := await self.frame()) == PING:
                await self.send(PONG)
        return packet

    async def text(self) -> str:
        packet = await self.receive()
        assert isinstance(packet, str)
        return packet

    async def closed(self) -> int | None:
        """The close code; waits for it, and answers nothing meanwhile."""
        async with asyncio.timeout(PATIENCE):
            while not self._socket.closed:
                await self._socket.receive()
        return self._socket.close_code


class Door:
    """A path of a server that speaks Engine.IO."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url

    def poller(self, query: str = "EIO=4&transport=polling") -> Poller:
        return Poller(self._http, f"{self.url}?{query}")

    @asynccontextmanager
    async def websocket(self, sid: str | None = None) -> AsyncIterator[Websocket]:
        """Without a `sid` it opens a session, and the handshake is the first packet."""
        query = "EIO=4&transport=websocket" + ("" if sid is None else f"&sid={sid}")
        async with self._http.ws_connect(f"{self.url}?{query}") as socket:
            yield Websocket(socket)

    async def refusal(self, query: str) -> int:
        """The HTTP status that a websocket is refused with."""
        try:
            async with self._http.ws_connect(f"{self.url}?{query}"):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


@asynccontextmanager
async def door(url: str, path: str) -> AsyncIterator[Door]:
    async with aiohttp.ClientSession() as http:
        yield Door(http, f"{url}/{path}/")
