"""One Engine.IO session: which transport it is on, what it sends and receives, and its one end. It knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from server.realtime.engine import frames, protocol
from server.realtime.engine.frames import Packet
from server.realtime.engine.outbox import Cork, Outbox
from server.realtime.engine.protocol import Malformed, TooBig

UPGRADE_PACE_SECONDS = 0.1  # as Node


class Peer(Protocol):
    """The websocket of a session."""

    async def close(self, code: int) -> None: ...


class Owner(Protocol):
    """What a session tells the engine; all of it at most once at a time."""

    async def on_message(self, session: Session, data: str | bytes) -> None: ...

    def too_big(self, session: Session, data: str | bytes) -> bool: ...

    def on_pong(self, session: Session) -> None: ...

    def on_overflow(self, session: Session) -> None: ...

    async def on_closed(self, session: Session, reason: str) -> None: ...


class Session:
    def __init__(
        self, id: str, environ: dict[str, Any], owner: Owner, cork: Cork, *, most: int, most_bytes: int
    ) -> None:
        self.id = id
        self.environ = environ
        self.closed = False
        self._says_close = False
        self.probed = False  # a websocket wants to take over
        self.upgrading = False  # and was answered: what is polled from here on is kept for it
        self.polling = False  # a GET waits
        self.posting = False  # a POST is read
        self.handling = False  # a message: what comes behind it, a pong for one, is not read meanwhile
        self.user_session: dict[str, Any] = {}  # python-socketio keeps its `session()` here
        self._owner = owner
        self._peer: Peer | None = None
        self.outbox = Outbox(cork, lambda: owner.on_overflow(self), most=most, most_bytes=most_bytes)

    @property
    def transport(self) -> str:
        return "polling" if self._peer is None else "websocket"

    def send(self, packet: Packet) -> None:
        """Nothing is awaited and nothing raises: a session that is gone takes no notice."""
        if not self.closed:
            self.outbox.put(packet)

    def attach(self, peer: Peer, transport: asyncio.WriteTransport) -> None:
        """The session is on this websocket from here on."""
        self._peer = peer
        self.upgrading = False
        self.outbox.attach(transport)

    async def receive(self, packet: str | bytes) -> None:
        """Handles one packet, and is done when its handler is: who sends faster than that is held back by TCP.

        Raises Malformed for what a client may not send, TooBig for more than it may.
        """
        if self._owner.too_big(self, packet):
            raise TooBig
        if isinstance(packet, bytes):
            await self._message(packet)
            return
        kind = packet[:1]
        if kind == protocol.MESSAGE:
            await self._message(packet[1:])
        elif kind == protocol.PONG:
            self._owner.on_pong(self)
        elif kind == protocol.CLOSE:
            await self.end("client disconnect")
        else:
            raise Malformed("packet type")

    async def _message(self, data: str | bytes) -> None:
        self.handling = True
        try:
            await self._owner.on_message(self, data)
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
            elif not len(self.outbox) and not self.closed:
                await self.outbox.wait(None)
        finally:
            self.polling = False
        if not is_there():
            raise ConnectionResetError
        if len(self.outbox) and not self.upgrading:
            return self.outbox.take(most_bytes)
        return [frames.CLOSE] if self._says_close else [frames.NOOP]

    async def end(self, reason: str, code: int = protocol.NORMAL) -> None:
        """Once; whoever comes second finds it ended. What was sent before goes out before."""
        if self.closed:
            return
        self.closed = True
        peer, self._peer = self._peer, None
        self._says_close = reason != "client disconnect"
        if peer is None:
            self.outbox.wake()
        else:
            self.outbox.flush({})
        try:
            await self._owner.on_closed(self, reason)
        finally:
            self.environ = {}
            if peer is not None:
                await peer.close(code)
