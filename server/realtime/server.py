"""python-socketio's server with the rules that every connection is under, and the typed face namespaces use.

Every touch of python-socketio's private parts is here; `tests/realtime/test_server.py` says which one moved.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import socketio
import structlog
from socketio import packet as wire

from server.errors import ConnectionClosed, GoingAway, InternalError, MessageTooBig, RateLimited
from server.identity import TOKEN_LEEWAY_SECONDS
from server.realtime import json_codec
from server.realtime.admission import Admission
from server.realtime.connection import Connection
from server.realtime.engine.protocol import Refused
from server.realtime.engine.server import Engine
from server.realtime.engine.session import Session
from server.realtime.expiry import Due, ExpirySchedule
from server.realtime.fanout import Fanout, encode
from server.realtime.limits import RateLimits
from server.realtime.namespace import EVENT_RATE, Namespace
from server.realtime.packets import MalformedPacket, Packet, UnusablePacket
from server.realtime.rooms import EVERYONE
from server.realtime.tasks import Tasks

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 45  # as Node: an Engine.IO session that never sends a Socket.IO CONNECT
MAX_REFUSED_PER_ADDRESS = 20  # are told why at their CONNECT; the others are refused at once, and take no session
TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds and bytes. `message_bytes` is per message; `namespace_message_bytes` overrides it by namespace."""

    message_bytes: int = 65_536
    namespace_message_bytes: Mapping[str, int] = field(default_factory=dict)
    rooms_per_connection: int = 100
    handler_timeout: float = 10.0
    max_connections: int = 1000
    outbox_messages: int = 1000
    outbox_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the CONNECT of a transport will be refused: there a stock client can read it."""

    reason: ConnectionClosed
    address: str


class RealtimeServer(socketio.AsyncServer):  # type: ignore[misc] # python-socketio is untyped
    def __init__(
        self,
        admission: Admission,
        limits: RateLimits,
        *,
        bounds: Bounds | None = None,
        single_session: bool = False,
        share_rate_limit: bool = True,
        ping_interval: float = 20,
        ping_timeout: float = 10,
        most_missed_pongs: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admission = admission
        self.limits = limits
        self.bounds = bounds or Bounds()
        self.single_session = single_session
        self.share_rate_limit = share_rate_limit
        self.tasks = Tasks()
        self._served: dict[str, Namespace] = {}
        self._refusals: dict[str, _Refusal] = {}  # by transport id
        self._expiry = ExpirySchedule(TOKEN_LEEWAY_SECONDS)
        self._clock = clock
        self._arrivals: deque[tuple[float, str]] = deque()  # transports that have yet to CONNECT, oldest first
        super().__init__(
            client_manager=Fanout(),
            serializer=Packet,
            json=json_codec,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            most_missed_pongs=most_missed_pongs,
            outbox_messages=self.bounds.outbox_messages,
            outbox_bytes=self.bounds.outbox_bytes,
            max_http_buffer_size=max(self.bounds.message_bytes, *self.bounds.namespace_message_bytes.values(), 1),
            # Refused clients hold a session until they go or time out, so there is room for some beside the admitted.
            max_sessions=self.bounds.max_connections + max(100, self.bounds.max_connections // 10),
            clock=clock,
            logger=_quiet("socketio"),
        )
        self.eio.message_too_big = self._too_big

    # -- the face that namespaces and the app use ---------------------------------------------------------------

    def add(self, namespace: Namespace) -> None:
        namespace.server = self
        self._served[namespace.path] = namespace

    async def start(self) -> None:
        self.tasks.start(self._watch(), "watch")
        for namespace in self._served.values():
            await namespace.start()

    async def deliver(
        self,
        namespace: str,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str,
        skip: str | None = None,
        volatile: bool = False,
    ) -> None:
        """To every connection in `room` but `skip`; see `delivery.Delivery` for what volatile means."""
        await self.emit(event, dict(payload), room=room, skip_sid=skip, namespace=namespace)

    async def request(
        self,
        connection: Connection,
        event: str,
        payload: Mapping[str, object],
        on_ack: Callable[..., Awaitable[None]],
    ) -> Callable[[], None]:
        """Sends an event that asks for an ack, and returns what drops the callback again."""
        member = self.manager.member(connection.id, connection.namespace)
        if member is None:
            return lambda: None
        ack_id = self.manager.request(member, connection.namespace, [event, dict(payload)], on_ack)

        def forget() -> None:
            member.callbacks.pop(ack_id, None)

        return forget

    async def close(self, connection: Connection, reason: ConnectionClosed) -> None:
        """Tells the client why, then ends its membership in the namespace."""
        await self.deliver(connection.namespace, "disconnecting_reason", reason.to_reason(), room=connection.id)
        await self.disconnect(connection.id, namespace=connection.namespace)

    def watch_expiry(self, connection: Connection) -> None:
        self._expiry.watch(connection, self.admission.now())

    def forget_expiry(self, connection: Connection) -> None:
        self._expiry.forget(connection)

    async def stop(self) -> None:
        """Tells every client that the server goes away, closes their transports and ends all tasks.

        Namespaces are not disconnected: a stock client takes that for good, and this for a reason to come back.
        """
        for namespace in self._served.values():
            await self.deliver(namespace.path, "disconnecting_reason", GoingAway().to_reason(), room=EVERYONE)
        await self.eio.shutdown()
        for namespace in self._served.values():
            await namespace.stop()
        await self.tasks.close()

    # -- bounds on messages -------------------------------------------------------------------------------------

    def _message_limit(self, transport_id: str, message: str | bytes) -> int:
        if isinstance(message, bytes):
            pending = self._binary_packet.get(transport_id)
            namespace = pending.namespace if pending is not None else "/"
        else:
            head = message[2:130]  # past the Engine.IO and Socket.IO types
            start = head.find("/")
            namespace = head[start:].partition(",")[0] if 0 <= start <= 3 else "/"
        return self.bounds.namespace_message_bytes.get(namespace, self.bounds.message_bytes)

    def _too_big(self, session: Session, data: str | bytes) -> bool:
        """Names the fault to the client before the engine closes for it."""
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size <= self._message_limit(session.id, data):
            return False
        for namespace in self._served.values():
            sid = self.manager.sid_from_eio_sid(session.id, namespace.path)
            if sid is not None:
                notice = ["disconnecting_reason", MessageTooBig().to_reason()]
                for packet in encode(Packet(wire.EVENT, notice, namespace=namespace.path)):
                    session.send(packet)
        return True

    # -- python-socketio's private seams ------------------------------------------------------------------------

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _send(
        self, transport_id: str, kind: int, namespace: str, *, data: object = None, ack_id: int | None = None
    ) -> None:
        await self._send_packet(transport_id, Packet(kind, data=data, namespace=namespace, id=ack_id))

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        address = environ["aiohttp.request"].remote or ""
        refusal = await self.admission.arrive(address)
        if refusal is not None:
            if sum(each.address == address for each in self._refusals.values()) >= MAX_REFUSED_PER_ADDRESS:
                raise Refused(4, refusal.message, status=refusal.http_status)
            self._refusals[eio_sid] = _Refusal(refusal, address)
        self._arrivals.append((self._clock() + CONNECT_TIMEOUT_SECONDS, eio_sid))

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._refusals.pop(eio_sid, None)
        self._binary_packet.pop(eio_sid, None)
        await super()._handle_eio_disconnect(eio_sid, reason)

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        if not data and eio_sid not in self._binary_packet:  # it would pass python-socketio's decoder unread
            await self.eio.close(eio_sid)
            return
        try:
            await super()._handle_eio_message(eio_sid, data)
        except UnusablePacket as error:
            connection = self._connection(eio_sid, error.namespace)
            if connection is not None:
                await connection[0].refuse(connection[1], error.message, self._replier(eio_sid, error))
        except (MalformedPacket, ValueError) as error:
            log.info("malformed packet", transport=eio_sid, error=str(error))
            await self.eio.close(eio_sid)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: object) -> None:
        """Unlike stock: an unknown namespace is named so, a second CONNECT closes, an exception leaves nothing
        behind, and what a namespace sends on connecting follows the CONNECT packet."""
        namespace = namespace or "/"
        handler = self._served.get(namespace)
        if handler is None:
            if namespace in self.handlers or namespace in self.namespace_handlers:
                await super()._handle_connect(eio_sid, namespace, data)
            else:
                refused = {"message": "Invalid namespace"}
                await self._send(eio_sid, wire.CONNECT_ERROR, namespace, data=refused)
            return
        try:
            await self.limits.hit(EVENT_RATE, "CONNECT", eio_sid)
        except RateLimited:
            await self.eio.close(eio_sid)
            return
        sid = await self.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            await self.eio.close(eio_sid)
            return
        try:
            if (refusal := self._refusals.get(eio_sid)) is not None:
                raise refusal.reason  # noqa: TRY301 - one place turns refusals into packets
            connection = await handler.admit(sid, eio_sid, self.environ[eio_sid], data)
        except Exception as error:
            await self.manager.disconnect(sid, namespace, ignore_queue=True)
            await self._send(eio_sid, wire.CONNECT_ERROR, namespace, data=self._connect_error(error))
            return
        if eio_sid not in self.environ:  # left while it was being admitted
            await self.manager.disconnect(sid, namespace, ignore_queue=True)
            self.admission.leave(eio_sid)
            handler.discard(connection)
            return
        await self._send(eio_sid, wire.CONNECT, namespace, data={"sid": sid})
        await self.manager.connect(sid, namespace)
        try:
            await handler.welcome(connection)
        except Exception:
            log.exception("welcome failed", namespace=namespace, connection=connection.id)
            await self.eio.close(eio_sid)

    def _connect_error(self, error: Exception) -> dict[str, object]:
        if isinstance(error, ConnectionClosed):
            return {"message": error.message, "data": error.to_refusal()}
        internal = InternalError(secrets.token_hex(8))
        log.error("connect failed", error_id=internal.error_id, exc_info=error)
        return {"message": internal.message, "data": internal.to_wire() | {"close_code": 1011}}

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:
        namespace = namespace or "/"
        known = self._connection(eio_sid, namespace)
        if known is not None:
            handler, connection = known
            reply = None if id is None else self._reply(eio_sid, namespace, id)
            await handler.receive(connection, data[0], data[1:], reply)
        elif namespace in self._served:
            if not self.admission.holds(eio_sid):  # an EVENT before CONNECT; Node closes too
                await self.eio.close(eio_sid)
        elif not self.manager.is_connected(self.manager.sid_from_eio_sid(eio_sid, namespace), namespace):
            await self.eio.close(eio_sid)
        elif data[0] not in self.reserved_events:
            await super()._handle_event(eio_sid, namespace, id, data)

    async def _handle_ack(self, eio_sid: str, namespace: str | None, id: int, data: list[Any]) -> None:
        """Unlike stock: an answer that nothing waits for is refused."""
        namespace = namespace or "/"
        known = self._connection(eio_sid, namespace)
        if known is not None:
            await known[0].begin(known[1])
        member = self.manager.member(self.manager.sid_from_eio_sid(eio_sid, namespace), namespace)
        callback = None if member is None else member.callbacks.pop(id, None)
        if callback is not None:
            result = callback(*data)
            if inspect.isawaitable(result):
                await result
        elif data and known is not None:
            await known[0].refuse_ack(known[1])

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        """Leaves all rooms at once; the namespace hears of it in order, after the events that came before."""
        namespace = namespace or "/"
        known = self._connection(eio_sid, namespace)
        if known is None:
            if namespace not in self._served:
                await super()._handle_disconnect(eio_sid, namespace, reason)
            return
        handler, connection = known
        await self.manager.disconnect(connection.id, namespace, ignore_queue=True)
        self.admission.leave(eio_sid)
        handler.gone(connection, reason or self.reason.CLIENT_DISCONNECT)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        namespace = namespace or "/"
        if namespace not in self._served:
            await super().disconnect(sid, namespace=namespace, ignore_queue=ignore_queue)
            return
        transport_id = self.manager.eio_sid_from_sid(sid, namespace)
        if transport_id is not None:
            await self._send(transport_id, wire.DISCONNECT, namespace)
            await self._handle_disconnect(transport_id, namespace, self.reason.SERVER_DISCONNECT)

    def _connection(self, transport_id: str, namespace: str) -> tuple[Namespace, Connection] | None:
        handler = self._served.get(namespace)
        if handler is None:
            return None
        sid = self.manager.sid_from_eio_sid(transport_id, namespace)
        connection = handler.connection(sid) if sid is not None else None
        return None if connection is None else (handler, connection)

    def _replier(self, transport_id: str, packet: UnusablePacket) -> Callable[[object], Awaitable[None]] | None:
        return None if packet.ack_id is None else self._reply(transport_id, packet.namespace, packet.ack_id)

    def _reply(self, transport_id: str, namespace: str, ack_id: int) -> Callable[[object], Awaitable[None]]:
        async def reply(result: object) -> None:
            await self._send(transport_id, wire.ACK, namespace, data=[result], ack_id=ack_id)

        return reply

    # -- what falls due ----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.expire_tokens(self.admission.now())
            await self.close_idle(self._clock())

    async def expire_tokens(self, now: float) -> None:
        """Warns of and ends what runs out by `now`, in seconds since the epoch."""
        for due, connection in self._expiry.due(now):
            handler = self._served[connection.namespace]
            await (handler.end_expired(connection) if due is Due.END else handler.warn_expiring(connection, now))

    async def close_idle(self, now: float) -> None:
        """Closes transports that by `now`, on the monotonic clock, have not connected to a namespace in time."""
        while self._arrivals and self._arrivals[0][0] <= now:
            _, transport_id = self._arrivals.popleft()
            if transport_id in self.environ and not any(
                self.manager.sid_from_eio_sid(transport_id, namespace)
                for namespace in list(self.manager.get_namespaces())
            ):
                await self.eio.close(transport_id)


def _quiet(name: str) -> logging.Logger:
    """Below WARNING these libraries log whole packets: tokens and messages."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.WARNING)
    return logger
