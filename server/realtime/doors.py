"""The doors of plain WebSockets: which path leads into which namespace, and how its clients talk (SPEC §1)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from server.errors import HandlerTimeout, InternalError, InvalidMessage
from server.realtime import json_codec
from server.realtime.engine import protocol
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.server import Engine
from server.realtime.engine.session import PlainSession, Session
from server.realtime.json_codec import PayloadRefused
from server.realtime.link import Link, Member
from server.realtime.membership import Reply
from server.realtime.schema import Identifier

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

_INTERNAL_ERROR = 1011  # RFC 6455 §7.4.1
_NAME = Identifier()
_OURS = (HandlerTimeout.code, InternalError.code)


@dataclass(frozen=True, slots=True)
class Door:
    """What the path says, `{session_id}` for one, is a field of every event that has it and does not say it. `enters`
    is an event that each client is taken to have sent first; one that may not is closed."""

    path: str
    namespace: str
    dialect: Dialect
    enters: str | None = None


class PlainInbound:
    """What plain WebSockets send, as the events that it means."""

    def __init__(self, server: RealtimeServer) -> None:
        self._server = server

    def routes(self, doors: Sequence[Door]) -> list[web.RouteDef]:
        return [web.get(door.path, partial(self._open, door)) for door in doors]

    async def _open(self, door: Door, request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise web.HTTPBadRequest(reason="This path is for WebSockets")
        said = dict(request.match_info)
        engine: Engine = self._server.eio
        try:
            return await engine.open_plain(request, door.dialect, partial(self._enter, door, said))
        except protocol.Refused as refused:
            kind = web.HTTPBadRequest if refused.status == HTTPStatus.BAD_REQUEST else web.HTTPServiceUnavailable
            raise kind(reason=refused.message) from None

    async def _enter(self, door: Door, said: Mapping[str, str], session: Session) -> None:
        link: Link = session.state
        if not isinstance(session, PlainSession):
            return
        if not all(map(_NAME.takes, said.values())):
            error = InvalidMessage(f"{'/'.join(said)} in the path must be 1 to 100 printable characters")
            session.say(session.dialect.say("error", error.to_wire()))
            session.end("server disconnect", protocol.POLICY)
            return
        link.said = said
        link.door = door.path
        await self._server.entrance.connect(link, door.namespace, None)
        member = link.members.get(door.namespace)
        if door.enters is not None and member is not None:
            reply = partial(self._reply_entering, session, door.enters)
            if work := self._event(link, member, door.enters, {}, reply):
                await work

    def message(self, session: PlainSession, data: str | bytes) -> Awaitable[None] | None:
        """What it returns is awaited before the next."""
        link: Link = session.state
        member = next(iter(link.members.values()), None)
        if member is None:
            return None
        try:
            if isinstance(data, bytes):
                return self._refuse(member, "Messages are text")
            message = json_codec.loads(data)
        except PayloadRefused as error:
            return self._refuse(member, str(error))
        except ValueError:
            return self._refuse(member, "Not JSON")
        if not isinstance(message, dict) or not isinstance(kind := message.pop("type", None), str):
            return self._refuse(member, "A message is an object with a `type`")
        if kind == "pong":
            session.ponged(by_message=True)
            return None
        name, payload = session.dialect.heard(kind, message)
        return self._event(link, member, name, payload, partial(self._reply, session, name, payload))

    def _event(
        self, link: Link, member: Member, name: str, payload: dict[str, Any], reply: Reply
    ) -> Awaitable[None] | None:
        membership, connection = member.membership, member.connection
        if membership is None or connection is None:
            return None
        fields = membership.fields(name)
        if "timestamp" not in fields:
            payload.pop("timestamp", None)  # the seeds' clients put one into everything
        payload = {field: value for field, value in link.said.items() if field in fields} | payload
        return membership.receive(member, connection, name, [payload], reply)

    def _refuse(self, member: Member, message: str) -> Awaitable[None] | None:
        if member.membership is None or member.connection is None or member.inbox is None:
            return None
        return member.inbox.put(partial(member.membership.refuse, member.connection, message, None))

    @staticmethod
    def _reply(session: PlainSession, event: str, said: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        if (text := session.dialect.reply(event, said, result)) is not None:
            session.say(text)

    def _reply_entering(self, session: PlainSession, event: str, result: Mapping[str, Any]) -> None:
        """There is nothing else behind this door: who may not enter is not left in front of it."""
        self._reply(session, event, {}, result)
        if result.get("ok") is False:
            ours = result["error"]["code"] in _OURS
            session.end("server disconnect", _INTERNAL_ERROR if ours else protocol.POLICY)
