"""What this node hears of every namespace: in Redis's order, each once, and after a break what was said meanwhile."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog

from server.realtime.cluster import letters, scripts
from server.realtime.cluster.complaints import Complaints
from server.realtime.cluster.dispatch import Dispatch
from server.realtime.cluster.feed import Feed
from server.realtime.cluster.letters import Letter
from server.realtime.cluster.node import Node
from server.realtime.link import Member

log = structlog.get_logger(__name__)

LOGS_A_TURN = 2000  # read at once: some 20 ms of Redis
AHEAD_SECONDS = 3600
MAX_READ = 100_000  # of one log


class Feeds:
    def __init__(
        self,
        node: Node,
        dispatch: Dispatch,
        deliver: Callable[[Feed, Letter, int], None],
        rooms: Callable[[str], Collection[str]],
        forgotten: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        time: Callable[[], float] = time.time,
    ) -> None:
        """`deliver` an event of another node, with its offset; `rooms` of a namespace that have members here;
        `forgotten`: Redis lost what it knew of a namespace."""
        self._node = node
        self._dispatch = dispatch
        self._deliver = deliver
        self._rooms = rooms
        self._forgotten = forgotten
        self._clock = clock
        self._time = time
        self._feeds: dict[str, Feed] = {}
        self._complaints = Complaints(log)
        node.deaf.append(self._hold)
        node.hearing.append(self._repair)

    def get(self, namespace: str) -> Feed | None:
        """None: nobody is in it here."""
        return self._feeds.get(namespace)

    def __getitem__(self, namespace: str) -> Feed:
        return self._feeds[namespace]

    def open(self, namespace: str) -> Feed:
        feed = self._feeds[namespace] = Feed(namespace, opened_at=self._clock())
        if not self._node.listener.ready:
            feed.waiting = []
        return feed

    def begins_now(self, feed: Feed, member: Member) -> None:
        """What others say while this node does not listen is fetched later: what they said before is not for the
        member."""
        feed.since[member] = self._clock()

    def hear(self, offset: int, letter: Letter) -> None:
        """A logged event."""
        feed = self._feeds.get(letter.namespace)
        if feed is None or offset > self._latest():
            return
        if feed.waiting is not None:
            feed.wait(offset, letter)
        else:
            self._take(feed, offset, letter)

    def pulse(self, offset: int, namespace: str) -> None:
        """What is heard from here on is newer."""
        feed = self._feeds.get(namespace)
        if feed is not None and feed.waiting is None and offset <= self._latest():
            feed.advance(offset)

    def _latest(self) -> int:
        """Offsets follow Redis's clock, which may be ahead of this node's: above this it is none of Redis's."""
        return int((self._time() + AHEAD_SECONDS) * 1_000_000)

    def _take(self, feed: Feed, offset: int, letter: Letter) -> None:
        is_other = letter.origin != self._node.id and feed.is_for_here(letter)
        if is_other and feed.is_news(letter.origin, letter.number):
            self._deliver(feed, letter, offset)
        feed.advance(offset)

    def _hold(self) -> None:
        for feed in self._feeds.values():
            if feed.waiting is None:
                feed.waiting = []

    async def _repair(self) -> None:
        """Listening again: what was said meanwhile is in the logs. Raises RedisAway."""
        try:
            while feed := next((each for each in self._feeds.values() if each.waiting is not None), None):
                await self._fill(feed)
        except BaseException:
            self._hold()  # those that are filled already have a new gap
            raise

    async def _fill(self, feed: Feed) -> None:
        await self._node.patient(self._node.listener.confirmed())
        until = await self.newest(feed.namespace)
        now = self._clock()
        feed.newest = feed.newest or _offset_at(feed.opened_at, now, until)
        for member, at in feed.since.items():
            feed.floors[member] = _offset_at(at, now, until)
        feed.since.clear()
        after = dict.fromkeys(self._rooms(feed.namespace), feed.newest)
        for offset, letter in await self.read(feed.namespace, after, until):
            self._take(feed, offset, letter)
        feed.advance(until)
        if feed.overflowed:
            feed.overflowed = False
            return
        waiting, feed.waiting = feed.waiting or [], None
        for offset, letter in waiting:
            if offset > until:
                self._take(feed, offset, letter)

    async def heard(self, feed: Feed) -> int:
        """An offset: all up to it was heard here, and all that is logged after now is above it. Raises RedisAway."""
        newest, pulse = self._newest(feed.namespace), self._pulse(feed)  # in this order
        offset = int(await self._node.patient(newest))
        await self._node.patient(asyncio.gather(pulse, feed.reaches(offset)))
        return offset

    async def newest(self, namespace: str) -> int:
        """An offset: all that is logged after now is above it. Raises RedisAway."""
        return int(await self._node.patient(self._newest(namespace)))

    def _newest(self, namespace: str) -> asyncio.Future[Any]:
        return self._node.commands.run(scripts.NEWEST, [self._node.keys.offset(namespace)], [])

    async def read(self, namespace: str, after: Mapping[str, int], until: int) -> list[tuple[int, Letter]]:
        """What rooms' logs have, each behind its offset, in order, each once. Raises RedisAway."""
        found: dict[int, Letter] = {}
        rooms = list(after)
        for i in range(0, len(rooms), LOGS_A_TURN):
            reads = []
            for room in rooms[i : i + LOGS_A_TURN]:
                name, start = self._node.keys.log(namespace, room), f"({after[room]}-0"
                reads.append(self._node.commands.call("XRANGE", name, start, f"{until}-0", "COUNT", MAX_READ))
            for entries in await self._node.patient(asyncio.gather(*reads)):
                for id, fields in entries:
                    offset = int(id.partition(b"-")[0])
                    if offset not in found and (letter := self._decoded(fields[1])) is not None:
                        found[offset] = letter
        return sorted(found.items())

    # -- whether Redis still knows what it knew -----------------------------------------------------------------

    async def greet(self) -> None:
        """It answers (again). Raises RedisAway."""
        for feed in list(self._feeds.values()):
            await self.meet(feed)

    async def meet(self, feed: Feed) -> None:
        """Raises RedisAway."""
        namespace, keys = feed.namespace, self._node.keys
        gave_up = namespace in self._dispatch.gave_up
        names = [keys.offset(namespace), keys.epoch(namespace), keys.gap(namespace)]
        epoch, offset = await self._node.run(scripts.HELLO, names, [feed.newest, secrets.token_hex(8), int(gave_up)])
        if gave_up:
            self._dispatch.gave_up.discard(namespace)
        if feed.epoch not in (None, epoch):
            log.warning("redis lost what it knew", namespace=namespace)
            feed.before = feed.newest
            self._dispatch.again(namespace)
            self._forgotten(namespace)
        feed.epoch = epoch
        if not feed.newest and feed.waiting is None:
            feed.advance(int(offset))

    async def check(self, used: Collection[str]) -> None:
        """At each pulse: closes what is not `used` any more. Raises RedisAway."""
        for namespace in [each for each in self._feeds if each not in used]:
            del self._feeds[namespace]
            self._node.listener.unsubscribe(self._node.keys.channel(namespace, ""))
        feeds = list(self._feeds.values())
        if not feeds:
            return
        epochs = await self._node.patient(asyncio.gather(*map(self._pulse, feeds)))
        for feed, epoch in zip(feeds, epochs, strict=True):
            if epoch != feed.epoch or feed.namespace in self._dispatch.gave_up:
                await self.meet(feed)

    def _decoded(self, letter: bytes) -> Letter | None:
        try:
            return letters.decode(letter)
        except (ValueError, TypeError) as error:  # no node wrote it
            self._complaints.say("no letter in a log", reason=str(error))
            return None

    def _pulse(self, feed: Feed) -> asyncio.Future[Any]:
        """The epoch; the newest offset is heard."""
        keys = self._node.keys
        names = [keys.offset(feed.namespace), keys.epoch(feed.namespace)]
        return self._node.commands.run(scripts.PULSE, names, [self._node.channel, feed.namespace])


def _offset_at(moment: float, now: float, newest: int) -> int:
    """What the newest offset was then: they are microseconds of Redis's clock."""
    return newest - int((now - moment) * 1_000_000)
