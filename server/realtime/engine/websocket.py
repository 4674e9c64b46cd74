"""The websocket transport on aiohttp: reads frames into a session, and upgrades one that began with polling."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import WSMsgType, web

from server.realtime.engine import protocol
from server.realtime.engine.protocol import Malformed, TooBig
from server.realtime.engine.session import Session

UPGRADE_TIMEOUT_SECONDS = 10  # as Node
CLOSE_TIMEOUT_SECONDS = 2
SLACK_BYTES = 256 * 1024  # so that a message somewhat too big can be named before it is refused


class Websocket:
    """A session's peer: aiohttp reads, answers control frames and closes; data leaves by the session's outbox."""

    def __init__(self, most_bytes: int) -> None:
        self.socket = web.WebSocketResponse(max_msg_size=most_bytes + SLACK_BYTES, timeout=CLOSE_TIMEOUT_SECONDS)
        self._transport: asyncio.WriteTransport | None = None

    async def close(self, code: int) -> None:
        """A peer that does not answer, or does not even read, is cut off."""
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_SECONDS):
                await self.socket.close(code=code, drain=False)
        except TimeoutError:
            pass
        finally:
            if self._transport is not None:
                self._transport.abort()

    async def serve(self, request: web.Request, session: Session) -> web.WebSocketResponse:
        """A session that opens on this websocket, to its end."""
        await self.socket.prepare(request)
        self._attach(request, session)
        await self._read(session)
        return self.socket

    async def upgrade(self, request: web.Request, session: Session) -> web.WebSocketResponse:
        """A session that polls comes over here if its client asks for it in time; else it stays where it was."""
        await self.socket.prepare(request)
        if session.closed or session.upgrading or session.transport == "websocket":
            await self.socket.close(code=protocol.PROTOCOL_ERROR)
            return self.socket
        session.upgrading = True
        try:
            async with asyncio.timeout(UPGRADE_TIMEOUT_SECONDS):
                agreed = await self._probe(session)
        except (TimeoutError, OSError):
            agreed = False
        finally:
            session.upgrading = False
        if not agreed or session.closed:
            await self.socket.close(code=protocol.PROTOCOL_ERROR)
            return self.socket
        self._attach(request, session)
        await self._read(session)
        return self.socket

    async def _probe(self, session: Session) -> bool:
        """Whether the client tried this websocket and wants it. Raises OSError when it went away instead."""
        if await self._text() != f"{protocol.PING}{protocol.PROBE}":
            return False
        await self.socket.send_str(f"{protocol.PONG}{protocol.PROBE}")
        session.outbox.wake()  # the waiting poll ends, so that nothing is sent on two transports
        return await self._text() == protocol.UPGRADE

    def _attach(self, request: web.Request, session: Session) -> None:
        if request.transport is not None:
            self._transport = cast("asyncio.WriteTransport", request.transport)
            session.attach(self, self._transport)

    async def _text(self) -> str:
        """Raises OSError at the end of the websocket."""
        received = await self.socket.receive()
        if received.type is not WSMsgType.TEXT:
            raise OSError("no text")
        text: str = received.data
        return text

    async def _read(self, session: Session) -> None:
        reason, code = "transport close", protocol.NORMAL
        try:
            async for received in self.socket:
                if received.type is WSMsgType.ERROR:
                    reason = "transport error"
                    break
                await session.receive(received.data)
                if session.closed:
                    break
        except TooBig:
            reason, code = "transport error", protocol.TOO_BIG
        except Malformed:
            reason, code = "parse error", protocol.PROTOCOL_ERROR
        finally:
            await session.end(reason, code)
