"""What one node has heard of one namespace: how far, from whom, and who must not hear it again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from server.realtime.cluster.letters import Letter
from server.realtime.engine.frames import Packet
from server.realtime.link import Member

_POSITION = re.compile(r"([0-9]{1,16})-([0-9a-f]{10})-([0-9]{1,16})")

MAX_ORIGINS = 10_000  # nodes that were ever heard of
MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Position:
    """What a client has seen: everything up to `offset`, and of the node it was on all up to `number`, which may have
    been delivered there before Redis gave them an offset. It is what clients get as their offset."""

    offset: int
    node: str
    number: int

    def __str__(self) -> str:
        return f"{self.offset}-{self.node}-{self.number}"

    def covers(self, offset: int, letter: Letter) -> bool:
        return offset <= self.offset or (letter.origin == self.node and letter.number <= self.number)


def position(text: object) -> Position | None:
    """None for what no node gave out."""
    found = _POSITION.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else Position(int(found[1]), found[2], int(found[3]))


@dataclass(slots=True, eq=False)
class Arrival:
    """A client that can come back, between its admission and its CONNECT: what it `missed`, with the rooms of each, and
    what is said to its rooms meanwhile, `live`, with the offsets of what other nodes say."""

    missed: list[tuple[Collection[str], Packet]] = field(default_factory=list)
    live: list[tuple[int | None, Packet]] = field(default_factory=list)

    def has_all_up_to(self, offset: int) -> None:
        """Of what was missed: some of it may have been said live too."""
        self.live = [(of, packet) for of, packet in self.live if of is None or of > offset]


@dataclass(slots=True, eq=False)
class Feed:
    """`newest`: everything up to this offset was delivered here; `before` is what it was when Redis lost what it knew
    and offsets began anew. `waiting`: what came while older events are fetched.
    `floors`: members that have all up to an offset which was not heard here yet; `since`: when members came that did
    so while it was not listened to; `moved`: those that have of another
    node, which they were on, all up to a number."""

    namespace: str
    opened_at: float = 0.0
    newest: int = 0
    before: int = 0
    epoch: bytes | None = None
    waiting: list[tuple[int, Letter]] | None = None
    arrivals: dict[Member, Arrival] = field(default_factory=dict)
    floors: dict[Member, int] = field(default_factory=dict)
    since: dict[Member, float] = field(default_factory=dict)
    moved: dict[str, dict[Member, int]] = field(default_factory=dict)
    overflowed: bool = False
    _marks: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    _heard: dict[str, int] = field(default_factory=dict)  # origin -> number

    def advance(self, offset: int) -> None:
        self.newest = max(self.newest, offset)
        if self._marks:
            for mark, reached in self._marks:
                if mark <= self.newest and not reached.done():
                    reached.set_result(None)
            self._marks = [(mark, reached) for mark, reached in self._marks if not reached.done()]
        if self.floors:
            self.floors = {member: floor for member, floor in self.floors.items() if floor > self.newest}

    def reaches(self, offset: int) -> asyncio.Future[None]:
        """Done when all up to it was delivered here."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if offset <= self.newest:
            reached.set_result(None)
        else:
            self._marks.append((offset, reached))
        return reached

    def wait(self, offset: int, letter: Letter) -> None:
        """While older ones are fetched. What there is no room for is in the logs too."""
        if self.waiting is not None and not self.overflowed:
            self.waiting.append((offset, letter))
            if len(self.waiting) > MAX_WAITING:
                self.waiting.clear()
                self.overflowed = True

    def have(self, offset: int, letter: Letter) -> list[str]:
        """The members who have it already."""
        found = [member.sid for member, floor in self.floors.items() if offset <= floor]
        moved = self.moved.get(letter.origin)
        if moved:
            found += [member.sid for member, number in moved.items() if letter.number <= number]
            behind = {member: number for member, number in moved.items() if number > letter.number}
            if behind:
                self.moved[letter.origin] = behind
            else:
                del self.moved[letter.origin]
        return found

    def forget(self, member: Member) -> None:
        self.arrivals.pop(member, None)
        self.floors.pop(member, None)
        self.since.pop(member, None)
        for origin, moved in list(self.moved.items()):
            moved.pop(member, None)
            if not moved:
                del self.moved[origin]

    def is_for_here(self, letter: Letter) -> bool:
        """One from before Redis lost what it knew is for nodes that were there, and did not hear it."""
        return not letter.was or 0 < self.before < letter.was

    def is_news(self, origin: str, number: int) -> bool:
        """A node's events come in its order, some of them twice: one that is for several rooms, or was sent anew."""
        heard = self._heard.pop(origin, 0)
        self._heard[origin] = max(heard, number)  # the last heard of is last
        if len(self._heard) > MAX_ORIGINS:
            del self._heard[next(iter(self._heard))]
        return number > heard
