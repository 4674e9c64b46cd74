"""The flight recorder: what became of each connection, kept a while after its end. It judges nothing.

Rooms that every connection is in by itself - everybody's, its user's, its own - are not recorded as joined.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.realtime import rooms
from server.realtime.connection import Connection
from server.realtime.insight.heads import seq_of

MAX_EVENTS = 200  # of one connection
MAX_RUNS = 64  # of messages that it missed
MERGE_SECONDS = 5.0  # two times behind with less between them are one
NOTABLE_SECONDS = 0.5  # that it was behind

DROPPED, CONFLATED = "dropped", "conflated"

#: The fields of what is recorded, after its time and name.
FIELDS = {
    "connected": ("transport", "door"),
    "resumed": ("missed",),
    "not_resumed": (),
    "joined": ("room",),
    "left": ("room",),
    "upgraded": ("transport",),
    "behind": ("messages", "bytes"),
    "caught_up": ("seconds", "peak_messages", "peak_bytes", "dropped", "conflated"),
    "too_slow": ("messages", "bytes", "discarded"),
    "told": ("code", "close_code"),
    "disconnected": ("reason", "resumable"),
}


class Event(NamedTuple):
    """`at` is in seconds since the epoch."""

    at: float
    what: str
    fields: tuple[Any, ...] = ()

    def to_wire(self) -> dict[str, object]:
        return {"at": self.at, "what": self.what, **dict(zip(FIELDS[self.what], self.fields, strict=True))}


@dataclass(slots=True)
class Run:
    """Messages of a room, one numbered after the other, that did not reach it; None where they have no numbers."""

    room: str
    how: str
    first_seq: int | None
    last_seq: int | None
    count: int
    since: float
    until: float


class Record:
    """`began` is what was so when the oldest kept event came: whether it was connected, and in which rooms."""

    __slots__ = (
        "_behind",
        "began_connected",
        "began_rooms",
        "conflated",
        "connection",
        "door",
        "dropped",
        "events",
        "gone_at",
        "lost",
        "recovered",
        "runs",
        "transport",
    )

    def __init__(self, connection: Connection, transport: str, door: str) -> None:
        self.connection = connection
        self.transport = transport
        self.door = door
        self.recovered = False
        self.events: list[Event] = []
        self.lost = 0
        self.began_connected = False
        self.began_rooms: frozenset[str] = frozenset()
        self.gone_at: float | None = None
        self.dropped = 0
        self.conflated = 0
        self.runs: list[Run] | None = None  # most never miss anything
        self._behind: _Behind | None = None

    # -- what is recorded ---------------------------------------------------------------------------------------

    def add(self, what: str, *fields: Any, now: float | None = None) -> None:
        self.events.append(Event(time.time() if now is None else now, what, fields))
        if len(self.events) > MAX_EVENTS:
            self.lost += 1
            self._fold(self.events.pop(0))

    def joined(self, room: str) -> None:
        if not self.implies(room):
            self.add("joined", room)

    def left(self, room: str) -> None:
        if not self.implies(room):
            self.add("left", room)

    def disconnected(self, reason: str, *, resumable: bool) -> None:
        self.caught_up(0, 0)
        self.gone_at = time.time()
        self.add("disconnected", reason, resumable, now=self.gone_at)

    def behind(self, messages: int, size: int) -> None:
        """Its reader does not keep up; `caught_up` follows."""
        if self._behind is not None:
            return
        now = time.time()
        since, dropped, conflated = now, self.dropped, self.conflated
        last = self.events[-1] if self.events else None
        if last is not None and last.what == "caught_up" and now - last.at < MERGE_SECONDS:
            self.events.pop()
            since -= now - last.at + last.fields[0]
            messages, size = max(messages, last.fields[1]), max(size, last.fields[2])
            dropped, conflated = dropped - last.fields[3], conflated - last.fields[4]
        self._behind = _Behind(since, dropped, conflated, messages, size)

    def caught_up(self, peak_messages: int, peak_bytes: int) -> None:
        """The peaks are those of its outbox while it was behind."""
        behind, self._behind = self._behind, None
        if behind is None:
            return
        now = time.time()
        dropped, conflated = self.dropped - behind.dropped, self.conflated - behind.conflated
        if dropped or conflated or now - behind.since >= NOTABLE_SECONDS:
            peaks = max(peak_messages, behind.messages), max(peak_bytes, behind.bytes)
            self.add("caught_up", round(now - behind.since, 3), *peaks, dropped, conflated, now=now)

    def missed(self, head: str, room: str, how: str) -> None:
        """A message that begins so will not reach it."""
        if how == CONFLATED:
            self.conflated += 1
        else:
            self.dropped += 1
        now, seq = time.time(), seq_of(head)
        if self.runs is None:
            self.runs = []
        before = None if seq is None else seq - 1
        for run in reversed(self.runs):
            if run.room == room and run.how == how and run.last_seq == before:
                run.last_seq, run.until = seq, now
                run.count += 1
                return
        self.runs.append(Run(room, how, seq, seq, 1, now, now))
        if len(self.runs) > MAX_RUNS:
            del self.runs[0]

    def _fold(self, event: Event) -> None:
        self.began_connected, self.began_rooms = after(event, self.began_connected, self.began_rooms)

    # -- what is asked ------------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        return self._behind is not None

    def implies(self, room: str) -> bool:
        """Whether everybody who is connected as it is, is in the room."""
        connection = self.connection
        if room in (rooms.ALL, rooms.EVERYONE, connection.id):
            return True
        return room.startswith("user:") and room == rooms.user_room(connection.tenant, connection.user_id)

    def shown(self) -> Sequence[Event]:
        """Oldest first, with what is so now."""
        behind = self._behind
        if behind is None:
            return self.events
        return [*self.events, Event(behind.since, "behind", (behind.messages, behind.bytes))]


class _Behind(NamedTuple):
    """What had been `dropped` and `conflated` before."""

    since: float
    dropped: int
    conflated: int
    messages: int
    bytes: int


def after(event: Event, connected: bool, inside: frozenset[str]) -> tuple[bool, frozenset[str]]:
    """Whether it was connected, and the rooms it was in, once this had happened."""
    if event.what in ("connected", "resumed"):
        return True, inside
    if event.what == "disconnected":
        return False, frozenset()
    if event.what == "joined":
        return connected, inside | {event.fields[0]}
    if event.what == "left":
        return connected, inside - {event.fields[0]}
    return connected, inside


class Recorder:
    """Of one node. Who is gone is kept for `seconds`, and of those `most` at most."""

    def __init__(self, *, seconds: float = 600, most: int = 5000, now: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._most = most
        self._now = now
        self._here: dict[tuple[str, str], Record] = {}  # by namespace and id
        self._gone: OrderedDict[tuple[str, str], Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._here) + len(self._gone)

    def connected(self, connection: Connection, transport: str, door: str, *, replayed: int | None) -> Record:
        """`replayed`: what one that came back had missed and is sent now; None of one that is new."""
        key = (connection.namespace, connection.id)
        record = self._gone.pop(key, None) or Record(connection, transport, door)
        record.connection, record.transport, record.door = connection, transport, door
        record.gone_at = None
        record.recovered = replayed is not None
        self._here[key] = record
        if replayed is not None:
            record.add("resumed", replayed)
        else:
            record.add("connected", transport, door)
        for room in connection.rooms:
            record.joined(room)
        return record

    def gone(self, record: Record) -> None:
        key = (record.connection.namespace, record.connection.id)
        if self._here.get(key) is record:
            del self._here[key]
            self._gone[key] = record
        self.prune()

    def prune(self) -> None:
        """Forgets whose time is over."""
        before = self._now() - self._seconds
        while self._gone:
            oldest = next(iter(self._gone.values()))
            if len(self._gone) <= self._most and (oldest.gone_at or 0.0) > before:
                return
            self._gone.popitem(last=False)

    def find(self, connection_id: str) -> Record | None:
        return next((each for each in self if each.connection.id == connection_id), None)

    def __iter__(self) -> Iterator[Record]:
        yield from list(self._here.values())
        yield from list(self._gone.values())
