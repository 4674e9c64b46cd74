"""What comes in on a link, packet by packet: whose it is, and that who does not speak Socket.IO is closed."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from socketio import packet as wire

from server.realtime import packets
from server.realtime.doors import PlainInbound
from server.realtime.engine import frames
from server.realtime.engine.session import PlainSession, Session
from server.realtime.link import Link
from server.realtime.packets import MalformedPacket, Packet, UnusablePacket

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)


class Inbound:
    def __init__(self, server: RealtimeServer) -> None:
        self._server = server
        self.plain = PlainInbound(server)

    def message(self, session: Session, data: str | bytes) -> Awaitable[None] | None:
        """What it returns is awaited before the next."""
        link: Link = session.state
        if isinstance(session, PlainSession):
            return self.plain.message(session, data)
        if link.pending is None and (event := packets.plain_event(data)) is not None:
            return self._event(link, *event)
        try:
            packet = self._decode(link, data)
            return None if packet is None else self._take(link, packet)
        except UnusablePacket as error:
            return self._refuse(link, error)
        except (MalformedPacket, ValueError) as error:
            log.info("malformed packet", transport=link.id, error=str(error))
            self._server.eio.close(link.id)
        return None

    def _decode(self, link: Link, data: str | bytes) -> Packet | None:
        """None while attachments are to come. Raises MalformedPacket or UnusablePacket."""
        packet = link.pending
        if packet is not None:
            if not packet.add_attachment(data):
                return None
            link.pending = None
            return packet
        if not data:  # it would pass python-socketio's decoder unread
            raise MalformedPacket("an empty message")
        packet = Packet(encoded_packet=data)
        if packet.packet_type not in (wire.BINARY_EVENT, wire.BINARY_ACK):
            return packet
        if (packet.namespace or "/") not in link.members:
            raise MalformedPacket("binary data to a namespace that was not joined")
        link.pending = packet
        return None

    def _take(self, link: Link, packet: Packet) -> Awaitable[None] | None:
        kind, namespace = packet.packet_type, packet.namespace or "/"
        if kind in (wire.EVENT, wire.BINARY_EVENT):
            return self._event(link, namespace, packet.id, packet.data)
        if kind in (wire.ACK, wire.BINARY_ACK):
            return self._ack(link, namespace, packet.id, packet.data)
        if kind == wire.CONNECT:
            return self._server.entrance.connect(link, namespace, packet.data)
        member = link.members.get(namespace)
        if member is not None:
            self._server.leave(member, self._server.reason.CLIENT_DISCONNECT)
        else:
            self._stray(link, namespace)
        return None

    def _event(self, link: Link, namespace: str, id: int | None, data: list[Any]) -> Awaitable[None] | None:
        member = link.members.get(namespace)
        if member is not None and member.connected and member.membership is not None and member.connection is not None:
            reply = None if id is None else partial(self._reply, link.session, namespace, id)
            return member.membership.receive(member, member.connection, data[0], data[1:], reply)
        self._stray(link, namespace)
        return None

    def _stray(self, link: Link, namespace: str) -> None:
        """A packet to a namespace that the client is not in. It may have crossed the end of its membership; else it
        does not speak the protocol, and Node closes too."""
        if namespace not in link.left:
            self._server.eio.close(link.id)

    async def _ack(self, link: Link, namespace: str, id: int | None, data: list[Any]) -> None:
        """Unlike stock: an answer that nothing waits for is refused."""
        member = link.members.get(namespace)
        if member is None or member.membership is None or member.connection is None:
            self._stray(link, namespace)
            return
        await member.membership.begun(member)
        callback = None if id is None or member.callbacks is None else member.callbacks.pop(id, None)
        if callback is not None:
            result = callback(*data)
            if inspect.isawaitable(result):
                await result
        elif data:
            await member.membership.refuse_ack(member.connection)

    def _refuse(self, link: Link, error: UnusablePacket) -> Awaitable[None] | None:
        member = link.members.get(error.namespace)
        if member is None or member.membership is None or member.connection is None:
            self._stray(link, error.namespace)
            return None
        reply = None if error.ack_id is None else partial(self._reply, link.session, error.namespace, error.ack_id)
        refuse = partial(member.membership.refuse, member.connection, error.message, reply)
        return None if member.inbox is None else member.inbox.put(refuse)

    @staticmethod
    def _reply(session: Session, namespace: str, id: int, *results: object) -> None:
        session.send(frames.message(*packets.encode(wire.ACK, namespace, list(results), id)))
