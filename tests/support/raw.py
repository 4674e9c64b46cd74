"""An Engine.IO websocket without a client library, to say what no library would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.support.client import PATIENCE

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"


class RawSocket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)

    async def expect(self, start: str) -> str:
        """The next text frame that begins so; others, and pings, are passed over. Raises EOFError at the close."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise EOFError(self.socket.close_code)
                if message.data.startswith(start):
                    text: str = message.data
                    return text

    async def closed(self) -> int | None:
        """Waits for the server to close, and tells its close code."""
        async with asyncio.timeout(PATIENCE):
            while not self.socket.closed:
                await self.socket.receive()
        return self.socket.close_code


@asynccontextmanager
async def raw_socket(url: str, *, headers: dict[str, str] | None = None) -> AsyncIterator[RawSocket]:
    async with aiohttp.ClientSession() as http, http.ws_connect(url + WEBSOCKET, headers=headers) as socket:
        yield RawSocket(socket)
