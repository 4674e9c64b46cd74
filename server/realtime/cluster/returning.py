"""This node's part of sessions that can be resumed: each is written, kept fresh, and taken over from another node."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from server.identity import Identity
from server.realtime.cluster.dispatch import Dispatch
from server.realtime.cluster.feed import Arrival, Position, position
from server.realtime.cluster.feeds import Feeds
from server.realtime.cluster.node import PULSE_SECONDS, Node, NodeGone
from server.realtime.cluster.sessions import Found, Held, Sessions
from server.realtime.engine import frames, protocol
from server.realtime.link import Member
from server.realtime.packets import with_offset
from server.realtime.recovery import is_skipped, same_user
from server.realtime.rooms import ALL
from server.realtime.workers import Inbox

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)

YIELD_SECONDS = 2.5  # for another node to see whether a session's client is still there
DRAIN_SECONDS = 1.0  # for what that client sent before
MAX_INBOXES = 1000

Await = Callable[[Member, "asyncio.Future[Any]"], None]


@dataclass(slots=True, eq=False)
class Recoverable:
    """`inbox` is of its last connection here, if that is still at work."""

    pid: str
    identity: Identity
    inbox: Inbox | None = None


class Returning:
    def __init__(self, node: Node, dispatch: Dispatch, feeds: Feeds, sessions: Sessions, unsettled: Await) -> None:
        """`unsettled` is told what a member's `settled` waits for."""
        self.server: RealtimeServer
        self._node = node
        self._dispatch = dispatch
        self._feeds = feeds
        self._sessions = sessions
        self._unsettled = unsettled
        self._members: dict[str, Member] = {}  # by pid
        self._inboxes: OrderedDict[str, Inbox] = OrderedDict()  # by pid, of those dropped here that are still at work
        self._stale: set[Member] = set()  # whose session in Redis may not be as it is
        self._to_keep: list[Member] = []
        self._share = 0  # of them at each pulse
        node.on("yield", self._yield)

    # -- sessions of members here -------------------------------------------------------------------------------

    def open(self, member: Member, identity: Identity) -> None:
        self._begin(member, Recoverable(self._sessions.new_pid(), identity))
        self._feeds[member.namespace].arrivals[member] = Arrival()
        self._write_whole(member, 0)

    def entered(self, member: Member, room: str) -> None:
        if member.recoverable is not None:
            self._write(member, self._sessions.enter(member, member.recoverable.pid, room))

    def left(self, member: Member, room: str) -> None:
        if member.recoverable is not None:
            self._write(member, self._sessions.leave(member, member.recoverable.pid, room))

    def dropped(self, member: Member, *, resumable: bool) -> None:
        if not isinstance(session := member.recoverable, Recoverable):
            return
        self._stale.discard(member)
        if self._members.get(session.pid) is member:
            del self._members[session.pid]
        data = (member.link.session.user_session or {}).get(member.namespace)
        self._sessions.drop(member, session.pid, data, resumable=resumable)
        if member.inbox is not None and member.inbox.busy:
            self._inboxes[session.pid] = member.inbox
            if len(self._inboxes) > MAX_INBOXES:
                self._inboxes.popitem(last=False)

    def holder(self, namespace: str, pid: object, identity: Identity) -> Member | None:
        member = self._members.get(pid) if isinstance(pid, str) else None
        if member is None or member.namespace != namespace or not isinstance(member.recoverable, Recoverable):
            return None
        return member if same_user(member.recoverable.identity, identity) else None

    def forgotten(self, namespace: str) -> None:
        """Redis knows none of them any more."""
        self._stale.update(member for member in self._members.values() if member.namespace == namespace)

    def refresh(self) -> None:
        """Writes anew what Redis does not have as it is."""
        stale, self._stale = self._stale, set()
        for member in stale:
            self._write_whole(member, self._feeds[member.namespace].before)

    async def keep(self) -> None:
        """At each pulse: some, so that all are kept fresh in time. Raises RedisAway."""
        if not self._to_keep:
            self._to_keep = list(self._members.values())
            self._share = math.ceil(len(self._to_keep) * 4 * PULSE_SECONDS / self._sessions.lifetime)
        some, self._to_keep = self._to_keep[: self._share], self._to_keep[self._share :]
        kept = [(each, each.recoverable.pid) for each in some if each.recoverable is not None]
        if kept:
            answers = await self._node.patient(asyncio.gather(*[self._sessions.keep(*each) for each in kept]))
            for (member, pid), answer in zip(kept, answers, strict=True):
                if self._members.get(pid) is not member:
                    continue
                if answer == 0:
                    self._stale.add(member)
                elif answer == -1:
                    self._lost(member)
        self.refresh()

    def _lost(self, member: Member) -> None:
        """Another node took its session while this one was cut off."""
        member.link.session.end(self.server.reason.TRANSPORT_CLOSE, protocol.SESSION_REPLACED)

    def _begin(self, member: Member, session: Recoverable) -> None:
        member.recoverable = session
        self._members[session.pid] = member

    def _write_whole(self, member: Member, before: int) -> None:
        if isinstance(session := member.recoverable, Recoverable):
            rooms = [ALL, member.sid, *member.rooms]
            self._write(member, self._sessions.write(member, session.pid, session.identity, rooms, before))

    def _write(self, member: Member, answer: asyncio.Future[Any]) -> None:
        """One that fails is made up for when Redis is back."""
        self._unsettled(member, answer)

        def written(done: asyncio.Future[Any]) -> None:
            session = member.recoverable
            if done.cancelled() or session is None or self._members.get(session.pid) is not member:
                return
            if done.exception() is not None:
                self._stale.add(member)
            elif done.result() == -1:
                self._lost(member)

        answer.add_done_callback(written)

    # -- coming back --------------------------------------------------------------------------------------------

    async def claim(self, member: Member, pid: object, identity: Identity) -> Found | None:
        """The session, which is the member's from here on. None where there is none for this user, or its client is
        still connected. Raises RedisAway."""
        found = await self._sessions.take(member, pid, identity)
        for _ in range(2):
            if not isinstance(found, Held):
                return found
            try:
                body = {"namespace": member.namespace, "link": found.link}
                if found.node == self._node.id:
                    answer: Mapping[str, Any] = await self._yield(body)
                else:
                    answer = await self._node.ask(found.node, "yield", body, patience=YIELD_SECONDS)
                if not answer.get("gone"):
                    return None
            except NodeGone:
                log.info("a session's node is gone", node=found.node)
            found = await self._sessions.take(member, pid, identity, found.holder)
        return None if isinstance(found, Held) else found

    async def _yield(self, body: Mapping[str, Any]) -> dict[str, object]:
        """Another node asks for a session that is held here."""
        session = self.server.eio.sessions.get(body["link"])
        member = session.state.members.get(body["namespace"]) if session is not None and session.state else None
        if member is None or session is None:
            return {"gone": True}
        inbox = member.inbox
        await self.server.entrance.free(member)
        if session.closed and inbox is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await inbox.drained()
        return {"gone": session.closed}

    def take_place(self, member: Member, pid: str, identity: Identity) -> None:
        """From here on what is said to the session's rooms is held for the member."""
        self._begin(member, Recoverable(pid, identity, self._inboxes.pop(pid, None)))
        self._feeds[member.namespace].arrivals[member] = Arrival()

    async def catch_up(self, member: Member, found: Found, offset: object, subscribed: Collection[Any]) -> bool:
        """Fetches what it missed, once it is `subscribed` to all its rooms. Whether that is all of it. Raises
        RedisAway."""
        namespace, feed = member.namespace, self._feeds[member.namespace]
        seen = Position(found.start, "", 0) if offset is None else position(offset)
        if seen is None or (found.before and (offset is None or seen.offset < found.start)):
            return False  # no offset of ours, or one from before Redis lost what it knew
        own = self._dispatch.number(namespace)
        if subscribed:  # by others too: they are not to be cancelled with this wait
            done, _ = await self._node.patient(asyncio.wait(subscribed))
            for each in done:
                each.result()
        await self._node.patient(self._dispatch.flushed())
        until = await self._feeds.heard(feed)
        floor = max(seen.offset, found.start)
        after = {room: max(floor, entered) for room, entered in found.rooms.items()}
        if seen.offset > until or not await self._is_whole(namespace, after, floor):
            return False
        missed = feed.arrivals[member].missed
        for entry, letter in await self._feeds.read(namespace, after, until):
            is_held = letter.origin == self._node.id and letter.number > own
            had = seen.covers(entry, letter) or 0 < letter.was <= (found.before or letter.was)
            if not is_held and not had and not is_skipped(letter.skip, entry, found.sid, found.rooms):
                number = str(Position(entry, seen.node or self._node.id, seen.number))
                missed.append((letter.rooms, frames.message(*with_offset(letter.parts, number))))
        feed.arrivals[member].has_all_up_to(until)
        if seen.node and seen.node != self._node.id:
            feed.moved.setdefault(seen.node, {})[member] = seen.number
        return True

    async def _is_whole(self, namespace: str, after: Mapping[str, int], floor: int) -> bool:
        """Whether the rooms' logs have everything behind these offsets. Raises RedisAway."""
        keys = self._node.keys
        names = [keys.gap(namespace), *(keys.lost(namespace, room) for room in after)]
        lost = await self._node.call("MGET", *names)
        wanted = [floor, *after.values()]
        return all(each is None or int(each) <= offset for each, offset in zip(lost, wanted, strict=True))
