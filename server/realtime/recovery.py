"""Sessions whose client may come back, and the log that what it missed is read from (SPEC §3 Recovery). Pure, told the
time, one for each namespace.

Source: connection state recovery as Socket.IO's clients know it since 4.6: a `pid` in the CONNECT reply, an offset as
the last argument of each event, both sent back in the next CONNECT.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from server.identity import Identity
from server.realtime.engine.frames import Packet
from server.realtime.rooms import ALL
from server.realtime.workers import Inbox

MAX_OFFSET_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """`seconds` after a drop a session can be resumed; the log keeps events for `retention` seconds, longer by the time
    that a drop may go unnoticed. `messages` and `bytes` bound the log, `sessions` those that wait."""

    seconds: float = 120
    retention: float = 180
    messages: int = 100_000
    bytes: int = 64 * 1024 * 1024
    sessions: int = 10_000


@dataclass(slots=True, eq=False)
class Recoverable:
    """A session that can be resumed. `rooms` are those it is in, with the offset at which it entered each; `start` is
    the offset it began at, `resumed_at` that of its newest connection, `after` the one behind which that had missed
    what there was; `expires_at` is None while its client is connected."""

    pid: str
    sid: str
    identity: Identity
    start: int
    rooms: dict[str, int]
    resumed_at: int
    after: int = 0
    expires_at: float | None = None
    data: object = None  # what python-socketio's `session()` kept
    inbox: Inbox | None = None  # of its last connection, which may still be at work


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    skip: frozenset[str]
    packet: Packet


def is_skipped(skip: Collection[str], offset: int, sid: str, rooms: Mapping[str, int]) -> bool:
    """Whether an event was not for a session: by its id, or by a room that it had entered before."""
    return sid in skip or any(rooms.get(room, offset) < offset for room in skip)


@dataclass(slots=True, eq=False)
class _RoomLog:
    """`lost` is the newest offset that was given up for want of space."""

    watchers: int = 0
    entries: deque[_Entry] = field(default_factory=deque)
    lost: int = 0


class Recovery:
    def __init__(self, bounds: Bounds, *, offset: int = 0) -> None:
        """`offset` must be above any that an earlier log of this namespace gave out: clients never forget one."""
        self._bounds = bounds
        self._offset = offset
        self._rooms: dict[str, _RoomLog] = {}  # only those that a recoverable session is in
        self._sessions: dict[str, Recoverable] = {}  # by pid
        self._waiting: deque[tuple[float, Recoverable]] = deque()
        self._order: deque[tuple[float, _RoomLog, _Entry]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        """Sessions, connected or waiting."""
        return len(self._sessions)

    @property
    def logged(self) -> int:
        return len(self._order)

    # -- sessions -----------------------------------------------------------------------------------------------

    def open(self, sid: str, identity: Identity) -> Recoverable:
        session = Recoverable(secrets.token_urlsafe(18), sid, identity, self._offset, {}, self._offset)
        self._sessions[session.pid] = session
        self.enter(session, sid)
        self.enter(session, ALL)
        return session

    def enter(self, session: Recoverable, room: str) -> None:
        if room not in session.rooms:
            session.rooms[room] = self._offset
            self._rooms.setdefault(room, _RoomLog()).watchers += 1

    def leave(self, session: Recoverable, room: str) -> None:
        if session.rooms.pop(room, None) is None:
            return
        log = self._rooms[room]
        log.watchers -= 1
        if not log.watchers:
            log.entries.clear()
            del self._rooms[room]

    def dropped(self, session: Recoverable, now: float) -> None:
        """Its client is gone and may come back."""
        session.expires_at = now + self._bounds.seconds
        self._waiting.append((session.expires_at, session))
        if len(self._waiting) > self._bounds.sessions:
            self._end_waiting(*self._waiting.popleft())
        self.prune(now)

    def end(self, session: Recoverable) -> None:
        """Nobody may resume it."""
        if self._sessions.pop(session.pid, None) is not None:
            for room in list(session.rooms):
                self.leave(session, room)

    def resume(self, pid: object, offset: object, identity: Identity, now: float) -> Recoverable | None:
        """The session, which nobody else can resume now.

        None where there is none for this user, its client is connected, its time is over, the offset was never given
        out, or something it missed is logged no more: then the client gets a new session.
        """
        self.prune(now)
        session = self._sessions.get(pid) if isinstance(pid, str) else None
        if session is None or session.expires_at is None or not same_user(session.identity, identity):
            return None
        after = session.start if offset is None else self._parse(offset)
        if after is None:
            return None
        after = max(after, session.start)
        if any(self._rooms[room].lost > max(after, entered) for room, entered in session.rooms.items()):
            return None
        session.expires_at = None
        session.resumed_at = self._offset
        session.after = after
        return session

    def held_by(self, pid: object, identity: Identity) -> str | None:
        """The id under which this user's session is connected now."""
        session = self._sessions.get(pid) if isinstance(pid, str) else None
        if session is None or session.expires_at is not None or not same_user(session.identity, identity):
            return None
        return session.sid

    # -- the log ------------------------------------------------------------------------------------------------

    def watches(self, rooms: Collection[str]) -> bool:
        """Whether an event to these rooms is to be logged."""
        return any(room in self._rooms for room in rooms)

    def next_offset(self) -> int:
        self._offset += 1
        return self._offset

    def log(self, offset: int, rooms: Collection[str], skip: Collection[str], packet: Packet, now: float) -> None:
        entry = _Entry(offset, frozenset(skip), packet)
        for room in rooms:
            if (log := self._rooms.get(room)) is not None:
                log.entries.append(entry)
                self._order.append((now, log, entry))
                self._bytes += packet.size
        while len(self._order) > self._bounds.messages or self._bytes > self._bounds.bytes:
            log, entry = self._forget_oldest()
            log.lost = entry.offset

    @property
    def offset(self) -> int:
        """The newest that was given out."""
        return self._offset

    def missed(self, session: Recoverable, after: int, until: int | None = None) -> list[Packet]:
        """What was sent to its rooms, in order and each once."""
        until = self._offset if until is None else until
        entries: dict[int, _Entry] = {}
        for room, entered in session.rooms.items():
            for entry in reversed(self._rooms[room].entries):
                if entry.offset <= max(after, entered):
                    break
                if entry.offset <= until and not is_skipped(entry.skip, entry.offset, session.sid, session.rooms):
                    entries[entry.offset] = entry
        return [entry.packet for entry in sorted(entries.values(), key=attrgetter("offset"))]

    def prune(self, now: float) -> None:
        """Ends what has expired."""
        while self._waiting and self._waiting[0][0] <= now:
            self._end_waiting(*self._waiting.popleft())
        while self._order and self._order[0][0] <= now - self._bounds.retention:
            self._forget_oldest()

    def _end_waiting(self, expires_at: float, session: Recoverable) -> None:
        if session.expires_at == expires_at:  # else it was resumed, and may wait anew
            self.end(session)

    def _forget_oldest(self) -> tuple[_RoomLog, _Entry]:
        _, log, entry = self._order.popleft()
        self._bytes -= entry.packet.size
        if log.entries and log.entries[0] is entry:
            log.entries.popleft()
        return log, entry

    def _parse(self, offset: object) -> int | None:
        if not isinstance(offset, str) or not 0 < len(offset) <= MAX_OFFSET_DIGITS:
            return None
        if not (offset.isascii() and offset.isdigit()) or int(offset) > self._offset:
            return None
        return int(offset)


def same_user(one: Identity, other: Identity) -> bool:
    """Of visitors without a name the pid alone tells which one it is."""
    return one.scope == other.scope or (one.anonymous and other.anonymous)
