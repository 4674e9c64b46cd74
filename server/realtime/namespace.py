"""The rules that every event is under: schema, order, rates, acks, errors. A namespace adds events, not rules."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import secrets
import time
from collections.abc import Collection, Coroutine, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import structlog

from server.errors import (
    AtriumError,
    HandlerTimeout,
    InternalError,
    InvalidMessage,
    LimitExceeded,
    RateLimited,
    TokenExpired,
    TokenInvalid,
    UnknownEvent,
    UnknownRequest,
)
from server.identity import Identity
from server.realtime import rooms, schema, told
from server.realtime.asking import AnyAnswer, GivenAnswer, Questions, RoomAnswers
from server.realtime.asks import Answer, Asks, User
from server.realtime.cluster.single_session import ClusterSingleSession
from server.realtime.connection import Connection
from server.realtime.events import Event, Handler, event
from server.realtime.link import Link
from server.realtime.membership import Membership, Reply
from server.realtime.single_session import MemorySingleSession, SingleSession
from server.realtime.tasks import handling
from server.timestamps import iso_utc

log = structlog.get_logger(__name__)

EVENT_RATE = "events"


class Namespace(Membership):
    #: The events that clients hear, and the questions that they are asked.
    tells: told.Tells = told.TELLS
    requests: Mapping[str, told.Question] = MappingProxyType({})

    def __init__(self, *, require_auth: bool = True) -> None:
        self.require_auth = require_auth
        self.questions = Questions(self)
        self._events: dict[str, Event] = {}
        for _, method in inspect.getmembers(self, inspect.ismethod):
            declared = method.__func__.__dict__.get("event")
            if declared is not None:
                name, payload, rate, attachment, ack = declared
                shape, says = schema.Shape(payload()), inspect.getdoc(method) or ""
                self._events[name] = Event(name, shape, method, rate, attachment, ack, says)

    def add(
        self,
        name: str,
        payload: type[schema.Payload],
        handler: Handler,
        *,
        rate: str | None = None,
        ack: type[told.Ack] = told.AnyAck,
    ) -> None:
        """An event from outside: its handler is called with the namespace before the connection."""
        shape, says = schema.Shape(payload()), inspect.getdoc(handler) or ""
        self._events[name] = Event(name, shape, functools.partial(handler, self), rate, ack=ack, says=says)

    @property
    def events(self) -> Mapping[str, Event]:
        """What clients may send."""
        return self._events

    # -- what a namespace overrides -----------------------------------------------------------------------------

    async def greet(self, connection: Connection, *, recovered: bool) -> None:
        """What a new connection is sent first."""
        await self.send(
            connection,
            "connected",
            {
                "connection_id": connection.id,
                "user_id": connection.user_id,
                "namespace": self.path,
                "server_time": iso_utc(),
                "recovered": recovered,
            },
        )

    async def recovered(self, connection: Connection) -> None:
        """A client came back after a drop, of which `left` was told: it is in its rooms again, under its new token.
        What it missed follows, but not of the rooms that it is made to leave here."""

    async def left(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        """After the last event of a connection was handled; it is in no room any more."""

    async def start(self) -> None:
        """The server starts: feeds and pollers are spawned here."""

    async def stop(self) -> None:
        """The server stops; its tasks are cancelled after this."""

    # -- what a namespace uses ----------------------------------------------------------------------------------

    @property
    def asks(self) -> Asks:
        return self.questions.asks

    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str | Collection[str],
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        """As `delivery.Delivery`, which a namespace is."""
        self.server.deliver(self.path, event, payload, room=room, skip=skip, volatile=volatile, conflate=conflate)

    async def emit_missing(self, event: str, payload: Mapping[str, object], *, room: str) -> bool:
        """As `delivery.Delivery`."""
        return bool(await self.server.manager.emit_missing(self.path, event, payload, room))

    async def flushed(self) -> None:
        """As `delivery.Delivery`."""
        await self.server.manager.flushed()

    async def send(
        self,
        connection: Connection,
        event: str,
        payload: Mapping[str, object],
        *,
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        self.server.deliver(self.path, event, payload, room=connection.id, volatile=volatile, conflate=conflate)

    async def enter(self, connection: Connection, room: str) -> None:
        """Raises LimitExceeded when the connection is in as many rooms as it may be. Entering twice is once."""
        if (
            room not in connection.rooms
            and (member := self.server.manager.member(connection.id, self.path)) is not None
        ):
            self.check_rooms(connection, room)
            self.server.manager.enter(member, room)
            await self.server.manager.settled(member)

    def check_rooms(self, connection: Connection, room: str) -> None:
        """Raises LimitExceeded where `enter` would, for who must know before."""
        if room not in connection.rooms and len(connection.rooms) >= self.server.bounds.rooms_per_connection:
            raise LimitExceeded("This connection is in too many rooms")

    async def leave(self, connection: Connection, room: str) -> bool:
        """Whether it was in the room."""
        if room not in connection.rooms:
            return False
        if (member := self.server.manager.member(connection.id, self.path)) is not None:
            self.server.manager.leave(member, room)
        return True

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Long work beside the events of a connection; it outlives the connection and ends with the server."""
        return self.server.tasks.start(work, f"{self.path}:{name}")

    async def ask(
        self,
        target: Connection | User,
        event: str,
        payload: Mapping[str, object],
        answer: type[schema.Payload] = AnyAnswer,
        *,
        timeout: float = 10.0,  # noqa: ASYNC109 - the deadline is part of the question: its client is told
    ) -> Answer:
        """Asks a connection's client, or, when it drops and comes back in time, the user's next connection; or all that
        a user has on any node: then the first valid answer is it, and the others are told `request_expired`.

        Raises ClientTimeout after `timeout` seconds and LimitExceeded where too many are open; whoever was asked is
        told `request_expired` then, and when the caller is cancelled. A handler may not await its own user.
        """
        return await self.questions.ask(target, event, payload, answer, timeout)

    async def ask_room(
        self,
        room: str,
        event: str,
        payload: Mapping[str, object],
        answer: type[schema.Payload],
        *,
        timeout: float = 10.0,  # noqa: ASYNC109
        skip: Collection[str] = (),
    ) -> RoomAnswers:
        """Asks every user who is in the room now, on any node, at all their connections there but those to `skip`: one
        answer of each. Returns when all have answered, or after `timeout` seconds with what there is.

        Raises LimitExceeded where there are more than `asking.MAX_OF_ROOM`.
        """
        return await self.questions.ask_room(room, event, payload, answer, timeout, skip)

    async def answer(self, connection: Connection, event: str, request_id: object, answer: object) -> None:
        """A connection's answer, as an event of its own, to the question that is named `event`.

        Raises UnknownRequest, or InvalidMessage for one of the wrong shape: it may be sent again, mended. One that was
        asked for counts under no rate: how often is for who asks to say.
        """
        await self.questions.answer(connection, event, request_id, answer)
        connection.window.spare()

    # -- coming and going, called by the server -----------------------------------------------------------------

    async def identify(self, link: Link, auth: object) -> Identity:
        shake = link.handshake
        return await self.server.admission.identify(auth, shake.authorization, shake.token, required=self.require_auth)

    async def admit(self, connection: Connection, auth: object, *, recovered: bool) -> None:
        if recovered:
            await self.recovered(connection)

    async def welcome(self, connection: Connection, *, recovered: bool) -> None:
        claim = None
        if self.server.single_session:  # begun before anything is waited for, for who comes first is the older
            claim = self.spawn(self._single_session.claim(connection), "single session")
        await self.enter(connection, rooms.user_room(connection.tenant, connection.user_id))
        await self.enter(connection, rooms.EVERYONE)
        self.server.watch_expiry(connection)
        await self.greet(connection, recovered=recovered)
        if claim is not None:
            await claim
        self.questions.reopen(connection)

    def forget(self, connection: Connection) -> None:
        self.server.forget_expiry(connection)
        if self.server.single_session:
            self._single_session.release(connection)

    @functools.cached_property
    def _single_session(self) -> SingleSession:
        node = self.server.node
        return MemorySingleSession(self) if node is None else ClusterSingleSession(self, node)

    async def ended(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        self.questions.hand_over(connection)
        await self.left(connection, rooms_left, reason)

    async def warn_expiring(self, connection: Connection, now: float) -> None:
        expires_at = connection.identity.expires_at
        if expires_at is not None:
            await self.send(connection, "token_expiring", {"expires_in": max(0, round(expires_at - now))})

    async def end_expired(self, connection: Connection) -> None:
        await self.server.close(connection, TokenExpired())

    def fields(self, event: str) -> Collection[str]:
        declared = self._events.get(event)
        return () if declared is None else declared.shape.schema.fields

    # -- inbound events -----------------------------------------------------------------------------------------

    async def refuse(self, connection: Connection, message: str, reply: Reply | None) -> None:
        """Counted like any other event."""
        error: AtriumError = InvalidMessage(message)
        try:
            self._count_event(connection)
        except RateLimited as limited:
            error = limited
        await self._answer(connection, reply, error)

    def _count_event(self, connection: Connection) -> None:
        if (rate := self.server.event_rate) is not None:
            connection.window.hit(rate, time.monotonic())

    async def refuse_ack(self, connection: Connection) -> None:
        """An ack that no open question waits for: late, second or made up."""
        self.asks.counts.refused += 1
        with contextlib.suppress(RateLimited):
            self._count_event(connection)
            await self.send(connection, "error", UnknownRequest().to_wire())

    async def handle(self, connection: Connection, name: str, arguments: Sequence[Any], reply: Reply | None) -> None:
        token = handling.set(connection.id)
        self.server.statistics.messages_received += 1
        try:
            declared, fields = self._accept(connection, name, arguments)
            counted = await self._count_use(declared.rate, connection) if declared.rate is not None else {}
            result = await declared.handler(connection, **fields) or {}
            if reply is not None:
                reply({"ok": True, **counted, **result})
        except AtriumError as error:
            await self._answer(connection, reply, error)
        except asyncio.CancelledError:
            if not self.server.workers.timed_out():
                raise
            await self._answer(connection, reply, HandlerTimeout())
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
        finally:
            handling.reset(token)

    def _accept(self, connection: Connection, name: str, arguments: Sequence[Any]) -> tuple[Event, dict[str, Any]]:
        """Whose event it is, and its fields. Raises an AtriumError."""
        self._count_event(connection)
        declared = self._events.get(name)
        if declared is None:
            raise UnknownEvent(f"{self.path} has no event {name[:100]!r}")
        attached: dict[str, Any] = {}
        if declared.attachment is not None:
            arguments, attached = _detach(arguments, declared.attachment)
        if len(arguments) > 1:
            raise InvalidMessage("An event carries one object")
        return declared, declared.shape.load(arguments[0] if arguments else {}) | attached

    async def _count_use(self, rate: str, connection: Connection) -> Mapping[str, object]:
        """SHARE_RATE_LIMIT (SPEC §3): a user's connections together, or each alone."""
        limits = self.server.limits
        if self.server.share_rate_limit and not connection.identity.anonymous:
            remaining = await limits.hit(rate, self.path, *connection.identity.scope)
        else:
            remaining = await limits.hit(rate, connection.id, shared=False)
        return {} if remaining is None else {"remaining": remaining}

    async def _answer(self, connection: Connection, reply: Reply | None, error: AtriumError) -> None:
        self.server.statistics.errors += 1
        if (meter := self.meter) is not None:
            meter.errors += 1
            if isinstance(error, RateLimited):
                meter.rate_limited += 1
        if reply is not None:
            reply({"ok": False, "error": error.to_wire()})
        else:
            await self.send(connection, "error", error.to_wire())

    # -- events of every namespace ------------------------------------------------------------------------------

    @event("ping", schema.Ping, ack=told.PongAck)
    async def ping(self, connection: Connection, timestamp: object) -> Mapping[str, object]:
        """Is answered by `pong`, and in the ack."""
        pong = {"timestamp": iso_utc() if timestamp is None else timestamp}
        await self.send(connection, "pong", pong)
        return pong

    @event("answer", GivenAnswer, ack=told.Ack)
    async def take_answer(self, connection: Connection, request_id: str, answer: object) -> None:
        """To any of the server's questions, by a client that knows no acks."""
        await self.questions.answer(connection, None, request_id, answer)

    @event("authenticate", schema.Authenticate, ack=told.Authenticated)
    async def authenticate(self, connection: Connection, token: str) -> Mapping[str, object]:
        """A fresh token for the same user and tenant keeps the connection open."""
        identity = await self.server.admission.identify({"token": token}, None, None, required=True)
        if identity.scope != connection.identity.scope:
            raise TokenInvalid("The token belongs to someone else")
        connection.identity = identity
        self.server.watch_expiry(connection)
        return {"user_id": identity.user_id, "expires_at": identity.expires_at}


def _detach(arguments: Sequence[Any], name: str) -> tuple[Sequence[Any], dict[str, bytes]]:
    """An event's arguments without its binary data, and these by name. Raises InvalidMessage."""
    first = arguments[0] if arguments else None
    if len(arguments) == 2 and isinstance(arguments[1], bytes):
        return arguments[:1], {name: arguments[1]}
    if isinstance(first, Mapping) and isinstance(first.get(name), bytes):
        return [{key: each for key, each in first.items() if key != name}, *arguments[1:]], {name: first[name]}
    raise InvalidMessage(details={name: ["Binary data is missing."]})
