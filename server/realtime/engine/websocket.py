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
DRAIN_CHECK_SECONDS = 0.02
FRAMES_A_TURN = 64  # of one socket that has them ready, before others get theirs
SLACK_BYTES = 256 * 1024  # so that a message somewhat too big can be named before it is refused


class Websocket:
    """A session's peer: aiohttp reads, answers control frames and closes; data leaves by the session's outbox."""

    def __init__(self, request: web.Request, most_bytes: int) -> None:
        self._request = request
        # Pings are answered in `_read`: aiohttp would answer a flood of them without ever letting others run.
        self.socket = web.WebSocketResponse(
            max_msg_size=most_bytes + SLACK_BYTES, timeout=CLOSE_TIMEOUT_SECONDS, autoping=False
        )

    async def open(self) -> None:
        """Raises ConnectionResetError when the client is gone already."""
        await self.socket.prepare(self._request)
        if self._request.transport is None:
            raise ConnectionResetError

    async def close(self, code: int) -> None:
        """What was written before leaves before; a peer that does not read is cut off after a while."""
        transport = self._request.transport
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self.socket.close(code=code, drain=False)
                while transport is not None and transport.get_write_buffer_size():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(DRAIN_CHECK_SECONDS)
        except TimeoutError:
            if transport is not None:
                transport.abort()

    async def serve(self, session: Session) -> web.WebSocketResponse:
        """A session from here to its end."""
        if self._request.transport is None:
            await session.end("transport close")
            return self.socket
        session.attach(self, cast("asyncio.WriteTransport", self._request.transport))
        reason, code = "transport close", protocol.NORMAL
        try:
            reason = await self._read(session)
        except TooBig:
            reason, code = "transport error", protocol.TOO_BIG
        except Malformed:
            reason, code = "parse error", protocol.PROTOCOL_ERROR
        finally:
            await session.end(reason, code)
        return self.socket

    async def upgrade(self, session: Session) -> web.WebSocketResponse:
        """A session that polls comes over here if its client asks for it in time; else it stays where it was."""
        await self.open()
        if session.closed or session.probed or session.transport == "websocket":
            await self.close(protocol.PROTOCOL_ERROR)
            return self.socket
        session.probed = True
        try:
            async with asyncio.timeout(UPGRADE_TIMEOUT_SECONDS):
                agreed = await self._probe(session)
        except (TimeoutError, OSError):
            agreed = False
        finally:
            session.probed = session.upgrading = False
        if not agreed or session.closed:
            await self.close(protocol.PROTOCOL_ERROR)
            return self.socket
        return await self.serve(session)

    async def _probe(self, session: Session) -> bool:
        """Whether the client tried this websocket and wants it. Raises OSError when it went away instead."""
        if await self._text() != f"{protocol.PING}{protocol.PROBE}":
            return False
        session.upgrading = True
        await self.socket.send_str(f"{protocol.PONG}{protocol.PROBE}")
        session.outbox.wake()  # the waiting poll ends, so that nothing is sent on two transports
        return await self._text() == protocol.UPGRADE

    async def _text(self) -> str:
        """Raises OSError at the end of the websocket."""
        received = await self.socket.receive()
        if received.type is not WSMsgType.TEXT:
            raise OSError("no text")
        text: str = received.data
        return text

    async def _read(self, session: Session) -> str:
        """To the end of the websocket or of the session; why it ended."""
        frames_read = 0
        async for received in self.socket:
            if received.type is WSMsgType.PING:
                try:
                    await self.socket.pong(received.data)
                except ConnectionError:
                    break
            elif received.type is WSMsgType.ERROR:
                return "transport error"
            elif received.type is not WSMsgType.PONG:
                await session.receive(received.data)
            if session.closed:
                break
            frames_read += 1
            if frames_read % FRAMES_A_TURN == 0:
                await asyncio.sleep(0)
        return "transport close"
