"""Who is in which room on this node, and a message to all of them: encoded once, put into each one's outbox.

It stands where python-socketio expects its `AsyncManager`, and has what that server uses of it.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socketio import packet as wire

from server.realtime.engine import frames
from server.realtime.engine.session import Session
from server.realtime.packets import Packet

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

Callback = Callable[..., Any]


@dataclass(slots=True, eq=False)
class Member:
    """One session in one namespace. Until it is `connected`, that is admitted, nothing is sent to it."""

    sid: str
    session: Session
    rooms: set[str] = field(default_factory=set)
    connected: bool = False
    callbacks: dict[int, Callback] = field(default_factory=dict)


class Fanout:
    def __init__(self) -> None:
        self.server: RealtimeServer
        self._namespaces: dict[str, dict[str, Member]] = {}  # by sid
        self._of_session: dict[tuple[str, str], Member] = {}  # by namespace and session id
        self._rooms: dict[tuple[str, str], dict[str, Member]] = {}  # by namespace and room
        self._ack_ids = itertools.count(1)

    def __len__(self) -> int:
        """Members of all namespaces."""
        return len(self._of_session)

    # -- what python-socketio uses ------------------------------------------------------------------------------

    def set_server(self, server: RealtimeServer) -> None:
        self.server = server

    def initialize(self) -> None:
        """Nothing to prepare."""

    def get_namespaces(self) -> Iterable[str]:
        return self._namespaces.keys()

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        member = self._of_session.get((namespace, eio_sid))
        return None if member is None else member.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        member = self.member(sid, namespace)
        return None if member is None else member.session.id

    def is_connected(self, sid: str, namespace: str) -> bool:
        member = self.member(sid, namespace)
        return member is not None and member.connected

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        return self.is_connected(sid, namespace)

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """A session begins to enter a namespace; None if it is in it already."""
        session = self.server.eio.sessions.get(eio_sid)
        if session is None or (namespace, eio_sid) in self._of_session:
            return None
        member = Member(secrets.token_urlsafe(15), session)
        self._namespaces.setdefault(namespace, {})[member.sid] = member
        self._of_session[namespace, eio_sid] = member
        return member.sid

    async def connect(self, sid: str, namespace: str) -> str:
        member = self.member(sid, namespace)
        if member is not None:
            member.connected = True
        return sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        member = self.member(sid, namespace)
        if member is None:
            return None
        member.connected = False
        return member.session.id

    async def disconnect(self, sid: str, namespace: str, **_: object) -> None:
        """Costs as much as the rooms it was in, whoever else is connected."""
        member = self._namespaces.get(namespace, {}).pop(sid, None)
        if member is None:
            return
        member.connected = False
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]
        del self._of_session[namespace, member.session.id]
        for room in member.rooms:
            self._drop(namespace, room, sid)

    async def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        member = self.member(sid, namespace)
        if member is None:
            raise ValueError("sid is not connected to requested namespace")
        member.rooms.add(room)
        self._rooms.setdefault((namespace, room), {})[sid] = member

    async def leave_room(self, sid: str, namespace: str, room: str) -> None:
        member = self.member(sid, namespace)
        if member is not None and room in member.rooms:
            member.rooms.discard(room)
            self._drop(namespace, room, sid)

    async def close_room(self, room: str, namespace: str) -> None:
        for member in self._rooms.pop((namespace, room), {}).values():
            member.rooms.discard(room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        member = self.member(sid, namespace)
        return [] if member is None else [sid, *member.rooms]

    def get_participants(self, namespace: str, room: str | Collection[str] | None) -> Iterator[tuple[str, str]]:
        for member in self.members(namespace, room):
            yield member.sid, member.session.id

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: str | Collection[str] | None = None,
        skip_sid: str | Collection[str] | None = None,
        callback: Callback | None = None,
        to: str | Collection[str] | None = None,
        **_: object,
    ) -> None:
        """Never suspends: when it returns, every outbox has the message."""
        arguments = [event, *data] if isinstance(data, tuple) else [event] if data is None else [event, data]
        skipped = {skip_sid} if isinstance(skip_sid, str) else set(skip_sid or ())
        packets: list[frames.Packet] = []
        for member in self.members(namespace, to or room):
            if not member.connected or member.sid in skipped:
                continue
            if callback is not None:
                self.request(member, namespace, arguments, callback)
                continue
            if not packets:
                packets = encode(Packet(wire.EVENT, data=arguments, namespace=namespace))
            for packet in packets:
                member.session.send(packet)

    async def trigger_callback(self, sid: str, id: int, data: list[Any]) -> None:
        """An ack came; one that nobody waits for is the server's to refuse, before it gets here."""

    # -- what the realtime server uses --------------------------------------------------------------------------

    def member(self, sid: str, namespace: str) -> Member | None:
        return self._namespaces.get(namespace, {}).get(sid)

    def members(self, namespace: str, room: str | Collection[str] | None) -> Collection[Member]:
        """A connection's id is a room of its own."""
        if room is None:
            return list(self._namespaces.get(namespace, {}).values())
        if isinstance(room, str):
            found = self._rooms.get((namespace, room))
            if found is not None:
                return list(found.values())
            alone = self.member(room, namespace)
            return () if alone is None else (alone,)
        return {each.sid: each for one in room for each in self.members(namespace, one)}.values()

    def request(self, member: Member, namespace: str, arguments: list[Any], callback: Callback) -> int:
        """Sends an event that asks for an ack; the ack's id."""
        ack_id = next(self._ack_ids)
        member.callbacks[ack_id] = callback
        for packet in encode(Packet(wire.EVENT, data=arguments, namespace=namespace, id=ack_id)):
            member.session.send(packet)
        return ack_id

    def _drop(self, namespace: str, room: str, sid: str) -> None:
        members = self._rooms.get((namespace, room))
        if members is not None:
            members.pop(sid, None)
            if not members:
                del self._rooms[namespace, room]


def encode(packet: Packet) -> list[frames.Packet]:
    """A Socket.IO packet as what goes over an Engine.IO session: one message, and one for each attachment."""
    encoded = packet.encode()
    return [frames.message(part) for part in (encoded if isinstance(encoded, list) else [encoded])]
