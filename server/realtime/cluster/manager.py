"""The manager of one node among many: a room's events go to the nodes that have members in it, and to its log in Redis.

A node delivers its own events at once, then tells Redis; others deliver them in Redis's order. So no emit waits, and a
client's position is an offset in that order and a count of its node's own (`feed.Position`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from socketio import packet as wire

from server.identity import Identity
from server.realtime.cluster import letters, scripts
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.dispatch import Dispatch
from server.realtime.cluster.feed import Arrival, Feed, Position, position
from server.realtime.cluster.letters import Letter
from server.realtime.cluster.node import ID_CHARS, PULSE_SECONDS, Node, NodeGone
from server.realtime.cluster.sessions import Found, Held, Sessions
from server.realtime.engine import frames, protocol
from server.realtime.fanout import Fanout, rooms_of
from server.realtime.link import Link, Member
from server.realtime.packets import encode, with_offset
from server.realtime.recovery import same_user
from server.realtime.rooms import ALL
from server.realtime.workers import Inbox

log = structlog.get_logger(__name__)

YIELD_SECONDS = 2.5  # for another node to see whether a session's client is still there
LOGS_A_TURN = 200  # read at once
MAX_REPLAY = 100_000
MAX_INBOXES = 1000
DRAIN_SECONDS = 1.0

_SID = re.compile(rf"[0-9a-f]{{{ID_CHARS}}}-[A-Za-z0-9_-]{{20}}")


@dataclass(slots=True, eq=False)
class Recoverable:
    """This node's part of a session that can be resumed. `inbox` is of its last connection here, if that is still at
    work."""

    pid: str
    identity: Identity
    inbox: Inbox | None = None


class ClusterFanout(Fanout):
    def __init__(self, node: Node, dispatch: Dispatch, sessions: Sessions | None, *, most_held: int = 1000) -> None:
        """`sessions`: None where none can be resumed."""
        super().__init__(most_held=most_held)
        self.node = node
        self._dispatch = dispatch
        self._sessions = sessions
        self._feeds: dict[str, Feed] = {}
        self._by_pid: dict[str, Member] = {}
        self._inboxes: OrderedDict[str, Inbox] = OrderedDict()  # by pid, of those dropped here that are still at work
        self._unsettled: dict[Member, list[asyncio.Future[Any]]] = {}
        self._stale: set[Member] = set()  # whose session in Redis may not be as it is
        self._to_keep: list[Member] = []
        self._share = 0  # of them at each pulse
        node.hears = self._hear
        node.direct = self._direct
        node.returns.append(self._redis_returned)
        node.breaks.append(dispatch.stop)
        node.deaf.append(self._hold_feeds)
        node.hearing.append(self._repair)
        node.pulses.append(self._pulse)
        node.on("yield", self._yield)

    # -- members ------------------------------------------------------------------------------------------------

    def new_sid(self) -> str:
        return f"{self.node.id}-{secrets.token_urlsafe(15)}"

    def join(self, link: Link, namespace: str) -> Member:
        member = super().join(link, namespace)
        if namespace not in self._feeds:
            feed = self._feeds[namespace] = Feed(namespace)
            if not self.node.listener.ready:
                feed.waiting = []
            self._subscribe(member, ALL)
            if self.node.commands.ready:
                self.node.spawn(self._meet(feed), "hello")
        return member

    def drop(self, member: Member, *, resumable: bool = False) -> None:
        session = member.recoverable
        for room in member.rooms:
            self._left_behind(member, room)
        super().drop(member, resumable=resumable)
        self._unsettled.pop(member, None)
        self._feeds[member.namespace].forget(member)
        if isinstance(session, Recoverable):
            self._end_session(member, session, resumable=resumable)
            if member.inbox is not None and member.inbox.busy:
                self._inboxes[session.pid] = member.inbox
                if len(self._inboxes) > MAX_INBOXES:
                    self._inboxes.popitem(last=False)

    def enter(self, member: Member, room: str) -> None:
        if room in member.rooms:
            return
        super().enter(member, room)
        self._subscribe(member, room)
        if member.recoverable is not None and self._sessions is not None:
            self._write(member, self._sessions.enter(member, member.recoverable.pid, room))

    def leave(self, member: Member, room: str) -> bool:
        if room in member.rooms:
            self._left_behind(member, room)
        if not super().leave(member, room):
            return False
        if member.recoverable is not None and self._sessions is not None:
            self._write(member, self._sessions.leave(member, member.recoverable.pid, room))
        return True

    async def settled(self, member: Member) -> None:
        """Messages from other nodes reach it, and its session is in Redis; or will be, where Redis is away."""
        unsettled = self._unsettled.pop(member, None)
        if unsettled and self.node.up:
            with contextlib.suppress(RedisAway):
                await self.node.patient(asyncio.wait(unsettled))

    def _subscribe(self, member: Member, room: str) -> None:
        """Once for each room with members here."""
        channel, listener = self.node.keys.channel(member.namespace, room), self.node.listener
        is_first = room == ALL or len(self._rooms[member.namespace, room]) == 1
        pending = listener.subscribe(channel) if is_first else listener.pending(channel)
        if pending is not None:
            self._unsettled.setdefault(member, []).append(pending)

    def _left_behind(self, member: Member, room: str) -> None:
        if len(self._rooms.get((member.namespace, room), ())) == 1:
            self.node.listener.unsubscribe(self.node.keys.channel(member.namespace, room))

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
        rooms = rooms_of(room)
        parts = encode(wire.EVENT, namespace, arguments)
        if volatile:
            key = None if conflate is None else repr((arguments[0], conflate))
            self._spread(namespace, room, skip, _volatile(namespace, parts, key))
            if channels := [channel for each in rooms if (channel := self._channel(namespace, each))]:
                letter = Letter(self.node.id, 0, namespace, [*rooms], [*skip], parts, key)
                self._dispatch.volatile(letter, [channel.removeprefix("@") for channel in channels])
            return
        plain = frames.message(*parts)
        if self._is_alone(namespace, room):
            self._spread(namespace, room, skip, plain)
            return
        number = self._dispatch.next_number(namespace)
        letter = Letter(self.node.id, number, namespace, [*rooms], [*skip], parts)
        self._deliver_here(letter, room, plain)
        self._dispatch.put(letter, [self._channel(namespace, each) for each in rooms])

    def _deliver_here(
        self, letter: Letter, room: str | Collection[str] | None, plain: frames.Packet, offset: int | None = None
    ) -> None:
        """`offset`: of one that another node sent."""
        namespace, skip = letter.namespace, letter.skip
        feed = self._feeds.get(namespace)
        if feed is None:
            return
        numbered: list[frames.Packet] = []

        def number() -> frames.Packet:
            if not numbered:
                seen = Position(offset or feed.newest, self.node.id, self._dispatch.number(namespace))
                numbered.append(frames.message(*with_offset(letter.parts, str(seen))))
            return numbered[0]

        if offset is not None and (feed.floors or letter.origin in feed.moved):
            skip = [*skip, *feed.have(offset, letter)]
        self._spread(namespace, room, skip, plain, number)
        for member, arrival in feed.arrivals.items():
            if member.sid not in skip and _reaches(letter.rooms, member) and len(arrival.live) < self._most_held:
                arrival.live.append(number())

    def _channel(self, namespace: str, room: str) -> str:
        """Where a room's events are published: nowhere where nobody else can be in it; `@` and a node's for a
        connection elsewhere."""
        if (namespace, room) in self._rooms or not _SID.fullmatch(room):
            return self.node.keys.channel(namespace, room)
        if self.member(room, namespace) is not None:
            return ""
        node = room[:ID_CHARS]
        return "@" if node == self.node.id else f"@{self.node.keys.node(node)}"

    def _is_alone(self, namespace: str, room: str | Collection[str] | None) -> bool:
        """A connection here whose client will not come back."""
        member = self.member(room, namespace) if isinstance(room, str) else None
        return member is not None and member.recoverable is None

    def _direct(self, message: bytes) -> None:
        """What is for this node alone."""
        if message.startswith(b"pulse "):
            _, offset, namespace = message.split(b" ", 2)
            feed = self._feeds.get(namespace.decode())
            if feed is not None and feed.waiting is None:
                feed.advance(int(offset))
            return
        self._hear("", message)

    def _hear(self, channel: str, message: bytes) -> None:
        if not channel.startswith(f"{self.node.keys.prefix}:/") and channel:
            self.outside(channel, message)
            return
        offset, _, encoded = message.partition(b" ")
        letter = letters.decode(encoded)
        feed = self._feeds.get(letter.namespace)
        if feed is None:
            return
        if offset == b"0":
            if letter.origin != self.node.id:
                plain = _volatile(letter.namespace, letter.parts, letter.key)
                self._spread(letter.namespace, _room(letter.rooms), letter.skip, plain)
        elif feed.waiting is not None:
            feed.waiting.append((int(offset), letter))
        else:
            self._take(feed, int(offset), letter)

    def _take(self, feed: Feed, offset: int, letter: Letter) -> None:
        """One logged event, in Redis's order."""
        if letter.origin != self.node.id and feed.is_news(letter):
            self._deliver_here(letter, _room(letter.rooms), frames.message(*letter.parts), offset)
        feed.advance(offset)

    outside: Callable[[str, bytes], None] = staticmethod(lambda channel, message: None)

    # -- coming back --------------------------------------------------------------------------------------------

    def open_recoverable(self, member: Member, identity: Identity) -> None:
        if self._sessions is not None:
            session = member.recoverable = Recoverable(self._sessions.new_pid(), identity)
            self._by_pid[session.pid] = member
            self._feeds[member.namespace].arrivals[member] = Arrival()
            self._write_whole(member)

    async def resume(self, member: Member, pid: object, offset: object, identity: Identity) -> bool:
        if self._sessions is None or not isinstance(pid, str) or not self.node.up:
            return False
        try:
            found = await self._take_over(self._sessions, member, pid, identity)
        except RedisAway:
            return False
        if found is None:
            return False
        new_sid = member.sid
        self._renamed(member, found.sid)
        member.recoverable = Recoverable(pid, identity, self._inboxes.pop(pid, None))
        self._by_pid[pid] = member
        try:
            member.resumed = await self._catch_up(member, found, offset)
        except RedisAway as away:
            log.info("a session could not be resumed", reason=str(away))
        if not member.resumed:
            self._begin_anew(member, new_sid)
        elif found.data is not None:
            earlier = member.link.session.user_session or {}
            member.link.session.user_session = earlier | {member.namespace: found.data}
        return member.resumed

    async def _take_over(self, sessions: Sessions, member: Member, pid: str, identity: Identity) -> Found | None:
        """The session, which is the member's from here on. Raises RedisAway."""
        found = await sessions.take(member, pid, identity)
        for _ in range(2):
            if not isinstance(found, Held):
                return found
            try:
                if found.node == self.node.id:
                    return None  # whose client answered a ping
                body = {"namespace": member.namespace, "link": found.holder.partition(":")[2]}
                answer = await self.node.ask(found.node, "yield", body, patience=YIELD_SECONDS)
                if not answer.get("gone"):
                    return None
            except NodeGone:
                pass
            found = await sessions.take(member, pid, identity, found.holder)
        return None if isinstance(found, Held) else found

    async def _yield(self, body: Any) -> dict[str, object]:
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

    async def _catch_up(self, member: Member, found: Found, offset: object) -> bool:
        """Fetches what it missed, and holds what is said meanwhile. Whether that is all of it. Raises RedisAway."""
        namespace = member.namespace
        seen = Position(found.start, "", 0) if offset is None else position(offset)
        if seen is None:
            return False
        feed = self._feeds[namespace]
        arrival = feed.arrivals[member] = Arrival()
        own = self._dispatch.number(namespace)
        for room in found.rooms:
            if room not in (ALL, found.sid):
                super().enter(member, room)
                self._subscribe(member, room)
        unsettled = self._unsettled.pop(member, [])
        if unsettled:
            await self.node.patient(asyncio.wait(unsettled))
        await self.node.patient(self._dispatch.flushed())
        keys = self.node.keys
        until = int(await self.node.run(scripts.NEWEST, [keys.offset(namespace)], []))
        if seen.offset > until or any(future.exception() is not None for future in unsettled):
            return False
        floor = max(seen.offset, found.start)
        lost = await self.node.call("MGET", keys.gap(namespace), *[keys.lost(namespace, room) for room in found.rooms])
        entered = [0, *found.rooms.values()]
        if any(each is not None and int(each) > max(floor, since) for each, since in zip(lost, entered, strict=True)):
            return False
        starts = {room: max(floor, since) for room, since in found.rooms.items()}
        for entry, letter in await self._read_logs(namespace, starts, until):
            is_own = letter.origin == self.node.id and letter.number > own
            if not is_own and not seen.covers(entry, letter) and found.sid not in letter.skip:
                number = str(Position(entry, seen.node or self.node.id, seen.number))
                arrival.missed.append((letter.rooms, frames.message(*with_offset(letter.parts, number))))
        if until > feed.newest:
            feed.floors[member] = until
        if seen.node and seen.node != self.node.id:
            feed.moved.setdefault(seen.node, {})[member] = seen.number
        return True

    async def _read_logs(self, namespace: str, after: dict[str, int], until: int) -> list[tuple[int, Letter]]:
        """What the rooms' logs have up to an offset, in order, each once. Raises RedisAway."""
        found: dict[int, Letter] = {}
        rooms = list(after)
        for i in range(0, len(rooms), LOGS_A_TURN):
            reads = []
            for room in rooms[i : i + LOGS_A_TURN]:
                log_key, start = self.node.keys.log(namespace, room), f"({after[room]}-0"
                reads.append(self.node.commands.call("XRANGE", log_key, start, f"{until}-0", "COUNT", MAX_REPLAY))
            for entries in await self.node.patient(asyncio.gather(*reads)):
                for id, fields in entries:
                    offset = int(id.partition(b"-")[0])
                    if offset not in found:
                        found[offset] = letters.decode(fields[1])
        return sorted(found.items())

    def _begin_anew(self, member: Member, sid: str) -> None:
        """It could not be resumed after all."""
        if isinstance(member.recoverable, Recoverable):
            self._end_session(member, member.recoverable, resumable=False)
        member.recoverable = None
        for room in list(member.rooms):
            self.leave(member, room)
        self._feeds[member.namespace].forget(member)
        self._renamed(member, sid)

    def connect(self, member: Member) -> None:
        arrival = self._feeds[member.namespace].arrivals.pop(member, None) or Arrival()
        before = [packet for rooms, packet in arrival.missed if _reaches(rooms, member)]
        self._greet(member, before, lambda: arrival.live)

    def holder(self, namespace: str, pid: object, identity: Identity) -> Member | None:
        member = self._by_pid.get(pid) if isinstance(pid, str) else None
        if member is None or member.namespace != namespace or not isinstance(member.recoverable, Recoverable):
            return None
        return member if same_user(member.recoverable.identity, identity) else None

    def prune(self) -> None:
        """Redis does."""

    # -- sessions in Redis --------------------------------------------------------------------------------------

    def _write_whole(self, member: Member) -> None:
        if self._sessions is not None and isinstance(member.recoverable, Recoverable):
            session = member.recoverable
            rooms = [ALL, member.sid, *member.rooms]
            self._write(member, self._sessions.write(member, session.pid, session.identity, rooms))

    def _write(self, member: Member, answer: asyncio.Future[Any]) -> None:
        """One that fails is made up for when Redis is back."""
        self._unsettled.setdefault(member, []).append(answer)

        def written(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and done.exception() is not None and member.recoverable is not None:
                self._stale.add(member)

        answer.add_done_callback(written)

    def _end_session(self, member: Member, session: Recoverable, *, resumable: bool) -> None:
        self._stale.discard(member)
        if self._by_pid.get(session.pid) is member:
            del self._by_pid[session.pid]
        if self._sessions is not None:
            data = (member.link.session.user_session or {}).get(member.namespace)
            self._sessions.drop(member, session.pid, data, resumable=resumable)

    def _refresh(self) -> None:
        stale, self._stale = self._stale, set()
        for member in stale:
            if member.recoverable is not None:
                self._write_whole(member)
                self._unsettled.pop(member, None)

    async def _keep(self, sessions: Sessions) -> None:
        """Some at each pulse, so that all are kept fresh in time."""
        if not self._to_keep:
            self._to_keep = list(self._by_pid.values())
            self._share = math.ceil(len(self._to_keep) * 4 * PULSE_SECONDS / sessions.lifetime)
        some, self._to_keep = self._to_keep[: self._share], self._to_keep[self._share :]
        kept = [(each, each.recoverable.pid) for each in some if each.recoverable is not None]
        answers = await self._all([sessions.keep(member, pid) for member, pid in kept])
        for (member, _), answer in zip(kept, answers, strict=True):
            if answer == 0:
                self._stale.add(member)
            elif answer == -1:  # another node took it while this one was cut off
                member.link.session.end(self.server.reason.TRANSPORT_CLOSE, protocol.SESSION_REPLACED)

    # -- Redis comes and goes -----------------------------------------------------------------------------------

    async def _redis_returned(self) -> None:
        for feed in list(self._feeds.values()):
            await self._hello(feed)
        self._dispatch.resume()
        self._refresh()

    async def _hello(self, feed: Feed) -> None:
        """Learns whether Redis still knows what it knew. Raises RedisAway."""
        keys = self.node.keys
        gave_up = feed.namespace in self._dispatch.gave_up
        self._dispatch.gave_up.discard(feed.namespace)
        names = [keys.offset(feed.namespace), keys.epoch(feed.namespace), keys.gap(feed.namespace)]
        epoch, offset = await self.node.run(scripts.HELLO, names, [feed.newest, secrets.token_hex(8), int(gave_up)])
        if feed.epoch not in (None, epoch):
            log.warning("redis lost what it knew", namespace=feed.namespace)
            self._dispatch.again(feed.namespace)
            self._stale.update(each for each in self.members(feed.namespace, None) if each.recoverable is not None)
        feed.epoch = epoch
        if not feed.newest and feed.waiting is None:
            feed.advance(int(offset))

    async def _meet(self, feed: Feed) -> None:
        with contextlib.suppress(RedisAway):
            await self._hello(feed)

    def _hold_feeds(self) -> None:
        for feed in self._feeds.values():
            if feed.waiting is None:
                feed.waiting = []

    async def _repair(self) -> None:
        """Listening again: what was said meanwhile is in the logs. Raises RedisAway."""
        for feed in list(self._feeds.values()):
            namespace = feed.namespace
            until = int(await self.node.run(scripts.NEWEST, [self.node.keys.offset(namespace)], []))
            entries = []
            if feed.newest:
                rooms = [room for of, room in self._rooms if of == namespace]
                rooms += [ALL, *(member.sid for member in self.members(namespace, None))]
                entries = await self._read_logs(namespace, dict.fromkeys(rooms, feed.newest), until)
            for offset, letter in entries:
                self._take(feed, offset, letter)
            feed.advance(until)
            waiting, feed.waiting = feed.waiting or [], None
            for offset, letter in waiting:
                if offset > until:
                    self._take(feed, offset, letter)

    async def _pulse(self) -> None:
        keys = self.node.keys
        for namespace in [each for each in self._feeds if each not in self._namespaces]:
            del self._feeds[namespace]
            self.node.listener.unsubscribe(keys.channel(namespace, ALL))
        feeds = list(self._feeds.values())
        pulses = []
        for feed in feeds:
            names = [keys.offset(feed.namespace), keys.epoch(feed.namespace)]
            pulses.append(self.node.commands.run(scripts.PULSE, names, [self.node.channel, feed.namespace]))
        for feed, epoch in zip(feeds, await self._all(pulses), strict=True):
            if epoch != feed.epoch or feed.namespace in self._dispatch.gave_up:
                await self._hello(feed)
        if self._sessions is not None:
            await self._keep(self._sessions)
        self._refresh()

    async def _all(self, answers: Sequence[asyncio.Future[Any]]) -> list[Any]:
        return list(await self.node.patient(asyncio.gather(*answers))) if answers else []


def _volatile(namespace: str, parts: tuple[str | bytes, ...], key: str | None) -> frames.Packet:
    return frames.message(*parts, volatile=True, key=None if key is None else (namespace, key))


def _room(rooms: Sequence[str]) -> str | Sequence[str] | None:
    """As `emit` takes it."""
    return None if ALL in rooms else rooms[0] if len(rooms) == 1 else rooms


def _reaches(rooms: Collection[str], member: Member) -> bool:
    return ALL in rooms or member.sid in rooms or not member.rooms.isdisjoint(rooms)
