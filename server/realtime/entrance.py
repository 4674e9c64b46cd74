"""How a link becomes a member of a namespace: its CONNECT is refused, admitted or resumes what it was before."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import socketio
import structlog
from socketio import packet as wire

from server.errors import ConnectionClosed, InternalError, RateLimited
from server.realtime import packets
from server.realtime.connection import Connection
from server.realtime.engine import frames, protocol
from server.realtime.engine.session import PlainSession
from server.realtime.limits import Window
from server.realtime.link import Link, Member
from server.realtime.membership import Membership

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 1.0
SETTLED_SECONDS = 5.0  # who came a moment ago is there
MAX_NAMESPACES = 100  # that one link ever entered
CONNECTS = ""  # the window that counts a link's CONNECTs, whatever namespaces they name


class Entrance:
    """Unlike python-socketio's: an unknown namespace is named so, a second CONNECT closes, an exception leaves nothing
    behind, and what a namespace sends on connecting follows the CONNECT packet."""

    def __init__(self, server: RealtimeServer, *, recover_all: bool) -> None:
        self._server = server
        self._recover_all = recover_all

    async def connect(self, link: Link, namespace: str, auth: Any) -> None:
        server = self._server
        served = server.serving(namespace)
        if served is None:
            _refuse(link, namespace, {"message": "Invalid namespace"})
            return
        if namespace in link.members or not self._may_connect(link, namespace):
            server.eio.close(link.id)
            return
        auth, wanted = self._recovery_wanted(auth) if link.dialect is None else (auth, None)
        member = server.manager.join(link, namespace)
        try:
            connection = await self._admit(served, member, auth, wanted)
        except Exception as error:
            self._discard(member)
            server.insight.refused(namespace, error)
            _refuse(link, namespace, _connect_error(error))
            return
        except BaseException:
            self._discard(member)
            raise
        if link.session.closed:  # left while it was being admitted
            self._discard(member, resumable=True)
            return
        server.threshold.came_in(link)
        server.manager.connect(member)
        if wanted is not None:
            server.insight.recovery(member, wanted[0])
        try:
            await served.welcome(connection, recovered=member.resumed)
        except Exception:
            log.exception("welcome failed", namespace=namespace, connection=connection.id)
            server.eio.close(link.id)

    async def _admit(
        self, served: Membership, member: Member, auth: Any, wanted: tuple[object, object] | None
    ) -> Connection:
        server, link = self._server, member.link
        if link.refusal is not None:
            raise link.refusal
        identity = await served.identify(link, auth)
        server.admission.enter(link.id)
        member.admitted = True
        if wanted is not None:
            holder = server.manager.holder(member.namespace, wanted[0], identity)
            if holder is not None:
                await self.free(holder)
            if not await server.manager.resume(member, *wanted, identity):
                server.manager.open_recoverable(member, identity)
            elif member.recoverable is not None and member.recoverable.inbox is not None:
                await member.recoverable.inbox.drained()
        window = link.windows.setdefault(member.namespace, Window())
        connection = Connection(
            member.sid, member.namespace, identity, link.handshake.address, link.id, member.rooms, window
        )
        served.begin(member, connection)
        await served.admit(connection, auth, recovered=member.resumed)
        return connection

    async def free(self, holder: Member) -> None:
        """A client that changed its network is back before its old connection is found to be lost. Who does not answer
        a ping at once gives its session up; who does keeps it, so that no session is ever resumed twice at once."""
        server = self._server
        if holder.connection is None:
            return
        since = server.admission.now() - holder.connection.connected_at
        if server.draining or (
            since >= SETTLED_SECONDS and not await server.eio.answers(holder.link.id, ANSWER_SECONDS)
        ):
            holder.link.session.end(server.reason.TRANSPORT_CLOSE, protocol.SESSION_REPLACED)

    def _may_connect(self, link: Link, namespace: str) -> bool:
        if namespace not in link.windows and len(link.windows) >= MAX_NAMESPACES:
            return False
        if self._server.event_rate is not None:
            try:
                link.windows.setdefault(CONNECTS, Window()).hit(self._server.event_rate, self._server.clock())
            except RateLimited:
                return False
        return True

    def _discard(self, member: Member, *, resumable: bool = False) -> None:
        """Of one that was not welcomed: nobody hears that it was there, but who heard that it came back."""
        self._server.manager.drop(member, resumable=resumable)
        if member.admitted:
            self._server.admission.leave(member.link.id)
        if member.resumed and member.membership is not None:
            member.membership.gone(member, self._server.reason.TRANSPORT_CLOSE)

    def _recovery_wanted(self, auth: Any) -> tuple[Any, tuple[object, object] | None]:
        """`auth` without what is the protocol's, and the `pid` and offset of a client that asks for recovery."""
        if not isinstance(auth, dict):
            return auth, (None, None) if self._recover_all else None
        if not self._recover_all and auth.get("recovery") is not True:
            return auth, None
        rest = {name: value for name, value in auth.items() if name not in ("recovery", "pid", "offset")}
        return rest, (auth.get("pid"), auth.get("offset"))


def _refuse(link: Link, namespace: str, error: Mapping[str, object]) -> None:
    if isinstance(link.session, PlainSession):
        told = error.get("data")
        reason = told if isinstance(told, Mapping) else {"message": error["message"]}
        link.session.say(link.session.dialect.say("error", {k: v for k, v in reason.items() if k != "close_code"}))
        code = reason.get("close_code")
        link.session.end("server disconnect", code if isinstance(code, int) else protocol.POLICY)
        return
    link.session.send(frames.message(*packets.encode(wire.CONNECT_ERROR, namespace, error)))


def _connect_error(error: Exception) -> dict[str, object]:
    if isinstance(error, ConnectionClosed):
        return {"message": error.message, "data": error.to_refusal()}
    if isinstance(error, socketio.exceptions.ConnectionRefusedError):
        return dict(error.error_args)
    internal = InternalError(secrets.token_hex(8))
    log.error("connect failed", error_id=internal.error_id, exc_info=error)
    return {"message": internal.message, "data": internal.to_wire() | {"close_code": 1011}}
