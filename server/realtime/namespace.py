"""The rules that every event is under: schema, order, rates, acks, errors. A namespace adds events, not rules."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import marshmallow
import structlog

from server.errors import (
    AskWouldDeadlock,
    AtriumError,
    ClientTimeout,
    HandlerTimeout,
    InternalError,
    InvalidMessage,
    LimitExceeded,
    RateLimited,
    SessionReplaced,
    TokenExpired,
    TokenInvalid,
    UnknownEvent,
    UnknownRequest,
)
from server.realtime import rooms, schema
from server.realtime.asks import Answer, Ask, Asks
from server.realtime.connection import Connection
from server.realtime.inbox import Inbox
from server.realtime.tasks import handling
from server.timestamps import iso_utc

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)

Handler = Callable[..., Awaitable[Mapping[str, object] | None]]
Reply = Callable[[object], Awaitable[None]]

EVENT_RATE = "events"


@dataclass(frozen=True, slots=True)
class Event:
    """`rate` names the limit it counts under, beside the one for any event; `answers` the question it answers."""

    name: str
    schema: marshmallow.Schema
    handler: Handler
    rate: str | None = None


def event(
    name: str, payload: type[schema.Payload] = schema.Payload, *, rate: str | None = None
) -> Callable[[Handler], Handler]:
    """Declares a method as the handler of an event: it is called with the connection and the payload's fields as
    keyword arguments; the mapping it returns goes into the ack."""

    def declare(handler: Handler) -> Handler:
        wanted = list(inspect.signature(handler).parameters)[2:]
        if sorted(wanted) != sorted(payload().fields):
            raise TypeError(f"event {name!r}: the handler takes {wanted}, its schema has {list(payload().fields)}")
        handler.__dict__["event"] = (name, payload, rate)
        return handler

    return declare


class Namespace:
    path: ClassVar[str]
    server: RealtimeServer  # set when it is added to one

    def __init__(self, *, require_auth: bool = True) -> None:
        self.require_auth = require_auth
        self.asks = Asks()
        self._connections: dict[str, Connection] = {}
        self._inboxes: dict[str, Inbox] = {}
        self._events: dict[str, Event] = {}
        for _, method in inspect.getmembers(self, inspect.ismethod):
            declared = method.__func__.__dict__.get("event")
            if declared is not None:
                name, payload, rate = declared
                self._events[name] = Event(name, payload(), method, rate)

    # -- what a namespace overrides -----------------------------------------------------------------------------

    async def greet(self, connection: Connection) -> None:
        """What a new connection is sent first."""
        await self.send(
            connection,
            "connected",
            {
                "connection_id": connection.id,
                "user_id": connection.user_id,
                "namespace": self.path,
                "server_time": iso_utc(),
                "recovered": False,
            },
        )

    async def left(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        """After the last event of a connection was handled; it is in no room any more."""

    async def start(self) -> None:
        """The server starts: feeds and pollers are spawned here."""

    async def stop(self) -> None:
        """The server stops; its tasks are cancelled after this."""

    # -- what a namespace uses ----------------------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        return list(self._connections.values())

    def connection(self, connection_id: str) -> Connection | None:
        return self._connections.get(connection_id)

    def members(self, room: str) -> list[Connection]:
        """The connections in a room, on this node."""
        return [
            connection
            for sid, _ in self.server.manager.get_participants(self.path, room)
            if (connection := self._connections.get(sid)) is not None
        ]

    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str,
        skip: str | None = None,
        volatile: bool = False,
    ) -> None:
        """As `delivery.Delivery`, which a namespace is."""
        await self.server.deliver(self.path, event, payload, room=room, skip=skip, volatile=volatile)

    async def send(
        self, connection: Connection, event: str, payload: Mapping[str, object], *, volatile: bool = False
    ) -> None:
        await self.server.deliver(self.path, event, payload, room=connection.id, volatile=volatile)

    async def enter(self, connection: Connection, room: str) -> None:
        """Raises LimitExceeded when the connection is in as many rooms as it may be. Entering twice is once."""
        if room in connection.rooms or connection.id not in self._connections:
            return
        self.check_rooms(connection, room)
        connection.rooms.add(room)
        await self.server.enter_room(connection.id, room, namespace=self.path)

    def check_rooms(self, connection: Connection, room: str) -> None:
        """Raises LimitExceeded where `enter` would, for who must know before."""
        if room not in connection.rooms and len(connection.rooms) >= self.server.bounds.rooms_per_connection:
            raise LimitExceeded("This connection is in too many rooms")

    async def leave(self, connection: Connection, room: str) -> bool:
        """Whether it was in the room."""
        if room not in connection.rooms:
            return False
        connection.rooms.discard(room)
        await self.server.leave_room(connection.id, room, namespace=self.path)
        return True

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Long work beside the events of a connection; it outlives the connection and ends with the server."""
        return self.server.tasks.start(work, f"{self.path}:{name}")

    async def ask(
        self,
        target: Connection,
        event: str,
        payload: Mapping[str, object],
        answer: type[schema.Payload],
        *,
        timeout: float,  # noqa: ASYNC109 - the deadline is part of the question: its client is told
    ) -> Answer:
        """Asks the target's client, or, when it drops and comes back in time, the user's next connection.

        Raises ClientTimeout after `timeout` seconds, having told the client `request_expired`.
        """
        if handling.get() == target.id:
            raise AskWouldDeadlock
        shape = answer()
        ask = self.asks.open(self.path, target.identity.scope, event, payload, lambda raw: schema.load(shape, raw))
        try:
            async with asyncio.timeout(timeout):
                await self._put_question(ask, self._reachable(target))
                return await ask.answered
        except TimeoutError:
            if ask.is_answered:  # in the very moment: whoever answered was told that it counts
                return ask.answered.result()
            # The future was cancelled with the wait for it, so nothing that arrives from here on counts.
            for connection_id in list(ask.asked):
                if (connection := self._connections.get(connection_id)) is not None:
                    await self.send(connection, "request_expired", {"requestId": ask.request_id})
            raise ClientTimeout from None
        finally:
            self.asks.close(ask)

    def _reachable(self, connection: Connection) -> Connection:
        """The connection, or the user's newest where it is gone: its client may have come back already."""
        if connection.id in self._connections:
            return connection
        others = self.members(rooms.user_room(connection.tenant, connection.user_id))
        return others[-1] if others else connection

    async def _put_question(self, ask: Ask, connection: Connection) -> None:
        async def on_ack(*arguments: object) -> None:
            try:
                self.asks.acknowledge(connection, ask, arguments)
            except AtriumError as error:
                await self.send(connection, "error", {**error.to_wire(), "requestId": ask.request_id})

        ask.target = connection.id
        self.asks.sent(ask, connection, await self.server.request(connection, ask.event, ask.payload, on_ack))

    async def _hand_over(self, gone: Connection) -> None:
        """Puts a gone connection's questions to one that came before it was noticed to be gone."""
        for ask in self.asks.open_of(gone):
            ask.asked.pop(gone.id, None)
            if ask.target == gone.id and ask.heir is not None and ask.heir in self._connections:
                await self._put_question(ask, self._connections[ask.heir])

    # -- coming and going, called by the server -----------------------------------------------------------------

    async def admit(self, sid: str, transport_id: str, environ: Mapping[str, Any], auth: object) -> Connection:
        """Raises a ConnectionClosed that says why not."""
        admission, request = self.server.admission, environ["aiohttp.request"]
        identity = await admission.identify(
            auth,
            request.headers.get("Authorization"),
            request.query.get("token"),
            required=self.require_auth,
        )
        admission.enter(transport_id)
        connection = Connection(sid, self.path, identity, request.remote or "", transport_id)
        self._connections[sid] = connection
        self._inboxes[sid] = Inbox(lambda drain: self.server.tasks.start(drain, f"{self.path}:events"))
        return connection

    async def welcome(self, connection: Connection) -> None:
        """Its CONNECT is on the way; what is sent from here on follows it."""
        user_room = rooms.user_room(connection.tenant, connection.user_id)
        older = self.members(user_room) if self.server.single_session else []
        await self.enter(connection, user_room)
        await self.enter(connection, rooms.EVERYONE)
        self.server.watch_expiry(connection)
        await self.greet(connection)
        for each in older:
            await self.server.close(each, SessionReplaced())
        for ask in self.asks.open_of(connection):
            if ask.target in self._connections:
                ask.heir = connection.id
            else:
                await self._put_question(ask, connection)

    def discard(self, connection: Connection) -> None:
        """Drops a connection whose client left before it was welcomed."""
        self._connections.pop(connection.id, None)
        self._inboxes.pop(connection.id, None)

    def gone(self, connection: Connection, reason: str) -> None:
        self._connections.pop(connection.id, None)
        self.server.forget_expiry(connection)
        rooms_left = frozenset(connection.rooms)
        connection.rooms.clear()

        async def leave() -> None:
            try:
                await self._hand_over(connection)
                await self.left(connection, rooms_left, reason)
            except Exception:
                log.exception("disconnect handler failed", namespace=self.path, connection=connection.id)

        inbox = self._inboxes.pop(connection.id, None)
        if inbox is not None:
            inbox.close(leave)

    async def warn_expiring(self, connection: Connection, now: float) -> None:
        expires_at = connection.identity.expires_at
        if expires_at is not None:
            await self.send(connection, "token_expiring", {"expires_in": max(0, round(expires_at - now))})

    async def end_expired(self, connection: Connection) -> None:
        await self.server.close(connection, TokenExpired())

    # -- inbound events -----------------------------------------------------------------------------------------

    async def receive(
        self, connection: Connection, name: str, arguments: Sequence[object], reply: Reply | None
    ) -> None:
        """Queues one event; waits while the connection has too many queued."""
        inbox = self._inboxes.get(connection.id)
        if inbox is not None:
            await inbox.put(lambda: self._handle(connection, name, arguments, reply))

    async def begin(self, connection: Connection) -> None:
        """Events that came before now have begun: an ack does not wait for their end, but it does not overtake them."""
        inbox = self._inboxes.get(connection.id)
        if inbox is not None and inbox.busy:
            await asyncio.sleep(0)

    async def refuse(self, connection: Connection, message: str, reply: Reply | None) -> None:
        """An event that was no use before it could be looked at; in its turn, and counted like any other."""

        async def answer() -> None:
            error: AtriumError = InvalidMessage(message)
            try:
                await self._count_event(connection)
            except RateLimited as limited:
                error = limited
            await self._answer(connection, reply, error)

        inbox = self._inboxes.get(connection.id)
        if inbox is not None:
            await inbox.put(answer)

    async def _count_event(self, connection: Connection) -> None:
        """By transport: who leaves the namespace and enters it again does not begin anew."""
        await self.server.limits.hit(EVENT_RATE, self.path, connection.transport_id)

    async def refuse_ack(self, connection: Connection) -> None:
        """An ack that no open question waits for: late, second or made up."""
        with contextlib.suppress(RateLimited):
            await self._count_event(connection)
            await self.send(connection, "error", UnknownRequest().to_wire())

    async def _handle(
        self, connection: Connection, name: str, arguments: Sequence[object], reply: Reply | None
    ) -> None:
        token = handling.set(connection.id)
        try:
            result = await self._run(connection, name, arguments)
        except AtriumError as error:
            await self._answer(connection, reply, error)
        except Exception as error:
            internal = InternalError(secrets.token_hex(8))
            log.exception(
                "handler failed",
                namespace=self.path,
                event_name=name,
                connection=connection.id,
                user=connection.user_id,
                error_id=internal.error_id,
                exc_info=error,
            )
            await self._answer(connection, reply, internal)
        else:
            if reply is not None:
                await reply({"ok": True, **result})
        finally:
            handling.reset(token)

    async def _run(self, connection: Connection, name: str, arguments: Sequence[object]) -> Mapping[str, object]:
        await self._count_event(connection)
        declared = self._events.get(name)
        if declared is None:
            raise UnknownEvent(f"{self.path} has no event {name[:100]!r}")
        if len(arguments) > 1:
            raise InvalidMessage("An event carries one object")
        fields = schema.load(declared.schema, arguments[0] if arguments else {})
        remaining = None
        if declared.rate is not None:
            remaining = await self.server.limits.hit(declared.rate, *self._counted_as(connection))
        try:
            async with asyncio.timeout(self.server.bounds.handler_timeout) as deadline:
                result = await declared.handler(connection, **fields) or {}
        except TimeoutError:
            if deadline.expired():
                raise HandlerTimeout from None
            raise
        return result if remaining is None else {"remaining": remaining, **result}

    def _counted_as(self, connection: Connection) -> tuple[str | None, ...]:
        """SHARE_RATE_LIMIT (SPEC §3): a user's connections together, or each alone."""
        if self.server.share_rate_limit and not connection.identity.anonymous:
            return (self.path, *connection.identity.scope)
        return (connection.id,)

    async def _answer(self, connection: Connection, reply: Reply | None, error: AtriumError) -> None:
        if reply is not None:
            await reply({"ok": False, "error": error.to_wire()})
        else:
            await self.send(connection, "error", error.to_wire())

    # -- events of every namespace ------------------------------------------------------------------------------

    @event("ping", schema.Ping)
    async def ping(self, connection: Connection, timestamp: object) -> Mapping[str, object]:
        pong = {"timestamp": iso_utc() if timestamp is None else timestamp}
        await self.send(connection, "pong", pong)
        return pong

    @event("authenticate", schema.Authenticate)
    async def authenticate(self, connection: Connection, token: str) -> Mapping[str, object]:
        """A fresh token for the same user and tenant keeps the connection open (SPEC §2)."""
        identity = await self.server.admission.identify({"token": token}, None, None, required=True)
        if identity.scope != connection.identity.scope:
            raise TokenInvalid("The token belongs to someone else")
        connection.identity = identity
        self.server.watch_expiry(connection)
        return {"user_id": identity.user_id, "expires_at": identity.expires_at}
