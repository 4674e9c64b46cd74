"""The flight recorder: what became of each connection, kept a while after its end. It judges nothing.

Bounded for each connection and in all: who is gone longest is forgotten first, then the oldest of what is known of
those who are here, but not the last thing that happened to one.

Rooms that every connection is in by itself - everybody's, its user's, its own - are not recorded as joined.
"""

from __future__ import annotations

import heapq
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
    """`began` is what was so when the oldest kept event came: whether it was connected, and in which rooms. Of runs
    that ended until `runs_lost_until` not all are known. `recorder` is whose it is, as long as that keeps it."""

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
        "recorder",
        "recovered",
        "runs",
        "runs_lost_until",
        "transport",
    )

    def __init__(self, connection: Connection, transport: str, door: str, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
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
        self.runs_lost_until = 0.0
        self._behind: _Behind | None = None

    # -- what is recorded ---------------------------------------------------------------------------------------

    def add(self, what: str, *fields: Any, now: float | None = None) -> None:
        before = self.size
        self.events.append(Event(time.time() if now is None else now, what, fields))
        if len(self.events) > MAX_EVENTS:
            self._lose_event()
        self._grew(before)

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
            before = self.size
            self.events.pop()
            self._grew(before)
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
        size = self.size
        self.runs.append(Run(room, how, seq, seq, 1, now, now))
        if len(self.runs) > MAX_RUNS:
            self._lose_run(self.runs)
        self._grew(size)

    def _grew(self, before: int) -> None:
        if self.recorder is not None and self.size != before:
            self.recorder.grew(self.size - before)

    # -- what is given up ---------------------------------------------------------------------------------------

    def oldest(self) -> float | None:
        """When the oldest came of what may be given up."""
        event = self.events[0].at if len(self.events) > 1 else None
        if not self.runs:
            return event
        run = self.runs[0].until
        return run if event is None or run < event else event

    def lose_oldest(self) -> None:
        if self.runs and (len(self.events) < 2 or self.runs[0].until <= self.events[0].at):
            self._lose_run(self.runs)
        else:
            self._lose_event()

    def _lose_event(self) -> None:
        self.lost += 1
        event = self.events.pop(0)
        self.began_connected, self.began_rooms = after(event, self.began_connected, self.began_rooms)

    def _lose_run(self, runs: list[Run]) -> None:
        self.runs_lost_until = max(self.runs_lost_until, runs.pop(0).until)

    # -- what is asked ------------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        return self._behind is not None

    @property
    def size(self) -> int:
        """Events, and what else is as large."""
        return len(self.events) + len(self.runs or ()) + len(self.began_rooms)

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
    """Of one node. Who is gone is kept for `seconds`, and of those `most` at most. `most_events` are kept of all who
    are here or gone, 20 to 50 MB: a record may be 100 KB, and clients choose how long theirs is."""

    def __init__(
        self,
        *,
        seconds: float = 600,
        most: int = 5000,
        most_events: int = 100_000,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._most_events = most_events
        self._now = now
        self._here: dict[tuple[str, str], Record] = {}  # by namespace and id
        self._gone: OrderedDict[tuple[str, str], Record] = OrderedDict()
        self._events = 0
        self._too_many = most_events

    def __len__(self) -> int:
        return len(self._here) + len(self._gone)

    def connected(self, connection: Connection, transport: str, door: str, *, replayed: int | None) -> Record:
        """`replayed`: what one that came back had missed and is sent now; None of one that is new."""
        key = (connection.namespace, connection.id)
        record = self._gone.pop(key, None)
        if record is None:
            record = Record(connection, transport, door, self)
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
            self._forget_oldest()

    def grew(self, events: int) -> None:
        """A record, by so many, or fewer."""
        self._events += events
        if self._events > self._too_many:
            self._shed()

    def _shed(self) -> None:
        """A fiftieth at once, so that it is seldom."""
        part = self._most_events // 50
        least = self._most_events - part
        while self._gone and self._events > least:
            self._forget_oldest()
        if self._events > least:
            self._shed_here(least)
        # What cannot be given up is not looked for again at once.
        self._too_many = max(self._most_events, self._events + part)

    def _shed_here(self, least: int) -> None:
        here = [(at, number, each) for number, each in enumerate(self._here.values()) if (at := each.oldest())]
        heapq.heapify(here)
        while here and self._events > least:
            _, number, record = here[0]
            before = record.size
            record.lose_oldest()
            self._events += record.size - before
            if at := record.oldest():
                heapq.heapreplace(here, (at, number, record))
            else:
                heapq.heappop(here)

    def _forget_oldest(self) -> None:
        """Of those who are gone."""
        _, record = self._gone.popitem(last=False)
        record.recorder = None
        self._events -= record.size

    def find(self, connection_id: str) -> Record | None:
        return next((each for each in self if each.connection.id == connection_id), None)

    def __iter__(self) -> Iterator[Record]:
        yield from list(self._here.values())
        yield from list(self._gone.values())
