"""python-socketio's server with the rules that every connection is under, and the typed face namespaces use.

Every touch of python-socketio's private parts is here; `tests/realtime/test_server.py` says which one moved.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import socketio
import structlog
from aiohttp import web
from socketio import packet as wire

from server.errors import ConnectionClosed, GoingAway, HeartbeatLost, MessageTooBig
from server.identity import TOKEN_LEEWAY_SECONDS
from server.realtime import handlers, json_codec, packets
from server.realtime.admission import Admission, NoTokens
from server.realtime.cluster.asks import ClusterAsks
from server.realtime.cluster.node import Node
from server.realtime.connection import Connection
from server.realtime.doors import Door
from server.realtime.drain import Drain
from server.realtime.engine import frames, protocol
from server.realtime.engine.server import Engine
from server.realtime.engine.session import Session
from server.realtime.entrance import Entrance
from server.realtime.expiry import Due, ExpirySchedule
from server.realtime.fanout import Fanout
from server.realtime.handlers import Handlers
from server.realtime.inbound import Inbound
from server.realtime.insight.hooks import Insight
from server.realtime.limits import RateLimits
from server.realtime.link import Handshake, Link, Member
from server.realtime.membership import Membership
from server.realtime.memory import MemoryFanout
from server.realtime.namespace import EVENT_RATE, Namespace
from server.realtime.packets import Packet
from server.realtime.recovery import Bounds as RecoveryBounds
from server.realtime.statistics import Statistics
from server.realtime.tasks import Tasks
from server.realtime.threshold import Threshold
from server.realtime.workers import Workers

log = structlog.get_logger(__name__)

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


class RealtimeServer(socketio.AsyncServer):  # type: ignore[misc] # python-socketio is untyped
    """Usable by itself too: without `admission` everybody may connect to what `@on` handlers serve, as in
    python-socketio, and to namespaces that require no token. `bounds` say more than `max_http_buffer_size`.

    With `recovery`, clients that ask for it (`auth.recovery`) can resume their session; `recover_all` does not wait to
    be asked, for servers all of whose clients know that an event's last argument may be an offset.

    One `node` among many has a `manager` of its own, and starts and stops with the server.

    `options` are python-socketio's. Those of its own transports mean nothing here: who may connect from where is for
    the app's middleware to say.
    """

    def __init__(
        self,
        admission: Admission | None = None,
        limits: RateLimits | None = None,
        *,
        bounds: Bounds | None = None,
        recovery: RecoveryBounds | None = None,
        recover_all: bool = False,
        manager: Fanout | None = None,
        node: Node | None = None,
        single_session: bool = False,
        share_rate_limit: bool = True,
        ping_interval: float = 25,
        ping_timeout: float = 20,
        most_missed_pongs: int = 1,
        insight: Insight | None = None,
        connect_timeout: float = 45,
        max_http_buffer_size: int = 1_000_000,
        compression: bool = True,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self.bounds = bounds or Bounds(message_bytes=max_http_buffer_size)
        self.limits = limits or RateLimits({})
        self.statistics = Statistics()
        self.insight = insight or Insight()
        self.admission = admission or Admission(NoTokens(), self.limits, max_connections=self.bounds.max_connections)
        self.event_rate = self.limits.rate(EVENT_RATE)
        self.single_session = single_session
        self.share_rate_limit = share_rate_limit
        self.tasks = Tasks()
        self.workers = Workers(self.tasks)
        self._served: dict[str, Namespace] = {}
        self._expiry = ExpirySchedule(TOKEN_LEEWAY_SECONDS)
        self.clock = clock
        self.node = node
        self.draining = False
        self.threshold = Threshold(connect_timeout, clock)
        self.entrance = Entrance(self, recover_all=recover_all)
        if manager is None:
            manager = MemoryFanout(recovery, clock=clock, most_held=self.bounds.outbox_messages)
        super().__init__(
            client_manager=manager,
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
            compression=compression,
            clock=clock,
            logger=_quiet("socketio"),
            **{name: value for name, value in options.items() if name != "logger"},
        )
        self._inbound = Inbound(self)
        self.eio.on("message", self._inbound.message)
        self.eio.message_too_big = self._too_big
        self.eio.last_words = lambda session: self._tell_all(session, HeartbeatLost())
        # Whatever its characters and namespace.
        self.eio.never_too_big = (
            min(self.bounds.message_bytes, *self.bounds.namespace_message_bytes.values(), 2**62) // 4
        )

    # -- the face that namespaces and the app use ---------------------------------------------------------------

    def add(self, namespace: Namespace) -> None:
        namespace.server = self
        namespace.handler_timeout = self.bounds.handler_timeout
        namespace.meter = self.insight.meters.open(namespace.path)
        if self.node is not None:
            namespace.questions.others = ClusterAsks(self.node, namespace.questions)
        self._served[namespace.path] = namespace

    @property
    def served(self) -> list[Namespace]:
        return list(self._served.values())

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Serves at this path, from the app's start to its shutdown."""
        super().attach(app, socketio_path)
        app.on_startup.append(self._on_startup)
        app.on_shutdown.append(self._on_shutdown)

    def open_doors(self, app: web.Application, doors: Sequence[Door]) -> None:
        """To plain WebSockets."""
        app.add_routes(self._inbound.plain.routes(list(doors)))

    async def _on_startup(self, app: web.Application) -> None:
        await self.start()

    async def _on_shutdown(self, app: web.Application) -> None:
        await self.drain()
        await self.stop()

    async def start(self) -> None:
        """Called by the app that it is attached to."""
        if self.node is not None:
            await self.node.start()
        self.tasks.start(self._watch(), "watch")
        for namespace in self._served.values():
            await namespace.start()

    def deliver(
        self,
        namespace: str,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str | Collection[str],
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        """As `delivery.Delivery` says."""
        self.manager.deliver(namespace, [event, payload], room=room, skip=skip, volatile=volatile, conflate=conflate)

    def request(
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
        ack_id = self.manager.request(member, [event, payload], on_ack)

        def forget() -> None:
            member.callbacks.pop(ack_id, None)

        return forget

    async def close(self, connection: Connection, reason: ConnectionClosed) -> None:
        """Tells the client why, then ends its membership in the namespace."""
        member = self.manager.member(connection.id, connection.namespace)
        if member is not None:
            self._last_words(connection.namespace, reason, [member])
            self._put_out(member, reason.close_code)

    def watch_expiry(self, connection: Connection) -> None:
        self._expiry.watch(connection, self.admission.now())

    def forget_expiry(self, connection: Connection) -> None:
        self._expiry.forget(connection)

    async def drain(self) -> None:
        """Nobody comes in any more, what is being handled is answered, and the clients leave one after the other, to
        come back elsewhere. `stop` is what remains. Called by the app, where nobody did before it shut down: long
        polling loses its connections then."""
        self.draining = True
        await Drain(self.eio, lambda session: self._tell_all(session, GoingAway())).run()

    async def stop(self) -> None:
        """Tells every client that the server goes away, closes their transports and ends all tasks. Called by the app.

        Namespaces are not disconnected: a stock client takes that for good, and this for a reason to come back.
        """
        for namespace in self._served.values():
            self._last_words(namespace.path, GoingAway(), self.manager.members(namespace.path, None))
        await self.eio.shutdown()
        for namespace in self._served.values():
            await namespace.stop()
        await self.tasks.close()
        if self.node is not None:
            await self.node.stop()

    def _last_words(self, namespace: str, reason: ConnectionClosed, members: Iterable[Member]) -> None:
        """Nobody who comes back wants to hear them, so they are in no log."""
        notice = frames.message(*packets.encode(wire.EVENT, namespace, ["disconnecting_reason", reason.to_reason()]))
        for member in members:
            if member.connected:
                self.insight.told(member, reason)
                member.link.session.send(notice)

    # -- the face of `@on` handlers -----------------------------------------------------------------------------

    async def trigger(self, event: str, namespace: str, *arguments: Any) -> Any:
        """What the handler returns, `not_handled` if there is none."""
        return await self._trigger_event(event, namespace, *arguments)

    def find_handler(self, event: str, namespace: str, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The handler of an event and the arguments it is given; None if there is none."""
        handler, given = self._get_event_handler(event, namespace, arguments)
        if handler is None:
            owner, given = self._get_namespace_handler(namespace, arguments)
            handler = getattr(owner, f"on_{event}", None)
        return handler, given

    def serving(self, namespace: str) -> Membership | None:
        served = self._served.get(namespace)
        if served is None and any(
            name in known for known in (self.handlers, self.namespace_handlers) for name in (namespace, "*")
        ):
            return Handlers(namespace, self)  # not kept: under "*" clients choose the names
        return served

    # -- bounds on messages -------------------------------------------------------------------------------------

    def _message_limit(self, link: Link, message: str | bytes) -> int:
        if link.dialect is not None:
            namespace = next(iter(link.members), "/")
        elif isinstance(message, bytes):
            namespace = (link.pending.namespace if link.pending is not None else None) or "/"
        else:
            head = message[2:130]  # past the Engine.IO and Socket.IO types
            start = head.find("/")
            namespace = head[start:].partition(",")[0] if 0 <= start <= 3 else "/"
        return self.bounds.namespace_message_bytes.get(namespace, self.bounds.message_bytes)

    def _too_big(self, session: Session, data: str | bytes) -> bool:
        """Names the fault to the client before the engine closes for it."""
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size <= self._message_limit(session.state, data):
            return False
        self._tell_all(session, MessageTooBig())
        return True

    def _tell_all(self, session: Session, reason: ConnectionClosed) -> None:
        for member in session.state.members.values():
            self._last_words(member.namespace, reason, [member])

    # -- transports come and go ---------------------------------------------------------------------------------

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _handle_eio_connect(self, session: Session, request: web.Request) -> None:
        shake = Handshake(request.remote or "", request.headers.get("Authorization"), request.query.get("token"))
        link = session.state = Link(session, shake)
        if self.handlers or self.namespace_handlers:
            self.environ[session.id] = handlers.environ(request)
        refusal = await self.admission.arrive(shake.address)
        if session.closed:
            return
        if refusal is not None:
            self.threshold.refuse(link, refusal)
        self.threshold.watch(link)

    def _handle_eio_disconnect(self, session: Session, reason: str) -> None:
        link: Link = session.state
        link.pending = None
        self.threshold.gone(link)
        self.environ.pop(session.id, None)
        resumable = reason != self.reason.SERVER_DISCONNECT
        for member in list(link.members.values()):
            self.leave(member, reason, resumable=resumable)

    # -- members go ---------------------------------------------------------------------------------------------

    def leave(self, member: Member, reason: str, *, resumable: bool = False) -> None:
        """Leaves all rooms at once; the namespace hears of it in order, after the events that came before."""
        if not member.connected or member.membership is None:
            return  # it is being admitted, and will be discarded
        self.manager.drop(member, resumable=resumable)
        self.insight.disconnected(member, reason, resumable=resumable)
        self.admission.leave(member.link.id)
        member.link.left.add(member.namespace)
        member.membership.gone(member, reason)
        if not member.link.members and not member.link.session.closed:
            self.threshold.watch(member.link)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        member = self.manager.member(sid, namespace or "/")
        if member is not None:
            self._put_out(member, protocol.NORMAL)

    def _put_out(self, member: Member, close_code: int) -> None:
        """A plain WebSocket is in nothing else: it is closed with that."""
        member.link.session.send(frames.message(*packets.encode(wire.DISCONNECT, member.namespace)))
        self.leave(member, self.reason.SERVER_DISCONNECT)
        if member.dialect is not None:
            member.link.session.end(self.reason.SERVER_DISCONNECT, close_code)

    # -- what falls due ----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.expire_tokens(self.admission.now())
            self.close_idle(self.clock())
            self.manager.prune()

    async def expire_tokens(self, now: float) -> None:
        """Warns of and ends what runs out by `now`, in seconds since the epoch."""
        for due, connection in self._expiry.due(now):
            handler = self._served[connection.namespace]
            await (handler.end_expired(connection) if due is Due.END else handler.warn_expiring(connection, now))

    def close_idle(self, now: float) -> None:
        """Closes transports that by `now`, on the monotonic clock, have been in no namespace for too long."""
        for transport_id in self.threshold.due(now):
            self.eio.close(transport_id)


def _quiet(name: str) -> logging.Logger:
    """Below WARNING these libraries log whole packets: tokens and messages."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.WARNING)
    return logger
