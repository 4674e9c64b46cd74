"""The manager of a node that is alone: what its clients miss is kept in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

from socketio import packet as wire

from server.identity import Identity
from server.realtime.delivery import conflated_by
from server.realtime.engine import frames
from server.realtime.fanout import Fanout, rooms_of
from server.realtime.link import Member
from server.realtime.packets import encode, with_offset
from server.realtime.recovery import Bounds, Recoverable, Recovery
from server.realtime.rooms import ALL


class MemoryFanout(Fanout):
    def __init__(
        self,
        recovery: Bounds | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_held: int = 1000,
    ) -> None:
        """`recovery`: None where no session can be resumed."""
        super().__init__(most_held=most_held)
        self._recovery = recovery
        self._recoveries: dict[str, Recovery] = {}  # by namespace
        self._clock = clock

    # -- members ------------------------------------------------------------------------------------------------

    def drop(self, member: Member, *, resumable: bool = False) -> None:
        if isinstance(session := member.recoverable, Recoverable):
            session.inbox = member.inbox
            session.data = (member.link.session.user_session or {}).get(member.namespace)
            recovery = self._recoveries[member.namespace]
            if resumable:
                recovery.dropped(session, self._clock())
            else:
                recovery.end(session)
        super().drop(member, resumable=resumable)

    def enter(self, member: Member, room: str) -> None:
        super().enter(member, room)
        if isinstance(member.recoverable, Recoverable):
            self._recoveries[member.namespace].enter(member.recoverable, room)

    def leave(self, member: Member, room: str) -> bool:
        if not super().leave(member, room):
            return False
        if isinstance(member.recoverable, Recoverable):
            self._recoveries[member.namespace].leave(member.recoverable, room)
        return True

    async def settled(self, member: Member) -> None:
        """They are at once."""

    async def flushed(self) -> None:
        """There are none."""

    async def emit_missing(self, namespace: str, event: str, payload: Mapping[str, object], room: str) -> bool:
        return False  # who could have died was this one, and its clients begin anew

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
        recovery = None if volatile else self._recoveries.get(namespace)
        rooms = rooms_of(room)
        logged = recovery is not None and recovery.watches(rooms)
        if not logged and not self.members(namespace, room):
            return
        parts = encode(wire.EVENT, namespace, arguments)
        if volatile:
            key, seconds = conflated_by(conflate)
            place = None if key is None else (namespace, arguments[0], key)
            self._spread_volatile(namespace, room, skip, parts, place, seconds)
            return
        plain = frames.message(*parts)
        if recovery is None or not logged:
            self._spread(namespace, room, skip, plain)
            return
        offset = recovery.next_offset()
        numbered = frames.message(*with_offset(parts, str(offset)))
        recovery.log(offset, rooms, skip, numbered, self._clock())
        self._spread(namespace, room, skip, plain, lambda: numbered)

    def connect(self, member: Member) -> None:
        session = member.recoverable
        if not isinstance(session, Recoverable):
            self._greet(member)
            return
        recovery = self._recoveries[member.namespace]
        before = recovery.missed(session, session.after, session.resumed_at) if member.resumed else ()
        self._greet(member, before, lambda: recovery.missed(session, session.resumed_at))

    # -- recovery -----------------------------------------------------------------------------------------------

    def open_recoverable(self, member: Member, identity: Identity) -> None:
        if self._recovery is not None:
            recovery = self._recoveries.get(member.namespace)
            if recovery is None:  # microseconds: no log before it gave out as many
                recovery = Recovery(self._recovery, offset=time.time_ns() // 1000)
                self._recoveries[member.namespace] = recovery
            member.recoverable = recovery.open(member.sid, identity)

    async def resume(self, member: Member, pid: object, offset: object, identity: Identity) -> bool:
        recovery = self._recoveries.get(member.namespace)
        session = None if recovery is None else recovery.resume(pid, offset, identity, self._clock())
        if session is None:
            return False
        self._renamed(member, session.sid)
        member.recoverable = session
        member.resumed = True
        if session.data is not None:
            earlier = member.link.session.user_session or {}
            member.link.session.user_session = earlier | {member.namespace: session.data}
        for room in session.rooms:
            if room not in (ALL, session.sid):
                self.enter(member, room)
        return True

    def holder(self, namespace: str, pid: object, identity: Identity) -> Member | None:
        recovery = self._recoveries.get(namespace)
        sid = None if recovery is None else recovery.held_by(pid, identity)
        return None if sid is None else self.member(sid, namespace)

    def prune(self) -> None:
        for namespace, recovery in list(self._recoveries.items()):
            recovery.prune(self._clock())
            if not len(recovery):
                del self._recoveries[namespace]
