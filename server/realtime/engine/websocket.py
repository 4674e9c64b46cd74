"""The websocket transport: a connection taken over from aiohttp, whose messages go to a session as they come in."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import structlog
from aiohttp import web

from server.realtime.engine import frames, protocol, seams
from server.realtime.engine.handshake import Agreement
from server.realtime.engine.protocol import Malformed, TooBig
from server.realtime.engine.reader import Broken, Closing, Message, Ping, Pong, Reader
from server.realtime.engine.session import Session

log = structlog.get_logger(__name__)

UPGRADE_TIMEOUT_SECONDS = 10  # as Node
CLOSE_TIMEOUT_SECONDS = 2
MESSAGES_A_TURN = 64  # of one socket that has them ready, before others get theirs
SLACK_BYTES = 256 * 1024  # so that a message somewhat too big can be named before it is refused
MOST_UNREAD_BYTES = 64 * 1024  # of answers to a peer that pings and does not read

INTERNAL = 1011


class Host(Protocol):
    """What a websocket needs of the engine."""

    def start(self, work: Coroutine[Any, Any, None]) -> object: ...

    def on_lost(self, websocket: Websocket) -> None:
        """Its connection is; calls its `lost` soon."""


class Websocket(asyncio.Protocol):
    """A session's peer. Data leaves by the session's outbox; what comes in is handed to the session one by one, and
    while one is awaited nothing more is read."""

    __slots__ = (
        "_broken",
        "_busy",
        "_closing",
        "_deflate",
        "_host",
        "_lost",
        "_reader",
        "_session",
        "_timer",
        "_transport",
    )

    def __init__(self, transport: asyncio.Transport, reader: Reader, host: Host, *, deflate: bool) -> None:
        self._transport = transport
        self._reader = reader
        self._host = host
        self._deflate = deflate
        self._broken = False
        self._session: Session | None = None
        self._busy = False
        self._closing = False
        self._lost = False
        self._timer: asyncio.TimerHandle | None = None

    # -- a session's peer ---------------------------------------------------------------------------------------

    def serve(self, session: Session, first: Callable[[], Awaitable[None]] | None = None) -> None:
        """A session from here to its end. Nothing is read before what is `first` is done."""
        if session.closed:  # the server stops
            self.close(protocol.GOING_AWAY)
            return
        if self._closing or self._transport.is_closing():
            session.end("transport close")
            return
        self._session = session
        session.attach(self, self._transport, deflate=self._deflate)
        if first is not None:
            self._hold(first())
        elif not self._busy:
            self._pump()  # what came with the handshake

    def probe(self, session: Session) -> None:
        """A session that polls comes over here if its client asks for it in time; else it stays where it was."""
        if session.closed or session.probed or session.transport == "websocket":
            self.close(protocol.PROTOCOL_ERROR)
            return
        session.probed = True
        self._session = session
        self._timer = asyncio.get_running_loop().call_later(UPGRADE_TIMEOUT_SECONDS, self.close, protocol.NORMAL)
        self._pump()

    def close(self, code: int) -> None:
        """What was written before leaves before; a peer that does not read or answer is cut off after a while."""
        if self._closing:
            return
        self._closing = True
        self._leave_probe()
        if not self._transport.is_closing():
            self._transport.write(frames.close(code))
        self._set_timer()

    # -- what the transport calls -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        if self._busy:
            self._reader.feed(data)
        else:
            self._pump(data)

    def pause_writing(self) -> None:
        if self._session is not None:
            self._session.outbox.pause()

    def resume_writing(self) -> None:
        if self._session is not None and not self._session.probed:
            self._session.outbox.resume()

    def eof_received(self) -> bool:
        """Ten thousand may go in one turn of the loop, so no more is done here than must be: even the transport is
        closed later."""
        self._lose()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()  # now: it may be due in this very turn, and the transport is of no use afterwards
        self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._host.on_lost(self)

    def lost(self) -> None:
        """The rest of it, when the engine finds the time."""
        self._transport.close()
        self._stop_timer()
        if self._transport.get_write_buffer_size():  # a peer that closed its half only, and may never read the rest
            self._set_timer()
        self._leave_probe()
        session, self._session = self._session, None
        if session is not None:
            session.end("transport close")

    # -- what comes in ------------------------------------------------------------------------------------------

    def _pump(self, data: bytes = b"") -> None:
        """Hands over what has come, at most some of it at once."""
        try:
            only = self._reader.only(data)
            if only is not None:
                if (work := self._take(only)) is not None:
                    self._hold(work)
                return
            self._reader.feed(data)
            for _ in range(MESSAGES_A_TURN):
                message = self._reader.next()
                if message is None:
                    return
                work = self._take(message)
                if work is not None:
                    self._hold(work)
                    return
        except Broken as error:
            self._end("transport error", error.code)
        except TooBig:
            self._end("transport error", protocol.TOO_BIG)
        except Malformed:
            self._end("parse error", protocol.PROTOCOL_ERROR)
        except Exception:
            log.exception("message failed")
            self._end("transport error", INTERNAL)
        else:
            self._hold(asyncio.sleep(0))

    def _take(self, message: Message) -> Awaitable[None] | None:
        session = self._session
        if isinstance(message, str | bytes):
            if session is None or self._closing:
                return None
            if not session.probed:
                return session.receive(message)
            self._probed(session, message)
        elif isinstance(message, Closing):
            self._answer_close(message)
        elif isinstance(message, Ping) and not self._closing:
            self._answer_ping(message)
        elif isinstance(message, Pong) and session is not None:
            session.ponged()
        return None

    def _answer_ping(self, message: Ping) -> None:
        if not self._transport.is_closing() and self._transport.get_write_buffer_size() < MOST_UNREAD_BYTES:
            self._transport.write(frames.control(frames.PONG_OPCODE, message.body))

    def _probed(self, session: Session, message: str | bytes) -> None:
        if message == protocol.PING + protocol.PROBE and not session.upgrading and not session.closed:
            session.upgrading = True
            self._transport.write(frames.frame(protocol.PONG + protocol.PROBE))
            session.outbox.wake()  # the waiting poll ends, so that nothing is sent on two transports
        elif message == protocol.UPGRADE and session.upgrading and not session.closed:
            self._leave_probe()
            self._stop_timer()
            self.serve(session)
        else:
            self.close(protocol.PROTOCOL_ERROR)

    def _leave_probe(self) -> None:
        session = self._session
        if session is not None and session.probed:
            session.probed = session.upgrading = False
            self._session = None

    def _hold(self, work: Awaitable[None]) -> None:
        """Reads nothing more until the work is done."""
        self._busy = True
        if not self._transport.is_closing():
            self._transport.pause_reading()
        self._host.start(self._go_on(work))

    async def _go_on(self, work: Awaitable[None]) -> None:
        session = self._session
        try:
            await (work if session is None else session.settle(work))
        except Exception:
            log.exception("message failed")
            self._end("transport error", INTERNAL)
        finally:
            self._busy = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        if not self._broken:
            self._pump()

    # -- the end ------------------------------------------------------------------------------------------------

    def _end(self, reason: str, code: int) -> None:
        """For something that came in; nothing more of it is read."""
        self._broken = True
        session = self._session
        if session is None or session.probed:
            self.close(code)
        else:
            session.end(reason, code)

    def _answer_close(self, message: Closing) -> None:
        answers = not self._closing
        self._closing = True
        self._leave_probe()
        if self._session is not None:
            self._session.end(self._session.left(message.code))
        if answers:
            self._transport.write(frames.close(message.code or protocol.NORMAL))
            self._set_timer()
        self._transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        """With what the peer did not read: else the kernel would keep it, and try, for minutes."""
        connected = self._transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def accept(request: web.Request, agreed: Agreement, host: Host, most_bytes: int) -> Websocket:
    """Raises ConnectionResetError when the client is gone already. The handler returns a `seams.Handed`."""
    transport, tail = seams.take_over(request)
    reader = Reader(most_bytes + SLACK_BYTES, deflate=agreed.deflate)
    reader.feed(tail)
    websocket = Websocket(transport, reader, host, deflate=agreed.deflate)
    transport.write(agreed.response)
    transport.set_protocol(websocket)
    return websocket
