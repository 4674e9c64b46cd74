"""Every touch of what aiohttp does not promise, in one place; `test_seams.py` says which one moved."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp._websocket.helpers import websocket_mask


def unmask(mask: bytes, body: bytearray) -> None:
    """In place, by aiohttp's C: twenty times as fast as what Python alone allows."""
    websocket_mask(mask, body)


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """The transport of a request, which is aiohttp's no more, and what came behind the request: aiohttp's task, parser
    and request can go, and with them three quarters of the memory of a connection. The handler must return a
    `Handed`. Raises ConnectionResetError when the client is gone already.
    """
    protocol = request.protocol
    if protocol.transport is None or protocol.transport.is_closing():
        raise ConnectionResetError
    transport, tail = protocol.transport, protocol._message_tail
    protocol.transport = None  # so that it lets go without closing
    protocol.connection_lost(None)
    transport.resume_reading()  # aiohttp pauses at a long tail
    return transport, tail


class Handed(web.Response):
    """The response of a request whose connection was taken over: there is nothing left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
