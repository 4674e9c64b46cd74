"""The manager of one node among many: a room's events go to the nodes that have members in it, and to its log in Redis.

A node delivers its own events at once, then tells Redis; others deliver them in Redis's order. So no emit waits, and a
client's position is an offset in that order and a count of its node's own (`feed.Position`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from socketio import packet as wire

from server.identity import Identity
from server.realtime.cluster import letters
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.feed import Arrival, Feed, Position
from server.realtime.cluster.feeds import Feeds
from server.realtime.cluster.letters import Letter
from server.realtime.cluster.node import ID_CHARS, Node
from server.realtime.cluster.returning import Returning
from server.realtime.cluster.scripts import EMIT_MISSING
from server.realtime.cluster.sessions import Sessions
from server.realtime.cluster.subscriptions import Subscriptions
from server.realtime.engine import frames
from server.realtime.fanout import Fanout, rooms_of
from server.realtime.link import Link, Member
from server.realtime.packets import encode, with_offset
from server.realtime.rooms import ALL

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)

SID = re.compile(rf"[0-9a-f]{{{ID_CHARS}}}-[A-Za-z0-9_-]{{20}}")


class ClusterFanout(Fanout):
    def __init__(self, node: Node, dispatch: Dispatch, sessions: Sessions | None, *, most_held: int = 1000) -> None:
        """`sessions`: None where none can be resumed."""
        super().__init__(most_held=most_held)
        self.node = node
        self._dispatch = dispatch
        self._subscriptions = Subscriptions(node)
        self._feeds = Feeds(node, dispatch, self._deliver_other, self._rooms_here, self._forgotten)
        self._returning = None
        if sessions is not None:
            self._returning = Returning(node, dispatch, self._feeds, sessions, self._subscriptions.settles_with)
        self.outside: Callable[[str, bytes], None] = lambda channel, message: None
        self.forgets: list[Callable[[str], None]] = []  # called when Redis lost what it knew of a namespace
        node.hears = self._hear
        node.direct = self._direct
        node.returns.append(self._redis_returned)
        node.breaks.append(dispatch.stop)
        node.pulses.append(self._pulse)

    # -- members ------------------------------------------------------------------------------------------------

    def new_sid(self) -> str:
        return f"{self.node.id}-{secrets.token_urlsafe(15)}"

    def set_server(self, server: RealtimeServer) -> None:
        super().set_server(server)
        if self._returning is not None:
            self._returning.server = server

    def join(self, link: Link, namespace: str) -> Member:
        member = super().join(link, namespace)
        feed = self._feeds.get(namespace)
        if feed is None:
            feed = self._feeds.open(namespace)
            self._subscriptions.enter(member, ALL, is_first=True)
            if self.node.commands.ready:
                self.node.spawn(self._meet(feed), "hello")
        else:
            self._subscriptions.enter(member, ALL, is_first=False)
        if feed.waiting is not None:
            self._feeds.begins_now(feed, member)
        return member

    def drop(self, member: Member, *, resumable: bool = False) -> None:
        for room in member.rooms:
            self._unsubscribe(member, room)
        super().drop(member, resumable=resumable)
        self._subscriptions.forget(member)
        self._feeds[member.namespace].forget(member)
        if self._returning is not None:
            self._returning.dropped(member, resumable=resumable)

    def enter(self, member: Member, room: str) -> None:
        if room in member.rooms:
            return
        super().enter(member, room)
        self._subscriptions.enter(member, room, is_first=self._is_alone_in(member, room))
        if self._returning is not None:
            self._returning.entered(member, room)

    def leave(self, member: Member, room: str) -> bool:
        if room in member.rooms:
            self._unsubscribe(member, room)
        if not super().leave(member, room):
            return False
        if self._returning is not None:
            self._returning.left(member, room)
        return True

    async def settled(self, member: Member) -> None:
        """Messages from other nodes reach it, and its session is in Redis; or will be, where Redis is away."""
        await self._subscriptions.settled(member)

    def _unsubscribe(self, member: Member, room: str) -> None:
        """Before it leaves the room."""
        if self._is_alone_in(member, room):
            self._subscriptions.end(member.namespace, room)

    def _is_alone_in(self, member: Member, room: str) -> bool:
        return len(self._rooms.get((member.namespace, room), ())) == 1

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
        if not rooms:
            return
        parts = encode(wire.EVENT, namespace, arguments)
        if volatile:
            key, seconds = letters.conflation(arguments[0], conflate)
            channels = [self._channel(namespace, each) for each in rooms]
            number = self._dispatch.next_number(f"{namespace} volatile") if len(channels) > 1 else 0
            letter = Letter(self.node.id, number, namespace, [*rooms], [*skip], parts, key, seconds=seconds)
            self._spread_letter(letter)
            if any(channels):
                self._dispatch.volatile(letter, channels)
            return
        plain = frames.message(*parts)
        if self._is_alone(namespace, room):
            self._spread(namespace, room, skip, plain)
            return
        number = self._dispatch.next_number(namespace)
        letter = Letter(self.node.id, number, namespace, [*rooms], [*skip], parts)
        if (feed := self._feeds.get(namespace)) is not None:
            self._deliver_here(feed, letter, room, plain, None, skip)
        self._dispatch.put(letter, [self._channel(namespace, each) for each in rooms])

    async def emit_missing(self, namespace: str, event: str, payload: Mapping[str, object], room: str) -> bool:
        """Everybody hears it by way of Redis, this node's members too."""
        arguments = [event, payload]
        parts = [each.encode() if isinstance(each, str) else each for each in encode(wire.EVENT, namespace, arguments)]
        ask = {
            "wire": self.wire(namespace),
            "opening": orjson.dumps([event, dict([next(iter(payload.items()))])])[:-2].decode(),
            "rooms": [room],
            "channels": [self.node.keys.channel(namespace, room)],
            "sizes": orjson.dumps([len(each) for each in parts]).decode(),
        }
        keys = [self.node.keys.offset(namespace), self.node.keys.log(namespace, room)]
        try:
            return bool(await self.node.run(EMIT_MISSING, keys, [orjson.dumps(ask), b"".join(parts)]))
        except RedisAway:
            return False

    def wire(self, namespace: str) -> Mapping[str, object]:
        """What a script that includes `scripts.TELL` has to know of a namespace."""
        keys, bounds = self.node.keys, self.bounds
        return {
            "namespace": orjson.dumps(namespace).decode(),
            "offset": keys.offset(namespace),
            "log": keys.log(namespace, ""),
            "lost": keys.lost(namespace, ""),
            "home": keys.home(namespace, ""),
            "channel": keys.channel(namespace, ""),
            "retention": int(bounds.retention * 1000),
            "cap": bounds.log,
            "bytes": bounds.log_bytes,
        }

    @property
    def bounds(self) -> Bounds:
        """Of logs, and of what is held for Redis."""
        return self._dispatch.bounds

    @property
    def waits_for_redis(self) -> int:
        """Events that it has not yet."""
        return len(self._dispatch)

    @property
    def given_up(self) -> int:
        """Events that other nodes were never told of, since the start."""
        return self._dispatch.counters["lost"]

    def feed(self, namespace: str) -> Feed | None:
        """None: nobody is in it here."""
        return self._feeds.get(namespace)

    def deliver_here(self, letter: Letter) -> None:
        """To this node's own members. One with a `key` is volatile."""
        feed = self._feeds.get(letter.namespace)
        if letter.key is not None:
            self._spread_letter(letter)
        elif feed is not None:
            self._deliver_here(feed, letter, _room(letter.rooms), frames.message(*letter.parts), None, letter.skip)

    def _deliver_other(self, feed: Feed, letter: Letter, offset: int) -> None:
        """What another node sent, in Redis's order."""
        has = feed.have(offset, letter) if feed.floors or letter.origin in feed.moved else ()
        plain = frames.message(*letter.parts)
        self._deliver_here(feed, letter, _room(letter.rooms), plain, offset, [*letter.skip, *has])

    def _deliver_here(
        self,
        feed: Feed,
        letter: Letter,
        room: str | Collection[str] | None,
        plain: frames.Packet,
        offset: int | None,
        skip: Collection[str],
    ) -> None:
        """`offset`: None for what begins here, and is delivered before Redis gives it one."""
        numbered: list[frames.Packet] = []

        def number() -> frames.Packet:
            if not numbered:
                seen = Position(
                    feed.newest if offset is None else offset, self.node.id, self._dispatch.number(letter.namespace)
                )
                numbered.append(frames.message(*with_offset(letter.parts, str(seen))))
            return numbered[0]

        self._spread(letter.namespace, room, skip, plain, number)
        for member, arrival in feed.arrivals.items():
            if not member.is_in(skip) and _reaches(letter.rooms, member) and len(arrival.live) < self._most_held:
                arrival.live.append((offset, number()))

    def _channel(self, namespace: str, room: str) -> str:
        """Where a room's events are published: nowhere where nobody else can be in it; `@` and a node's for a
        connection elsewhere."""
        if (namespace, room) in self._rooms or not SID.fullmatch(room):
            return self.node.keys.channel(namespace, room)
        if self.member(room, namespace) is not None:
            return ""
        node = room[:ID_CHARS]
        return "@" if node == self.node.id else f"@{self.node.keys.node(node)}"

    def _is_alone(self, namespace: str, room: str | Collection[str] | None) -> bool:
        """A connection here whose client will not come back."""
        member = self.member(room, namespace) if isinstance(room, str) else None
        return member is not None and member.recoverable is None

    # -- what is heard ------------------------------------------------------------------------------------------

    def _direct(self, message: bytes) -> None:
        """What is for this node alone."""
        if message.startswith(b"pulse "):
            _, offset, namespace = message.split(b" ", 2)
            self._feeds.pulse(int(offset), namespace.decode())
        else:
            self._event(message)

    def _hear(self, channel: str, message: bytes) -> None:
        if channel.startswith(f"{self.node.keys.prefix}:/"):
            self._event(message)
        else:
            self.outside(channel, message)

    def _event(self, message: bytes) -> None:
        offset, _, encoded = message.partition(b" ")
        letter = letters.decode(encoded)
        if offset != b"0":
            self._feeds.hear(int(offset), letter)
        elif letter.origin != self.node.id and self._is_volatile_news(letter):
            self._spread_letter(letter)

    def _is_volatile_news(self, letter: Letter) -> bool:
        """One for several rooms comes once for each."""
        feed = self._feeds.get(letter.namespace)
        return not letter.number or (feed is not None and feed.is_news(f"{letter.origin} volatile", letter.number))

    def _spread_letter(self, letter: Letter) -> None:
        """A volatile one."""
        key = None if letter.key is None else (letter.namespace, letter.key)
        self._spread_volatile(letter.namespace, _room(letter.rooms), letter.skip, letter.parts, key, letter.seconds)

    # -- coming back --------------------------------------------------------------------------------------------

    def open_recoverable(self, member: Member, identity: Identity) -> None:
        if self._returning is not None:
            self._returning.open(member, identity)

    async def resume(self, member: Member, pid: object, offset: object, identity: Identity) -> bool:
        returning = self._returning
        if returning is None or not isinstance(pid, str) or not self.node.up:
            return False
        try:
            found = await returning.claim(member, pid, identity)
        except RedisAway:
            return False
        if found is None:
            return False
        new_sid = member.sid
        self._renamed(member, found.sid)
        returning.take_place(member, pid, identity)
        for room in found.rooms:
            if room not in (ALL, found.sid):
                super().enter(member, room)
                self._subscriptions.enter(member, room, is_first=self._is_alone_in(member, room))
        try:
            subscribed = self._subscriptions.forget(member)
            member.resumed = await returning.catch_up(member, found, offset, subscribed)
        except RedisAway as away:
            log.info("a session could not be resumed", reason=str(away))
        if not member.resumed:
            self._begin_anew(member, new_sid)
        elif found.data is not None:
            earlier = member.link.session.user_session or {}
            member.link.session.user_session = earlier | {member.namespace: found.data}
        return member.resumed

    def _begin_anew(self, member: Member, sid: str) -> None:
        """It could not be resumed after all."""
        if self._returning is not None:
            self._returning.dropped(member, resumable=False)
        member.recoverable = None
        for room in list(member.rooms):
            self.leave(member, room)
        self._feeds[member.namespace].forget(member)
        self._renamed(member, sid)

    def connect(self, member: Member) -> None:
        arrival = self._feeds[member.namespace].arrivals.pop(member, None) or Arrival()
        before = [packet for rooms, packet in arrival.missed if _reaches(rooms, member)]
        self._greet(member, before, lambda: [packet for _, packet in arrival.live])

    def holder(self, namespace: str, pid: object, identity: Identity) -> Member | None:
        return None if self._returning is None else self._returning.holder(namespace, pid, identity)

    def prune(self) -> None:
        """Redis does."""

    # -- Redis comes and goes -----------------------------------------------------------------------------------

    async def flushed(self) -> None:
        """What was sent before now outlives this node; unless Redis is away."""
        if self.node.up:
            with contextlib.suppress(RedisAway):
                await self.node.patient(self._dispatch.flushed())

    async def _redis_returned(self) -> None:
        await self._feeds.greet()
        self._dispatch.resume()
        if self._returning is not None:
            self._returning.refresh()

    async def _meet(self, feed: Feed) -> None:
        with contextlib.suppress(RedisAway):
            await self._feeds.meet(feed)

    async def _pulse(self) -> None:
        self._dispatch.push()
        await self._feeds.check(self._namespaces)
        if self._returning is not None:
            await self._returning.keep()

    def _forgotten(self, namespace: str) -> None:
        for hook in self.forgets:
            hook(namespace)
        if self._returning is not None:
            self._returning.forgotten(namespace)

    def _rooms_here(self, namespace: str) -> list[str]:
        rooms = [room for of, room in self._rooms if of == namespace]
        return [ALL, *rooms, *(member.sid for member in self.members(namespace, None))]


def _room(rooms: Sequence[str]) -> str | Sequence[str] | None:
    """As `emit` takes it."""
    return None if ALL in rooms else rooms[0] if len(rooms) == 1 else rooms


def _reaches(rooms: Collection[str], member: Member) -> bool:
    return ALL in rooms or member.is_in(rooms)
