"""Who is in which room on this node, and a message to all of them: encoded once, put into each one's outbox.

It stands where python-socketio expects its `AsyncManager`, and has what that server uses of it.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from socketio import packet as wire

from server.identity import Identity
from server.realtime.engine import frames
from server.realtime.link import Link, Member
from server.realtime.packets import encode, with_offset
from server.realtime.recovery import ALL, Recoverable, Recovery
from server.realtime.recovery import Bounds as RecoveryBounds

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

Callback = Callable[..., Any]


class Fanout:
    def __init__(
        self,
        recovery: RecoveryBounds | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_held: int = 1000,
    ) -> None:
        """`recovery`: None where no session can be resumed. `most_held`: messages behind a CONNECT."""
        self.server: RealtimeServer
        self._recovery = recovery
        self._recoveries: dict[str, Recovery] = {}  # by namespace
        self._clock = clock
        self._most_held = most_held
        self._namespaces: dict[str, dict[str, Member]] = {}  # by sid
        self._rooms: dict[tuple[str, str], dict[str, Member]] = {}  # by namespace and room
        self._ack_ids = itertools.count(1)

    def __len__(self) -> int:
        """Members of all namespaces."""
        return sum(map(len, self._namespaces.values()))

    # -- what python-socketio uses ------------------------------------------------------------------------------

    def set_server(self, server: RealtimeServer) -> None:
        self.server = server

    def initialize(self) -> None:
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
        arguments = [event, *data] if isinstance(data, tuple) else [event] if data is None else [event, data]
        skip = {skip_sid} if isinstance(skip_sid, str) else set(skip_sid or ())
        room = to or room
        if callback is None:
            self.deliver(namespace, arguments, room=room, skip=skip)
            return
        for member in self.members(namespace, room):
            if member.connected and member.sid not in skip:
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

    def join(self, link: Link, namespace: str) -> Member:
        """A link begins to enter a namespace, in which it is not yet."""
        member = Member(secrets.token_urlsafe(15), namespace, link)
        link.members[namespace] = member
        self._namespaces.setdefault(namespace, {})[member.sid] = member
        return member

    def drop(self, member: Member, *, resumable: bool = False) -> None:
        """Costs as much as the rooms it was in, whoever else is connected."""
        member.connected = False
        if member.recoverable is not None:
            member.recoverable.inbox = member.inbox
            member.recoverable.data = (member.link.session.user_session or {}).get(member.namespace)
            self._let_go(member.namespace, member.recoverable, resumable=resumable)
        members = self._namespaces.get(member.namespace, {})
        if members.get(member.sid) is member:
            del members[member.sid]
            if not members:
                del self._namespaces[member.namespace]
        if member.link.members.get(member.namespace) is member:
            del member.link.members[member.namespace]
        for room in member.rooms:
            self._drop(member, room)

    def enter(self, member: Member, room: str) -> None:
        member.rooms.add(room)
        self._rooms.setdefault((member.namespace, room), {})[member.sid] = member
        if member.recoverable is not None:
            self._recoveries[member.namespace].enter(member.recoverable, room)

    def leave(self, member: Member, room: str) -> None:
        if room in member.rooms:
            member.rooms.discard(room)
            self._drop(member, room)
            if member.recoverable is not None:
                self._recoveries[member.namespace].leave(member.recoverable, room)

    def _drop(self, member: Member, room: str) -> None:
        members = self._rooms.get((member.namespace, room))
        if members is not None:
            members.pop(member.sid, None)
            if not members:
                del self._rooms[member.namespace, room]

    # -- messages -----------------------------------------------------------------------------------------------

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
        """When it returns, every outbox has the message. `arguments` begin with the event's name."""
        members = self.members(namespace, room)
        recovery = None if volatile else self._recoveries.get(namespace)
        rooms = (ALL,) if room is None else (room,) if isinstance(room, str) else room
        logged = recovery is not None and recovery.watches(rooms)
        if not members and not logged:
            return
        key = None if conflate is None else (namespace, arguments[0], conflate)
        parts = encode(wire.EVENT, namespace, arguments)
        plain = frames.message(*parts, volatile=volatile, key=key)
        numbered = plain
        if recovery is not None and logged:
            offset = recovery.next_offset()
            numbered = frames.message(*with_offset(parts, str(offset)))
            recovery.log(offset, rooms, skip, numbered, self._clock())
        heard = [member for member in members if member.sid not in skip] if skip else members
        outlet = self.server.eio.outlet
        if numbered is plain:
            outlet.broadcast(plain, [member.outbox for member in heard if member.connected])
        else:
            now = [member for member in heard if member.connected]
            outlet.broadcast(plain, [member.outbox for member in now if member.recoverable is None])
            outlet.broadcast(numbered, [member.outbox for member in now if member.recoverable is not None])
        for member in self._entering(namespace, rooms):
            if member.sid not in skip and (numbered is plain or member.recoverable is None):
                self._hold(member, plain)

    def _entering(self, namespace: str, rooms: Collection[str]) -> Iterator[Member]:
        """Who is being admitted, of those that have one of these rooms to themselves."""
        for room in rooms:
            member = self.member(room, namespace)
            if member is not None and not member.connected:
                yield member

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

    def connect(self, member: Member, after: int | None = None) -> None:
        """It was admitted: its CONNECT goes out, and what was sent to it meanwhile; from here on it gets everything.

        `after`: the offset behind which a resumed session missed what there is. That goes first, as Node has it.
        """
        session, recoverable = member.link.session, member.recoverable
        greeting = {"sid": member.sid}
        if recoverable is not None:
            greeting["pid"] = recoverable.pid
        connect = frames.message(*encode(wire.CONNECT, member.namespace, greeting))
        meanwhile: list[frames.Packet] = []
        if recoverable is not None:
            recovery = self._recoveries[member.namespace]
            if after is not None:
                session.outbox.replay(recovery.missed(recoverable, after, recoverable.resumed_at))
            meanwhile = recovery.missed(recoverable, recoverable.resumed_at)
        session.send(connect)
        # A client that looks at one frame of a segment and only then listens for the next would miss what follows: the
        # `ws` package hands over all frames of a segment at once, and the protocol's own test suite reads it so.
        session.outbox.breathe()
        member.connected = True
        held, member.held = member.held, None
        for packet in (*meanwhile, *(held or ())):
            session.send(packet)

    def _hold(self, member: Member, packet: frames.Packet) -> None:
        if member.held is None:
            member.held = []
        if len(member.held) < self._most_held:
            member.held.append(packet)

    # -- recovery -----------------------------------------------------------------------------------------------

    def open_recoverable(self, member: Member, identity: Identity) -> None:
        """From here on the member's client can come back."""
        if self._recovery is not None:
            recovery = self._recoveries.get(member.namespace)
            if recovery is None:  # microseconds: no log before it gave out as many
                recovery = Recovery(self._recovery, offset=time.time_ns() // 1000)
                self._recoveries[member.namespace] = recovery
            member.recoverable = recovery.open(member.sid, identity)

    def resume(self, member: Member, pid: object, offset: object, identity: Identity) -> int | None:
        """The member takes the place of a dropped one: its id, its rooms. The offset behind which it missed what there
        is; None if there is no such session for this user."""
        namespace = member.namespace
        recovery = self._recoveries.get(namespace)
        found = None if recovery is None else recovery.resume(pid, offset, identity, self._clock())
        if found is None:
            return None
        session, after = found
        members = self._namespaces[namespace]
        del members[member.sid]
        member.sid = session.sid
        members[member.sid] = member
        member.recoverable = session
        member.resumed = True
        if session.data is not None:
            member.link.session.user_session = (member.link.session.user_session or {}) | {namespace: session.data}
        for room in session.rooms:
            if room not in (ALL, session.sid):
                self.enter(member, room)
        return after

    def holder(self, namespace: str, pid: object, identity: Identity) -> Member | None:
        """Who is connected in the session that a newcomer wants to resume."""
        recovery = self._recoveries.get(namespace)
        sid = None if recovery is None else recovery.held_by(pid, identity)
        return None if sid is None else self.member(sid, namespace)

    def prune(self) -> None:
        """Ends what nobody may resume any more."""
        for namespace, recovery in list(self._recoveries.items()):
            recovery.prune(self._clock())
            if not len(recovery):
                del self._recoveries[namespace]

    def _let_go(self, namespace: str, session: Recoverable, *, resumable: bool) -> None:
        recovery = self._recoveries[namespace]
        if resumable:
            recovery.dropped(session, self._clock())
        else:
            recovery.end(session)
