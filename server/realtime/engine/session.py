"""One Engine.IO session: which transport it is on, what it sends and receives, and its one end. It knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from server.realtime.engine import frames, protocol
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.frames import Packet
from server.realtime.engine.outbox import MOST_POLLED, Outbox
from server.realtime.engine.outlet import Outlet
from server.realtime.engine.protocol import Malformed, TooBig

UPGRADE_PACE_SECONDS = 0.1  # as Node


class Peer(Protocol):
    """The websocket of a session."""

    def close(self, code: int) -> None: ...


class Owner(Protocol):
    """What a session tells the engine."""

    never_too_big: int  # characters or bytes; of longer packets `too_big` is asked

    def on_message(self, session: Session, data: str | bytes) -> Awaitable[None] | None:
        """What it returns is awaited before the next message is handed over."""

    def too_big(self, session: Session, data: str | bytes) -> bool: ...

    def on_pong(self, session: Session) -> None: ...

    def on_overflow(self, session: Session) -> None: ...

    def on_closed(self, session: Session, reason: str) -> None:
        """Once."""


class Session:
    __slots__ = (
        "_owner",
        "_peer",
        "_says_close",
        "closed",
        "handling",
        "id",
        "outbox",
        "polling",
        "pong",
        "posting",
        "probed",
        "state",
        "upgrading",
        "user_session",
    )

    def __init__(self, id: str, owner: Owner, outlet: Outlet) -> None:
        self.id = id
        self.closed = False
        self.probed = False  # a websocket wants to take over
        self.upgrading = False  # and was answered: what is polled from here on is kept for it
        self.polling = False  # a GET waits
        self.posting = False  # a POST is read
        self.handling = False  # a message: what comes behind it, a pong for one, is not read meanwhile
        self.pong: asyncio.Future[None] | None = None  # somebody waits for one
        self.state: Any = None  # what the layer above knows of it
        self.user_session: dict[str, Any] | None = None  # python-socketio keeps its `session()` here
        self._says_close = False
        self._owner = owner
        self._peer: Peer | None = None
        self.outbox = Outbox(outlet, self)

    @property
    def transport(self) -> str:
        return "polling" if self._peer is None else "websocket"

    def send(self, packet: Packet) -> None:
        """Nothing is awaited and nothing raises: a session that is gone takes no notice."""
        self.outbox.put(packet)

    def attach(self, peer: Peer, transport: asyncio.WriteTransport, *, deflate: bool = False) -> None:
        """The session is on this websocket from here on."""
        self._peer = peer
        self.upgrading = False
        self.outbox.wake()
        self.outbox.attach(transport, deflate=deflate)

    def receive(self, packet: str | bytes) -> Awaitable[None] | None:
        """Takes one packet. What it returns is awaited before the next: who sends faster is held back by TCP.

        Raises Malformed for what a client may not send, TooBig for more than it may.
        """
        if len(packet) > self._owner.never_too_big and self._owner.too_big(self, packet):
            raise TooBig
        if isinstance(packet, bytes):
            return self._owner.on_message(self, packet)
        kind = packet[:1]
        if kind == protocol.MESSAGE:
            return self._owner.on_message(self, packet[1:])
        if kind == protocol.BASE64:
            return self._owner.on_message(self, protocol.decode_base64(packet))
        if kind == protocol.PONG:
            if self.pong is not None and not self.pong.done():
                self.pong.set_result(None)
            self._owner.on_pong(self)
        elif kind == protocol.CLOSE:
            self.end("client disconnect")
        else:
            raise Malformed("packet type")
        return None

    def ponged(self) -> None:
        """Of the websocket, which Engine.IO does not ping."""

    def left(self, code: int | None) -> str:
        """Why the session ends whose peer closed its websocket so: Engine.IO says goodbye before."""
        return "transport close"

    async def settle(self, work: Awaitable[None]) -> None:
        """Awaits what `receive` returned."""
        self.handling = True
        try:
            await work
        finally:
            self.handling = False

    async def poll(self, most_bytes: int, is_there: Callable[[], bool] = lambda: True) -> list[Packet]:
        """What waits to be sent; waits for something if there is nothing. The last poll of a session gets CLOSE.

        Raises ConnectionResetError, and takes nothing, when `is_there` says that nobody would receive it.
        """
        self.polling = True
        try:
            if self.upgrading:  # what there is to send is kept for the websocket, and its client polls on
                await self.outbox.wait(UPGRADE_PACE_SECONDS)
                if self._peer is not None:
                    raise protocol.bad_request()
            elif not len(self.outbox) and not self.closed:
                await self.outbox.wait(None)
        finally:
            self.polling = False
        if not is_there():
            raise ConnectionResetError
        if len(self.outbox) and not self.upgrading:
            taken = self.outbox.take(most_bytes)
            return [*taken, frames.CLOSE] if self._says_close and len(taken) < MOST_POLLED else taken
        return [frames.CLOSE] if self._says_close else [frames.NOOP]

    def end(self, reason: str, code: int = protocol.NORMAL) -> None:
        """Once; whoever comes second finds it ended. What was sent before goes out before."""
        if self.closed:
            return
        self.closed = True
        peer, self._peer = self._peer, None
        self._says_close = reason != "client disconnect"
        self.outbox.shut()
        self.outbox.wake()
        try:
            self._owner.on_closed(self, reason)
        finally:
            self.state = None  # which knows this session: a circle would wait for the collector
            if peer is not None:
                peer.close(code)

    def on_overflow(self) -> None:
        self._owner.on_overflow(self)


class PlainSession(Session):
    """Of a WebSocket that speaks no Engine.IO: events are JSON objects, as its `dialect` has them."""

    __slots__ = ("dialect",)

    def __init__(self, id: str, owner: Owner, outlet: Outlet, dialect: Dialect) -> None:
        super().__init__(id, owner, outlet)
        self.dialect = dialect

    def send(self, packet: Packet) -> None:
        if packet is frames.PING:
            self._ping()
        elif (told := packet.told(self.dialect)) is not None:
            self.outbox.put(told)

    def say(self, text: str) -> None:
        self.outbox.put(Packet(text))

    def receive(self, packet: str | bytes) -> Awaitable[None] | None:
        if len(packet) > self._owner.never_too_big and self._owner.too_big(self, packet):
            raise TooBig
        return self._owner.on_message(self, packet)

    def left(self, code: int | None) -> str:
        return "client disconnect" if code in (None, protocol.NORMAL) else super().left(code)

    def ponged(self, *, by_message: bool = False) -> None:
        """A client that is pinged only by messages has to answer by one."""
        if self.pong is not None and not self.pong.done():
            self.pong.set_result(None)
        if by_message or self._is_pinged_by_frames:
            self._owner.on_pong(self)

    def _ping(self) -> None:
        if self.dialect.pings:
            self.say(self.dialect.say("ping", {}))
        if self._is_pinged_by_frames:
            self.outbox.put(frames.CONTROL_PING)

    @property
    def _is_pinged_by_frames(self) -> bool:
        return self.dialect.control_pongs or not self.dialect.pings
