"""python-engineio held to our bounds: sizes, packet counts, malformed frames, sockets. It knows no Socket.IO.

Every touch of python-engineio's private parts is here; `tests/realtime/test_engine.py` says which one moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import engineio
import orjson
from aiohttp import WSMsgType, web
from engineio import packet, payload

# Stock answers 200 to a POST of more than 16 packets and drops them all; the size limit bounds us already.
payload.Payload.max_decode_packets = 10_000

_PACKET_TYPES = frozenset("0123456")
_SLACK_BYTES = 256 * 1024

#: Tells the limit in bytes for a message, from the transport's id and its first characters.
MessageLimit = Callable[[str, str | bytes], int]
#: What to send, as Engine.IO packets, before a transport is closed for a message that was too big.
TooBigNotice = Callable[[str], list[str]]


class WebSocket:
    """The driver that python-engineio is given for aiohttp: reads and writes one websocket, and refuses what is not
    Engine.IO before it reaches code that would fail on it."""

    def __init__(self, handler: Any, server: Engine) -> None:
        self._handler = handler
        self._server = server
        self._socket = web.WebSocketResponse(max_msg_size=server.max_http_buffer_size + _SLACK_BYTES)

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        await self._socket.prepare(environ["aiohttp.request"])
        await self._handler(self)
        return self._socket

    async def close(self) -> None:
        await self._socket.close()

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self._socket.send_bytes(message)
        else:
            await self._socket.send_str(message)

    async def wait(self) -> str | bytes:
        """The next message. Raises OSError when there will be none, which is what python-engineio expects."""
        received = await self._socket.receive()
        if received.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise OSError(f"websocket {received.type.name.lower()}")
        message: str | bytes = received.data
        transport_id = self._handler.__self__.sid
        if _size(message) > self._server.message_limit(transport_id, message):
            for packet in self._server.too_big_notice(transport_id):
                await self._socket.send_str(packet)
            await self._socket.close(code=1009, message=b"message too big")
            raise OSError("message too big")
        if isinstance(message, str) and message[:1] not in _PACKET_TYPES:
            await self._socket.close(code=1002, message=b"not an Engine.IO packet")
            raise OSError("not an Engine.IO packet")
        return message


class Engine(engineio.AsyncServer):  # type: ignore[misc] # python-engineio is untyped
    message_limit: MessageLimit
    too_big_notice: TooBigNotice
    max_sockets: int

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._async: dict[str, Any] = {**self._async, "websocket": WebSocket}

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        transport_id = request.query.get("sid")
        if transport_id is None and len(self.sockets) >= self.max_sockets:
            return _refuse(503, "Server full")
        if request.method == "POST":
            # Stock waits for the queue to be read by a client that it just refused, for ever.
            if request.content_length is None:
                return _refuse(411, "Content-Length is required")
            if request.content_length > self.max_http_buffer_size:
                await self.close(transport_id or "")
                return _refuse(413, "Payload too large")
        socket = self.sockets.get(transport_id)
        response: web.StreamResponse = await super().handle_request(request)
        if request.method == "POST" and socket is not None and socket.closed:
            # The client's CLOSE: stock leaves its pending GET hanging until the next ping would have been due.
            socket.queue.put_nowait(packet.Packet(packet.NOOP))
        return response

    async def close(self, transport_id: str) -> None:
        """Ends a transport without waiting for its client to read what is queued."""
        socket = self.sockets.get(transport_id)
        if socket is not None:
            await socket.close(wait=False, reason=self.reason.SERVER_DISCONNECT)
            # The reader task of a websocket ends the socket; a poller may never come again.
            if not socket.upgraded:
                self.sockets.pop(transport_id, None)
            else:
                await socket.queue.put(None)

    def address(self, environ: dict[str, Any]) -> str:
        """The peer's address; python-engineio's REMOTE_ADDR is always 127.0.0.1."""
        request: web.Request = environ["aiohttp.request"]
        return request.remote or ""


def _size(message: str | bytes) -> int:
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())


def _refuse(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"message": message}), content_type="application/json")
