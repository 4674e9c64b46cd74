"""Who is in which room on this node, and a message to all of them: encoded once, put into each one's outbox.

It stands where python-socketio expects its `AsyncManager`, and has what that server uses of it. What is kept for those
who come back, and what other nodes hear, is a subclass's business.
"""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from socketio import packet as wire

from server.identity import Identity
from server.realtime.engine import frames
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.outbox import Outbox
from server.realtime.insight.ledger import PACED, SENT, VOLATILE
from server.realtime.link import Link, Member
from server.realtime.pacing import Pacer
from server.realtime.packets import encode
from server.realtime.rooms import ALL

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

Callback = Callable[..., Any]


def rooms_of(room: str | Collection[str] | None) -> Sequence[str]:
    """As logs have them. Nobody is in a room without a name, which there means everybody."""
    if room is None:
        return (ALL,)
    return [each for each in ((room,) if isinstance(room, str) else room) if each != ALL]


class Fanout(ABC):
    def __init__(self, *, most_held: int = 1000) -> None:
        """`most_held`: messages behind a CONNECT."""
        self.server: RealtimeServer
        self._most_held = most_held
        self._namespaces: dict[str, dict[str, Member]] = {}  # by sid
        self._rooms: dict[tuple[str, str], dict[str, Member]] = {}  # by namespace and room
        self._ack_ids = itertools.count(1)
        self._pacer = Pacer()
        self._plain = 0  # members that are plain WebSockets

    def __len__(self) -> int:
        """Members of all namespaces."""
        return sum(map(len, self._namespaces.values()))

    # -- what python-socketio uses ------------------------------------------------------------------------------

    def set_server(self, server: RealtimeServer) -> None:
        self.server = server

    def initialize(self) -> None:  # noqa: B027 - python-socketio calls it; no subclass has anything to prepare
        """Nothing to prepare."""

    def get_namespaces(self) -> Iterable[str]:
        return self._namespaces.keys()

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        session = self.server.eio.sessions.get(eio_sid)
        member = None if session is None else session.state.members.get(namespace)
        return None if member is None else member.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        member = self.member(sid, namespace)
        return None if member is None else member.link.id

    def is_connected(self, sid: str, namespace: str) -> bool:
        member = self.member(sid, namespace)
        return member is not None and member.connected

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        return self.is_connected(sid, namespace)

    async def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        member = self.member(sid, namespace)
        if member is None:
            raise ValueError("sid is not connected to requested namespace")
        self.enter(member, room)

    async def leave_room(self, sid: str, namespace: str, room: str) -> None:
        member = self.member(sid, namespace)
        if member is not None:
            self.leave(member, room)

    async def close_room(self, room: str, namespace: str) -> None:
        for member in list(self._rooms.get((namespace, room), {}).values()):
            self.leave(member, room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        member = self.member(sid, namespace)
        return [] if member is None else [sid, *member.rooms]

    def get_participants(self, namespace: str, room: str | Collection[str] | None) -> Iterator[tuple[str, str]]:
        for member in self.members(namespace, room):
            yield member.sid, member.link.id

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
        """One with a `callback` goes to this node's members only."""
        arguments = [event, *data] if isinstance(data, tuple) else [event] if data is None else [event, data]
        skip = {skip_sid} if isinstance(skip_sid, str) else set(skip_sid or ())
        room = to or room
        if callback is None:
            self.deliver(namespace, arguments, room=room, skip=skip)
            return
        for member in self.members(namespace, room):
            if member.connected and not member.is_in(skip):
                self.request(member, arguments, callback)

    # -- members ------------------------------------------------------------------------------------------------

    def member(self, sid: str, namespace: str) -> Member | None:
        members = self._namespaces.get(namespace)
        return None if members is None else members.get(sid)

    def members(self, namespace: str, room: str | Collection[str] | None) -> Collection[Member]:
        """A connection's id is a room of its own."""
        if room is None:
            return self._namespaces.get(namespace, {}).values()
        if isinstance(room, str):
            found = self._rooms.get((namespace, room))
            if found is not None:
                return found.values()
            alone = self.member(room, namespace)
            return () if alone is None else (alone,)
        return {each.sid: each for one in room for each in self.members(namespace, one)}.values()

    def rooms(self) -> Iterator[tuple[str, str, int]]:
        """Namespace, room and how many members are in it here."""
        return ((namespace, room, len(members)) for (namespace, room), members in list(self._rooms.items()))

    def join(self, link: Link, namespace: str) -> Member:
        """A link begins to enter a namespace, in which it is not yet."""
        member = Member(self.new_sid(), namespace, link)
        self._plain += member.dialect is not None
        link.members[namespace] = member
        self._namespaces.setdefault(namespace, {})[member.sid] = member
        return member

    def new_sid(self) -> str:
        return secrets.token_urlsafe(15)

    def drop(self, member: Member, *, resumable: bool = False) -> None:
        """Costs as much as the rooms it was in, whoever else is connected."""
        member.connected = False
        members = self._namespaces.get(member.namespace, {})
        if members.get(member.sid) is member:
            self._plain -= member.dialect is not None
            del members[member.sid]
            if not members:
                del self._namespaces[member.namespace]
        if member.link.members.get(member.namespace) is member:
            del member.link.members[member.namespace]
        for room in member.rooms:
            self._drop(member, room)

    def enter(self, member: Member, room: str) -> None:
        if member.record is not None and room not in member.rooms:
            member.record.joined(room)
        member.rooms.add(room)
        self._rooms.setdefault((member.namespace, room), {})[member.sid] = member

    def leave(self, member: Member, room: str) -> bool:
        """Whether it was in the room."""
        if room not in member.rooms:
            return False
        member.rooms.discard(room)
        self._drop(member, room)
        if member.record is not None:
            member.record.left(room)
        return True

    @abstractmethod
    async def settled(self, member: Member) -> None:
        """The rooms it entered are its own wherever a message comes from."""

    @abstractmethod
    async def flushed(self) -> None:
        """What was delivered before now reaches its members on other nodes, should this one die."""

    @abstractmethod
    async def emit_missing(self, namespace: str, event: str, payload: Mapping[str, object], room: str) -> bool:
        """As `delivery.Delivery`."""

    def _renamed(self, member: Member, sid: str) -> None:
        """It takes the place of a session that was dropped."""
        members = self._namespaces[member.namespace]
        del members[member.sid]
        member.sid = sid
        members[sid] = member

    def _drop(self, member: Member, room: str) -> None:
        members = self._rooms.get((member.namespace, room))
        if members is not None:
            members.pop(member.sid, None)
            if not members:
                del self._rooms[member.namespace, room]

    # -- messages -----------------------------------------------------------------------------------------------

    @abstractmethod
    def deliver(
        self,
        namespace: str,
        arguments: list[Any],
        *,
        room: str | Collection[str] | None,
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        """When it returns, every outbox on this node has the message. `arguments` begin with the event's name."""

    def _spread(
        self,
        namespace: str,
        room: str | Collection[str] | None,
        skip: Collection[str],
        plain: frames.Packet,
        number: Callable[[], frames.Packet] | None = None,
    ) -> None:
        """Puts it into the outboxes here: the numbered one into those of clients that can come back."""
        members = self.members(namespace, room)
        now = [each for each in members if each.connected and not (skip and each.is_in(skip))]
        outlet = self.server.eio.outlet
        insight = self.server.insight
        self.server.statistics.messages_sent += len(now)
        if (meter := insight.meters.get(namespace)) is not None:
            meter.events_out += len(now)
            meter.emits += 1
            if now and not meter.emits % meter.emit_stride:
                outlet.time(meter.write.observe)
        rooms = rooms_of(room)
        plain.place = (namespace, rooms)
        if self._plain:
            now = self._tell_plain(now, plain)
        numbered = None
        if number is None:
            outlet.broadcast(plain, [member.outbox for member in now])
        else:
            if recoverable := [member.outbox for member in now if member.recoverable is not None]:
                numbered = number()
                numbered.place = plain.place
                outlet.broadcast(numbered, recoverable)
            # Last: where it is for nobody, and nothing is corked, the outlet takes no time.
            outlet.broadcast(plain, [member.outbox for member in now if member.recoverable is None])
        if meter is not None:
            kind = VOLATILE if plain.volatile else SENT
            insight.ledger.put(namespace, rooms, kind, plain.parts[0], numbered.parts[0] if numbered else "", skip)
        for one in rooms:
            member = self.member(one, namespace)
            if member is None or member.connected or member.is_in(skip):
                continue
            if number is None or member.recoverable is None:
                self._hold(member, plain)

    def _tell_plain(self, members: Sequence[Member], packet: frames.Packet) -> list[Member]:
        """To those that are plain WebSockets, in each one's dialect; the others."""
        others: list[Member] = []
        dialects: dict[Dialect, list[Outbox]] = {}
        for member in members:
            if (dialect := member.dialect) is None:
                others.append(member)
            else:
                dialects.setdefault(dialect, []).append(member.outbox)
        for dialect, outboxes in dialects.items():
            if (told := packet.told(dialect)) is not None:
                self.server.eio.outlet.broadcast(told, outboxes)
        return others

    def _spread_volatile(
        self,
        namespace: str,
        room: str | Collection[str] | None,
        skip: Collection[str],
        parts: Sequence[str | bytes],
        key: Hashable | None,
        seconds: float | None,
    ) -> None:
        """`seconds`: of a `Conflation`."""
        packet = frames.message(*parts, volatile=True, key=key, counts=seconds is not None)
        if not seconds:
            self._spread(namespace, room, skip, packet)
            return
        rooms = rooms_of(room)
        packet.place = (namespace, rooms)
        if namespace in self.server.insight.meters:
            self.server.insight.ledger.put(namespace, rooms, PACED, packet.parts[0], "", skip)
        place = (namespace, room if room is None or isinstance(room, str) else tuple(room))
        self._pacer.offer(place, seconds, packet, lambda newest: self._spread(namespace, room, skip, newest))

    def request(self, member: Member, arguments: list[Any], callback: Callback) -> int:
        """Sends an event that asks for an ack; the ack's id."""
        ack_id = next(self._ack_ids)
        if member.callbacks is None:
            member.callbacks = {}
        member.callbacks[ack_id] = callback
        packet = frames.message(*encode(wire.EVENT, member.namespace, arguments, ack_id))
        if member.connected:
            member.link.session.send(packet)
        else:
            self._hold(member, packet)
        return ack_id

    @abstractmethod
    def connect(self, member: Member) -> None:
        """It was admitted: its CONNECT goes out, and what was sent to it meanwhile; from here on it gets everything.
        What a resumed session missed goes first, as Node has it."""

    def _greet(
        self, member: Member, before: Sequence[frames.Packet] = (), after: Callable[[], Sequence[frames.Packet]] = tuple
    ) -> None:
        session, recoverable = member.link.session, member.recoverable
        greeting = {"sid": member.sid}
        if recoverable is not None:
            greeting["pid"] = recoverable.pid
        if member.resumed:
            session.outbox.replay(before)
        if member.dialect is None:
            session.send(frames.message(*encode(wire.CONNECT, member.namespace, greeting)))
            # A client that looks at one frame of a segment and only then listens for the next would miss what
            # follows: the `ws` package hands over all frames of a segment at once, and the protocol's own test suite
            # reads it so.
            session.outbox.breathe()
        member.connected = True
        self.server.insight.connected(member, len(before))
        held, member.held = member.held, None
        for packet in (*after(), *(held or ())):
            session.send(packet)

    def _hold(self, member: Member, packet: frames.Packet) -> None:
        if member.held is None:
            member.held = []
        if len(member.held) < self._most_held:
            member.held.append(packet)

    # -- recovery -----------------------------------------------------------------------------------------------

    @abstractmethod
    def open_recoverable(self, member: Member, identity: Identity) -> None:
        """From here on the member's client can come back."""

    @abstractmethod
    async def resume(self, member: Member, pid: object, offset: object, identity: Identity) -> bool:
        """The member takes the place of a dropped one: its id, its rooms. Whether there is such a session for this
        user, and all that it missed."""

    @abstractmethod
    def holder(self, namespace: str, pid: object, identity: Identity) -> Member | None:
        """Who is connected here in the session that a newcomer wants to resume."""

    @abstractmethod
    def prune(self) -> None:
        """Ends what nobody may resume any more."""
