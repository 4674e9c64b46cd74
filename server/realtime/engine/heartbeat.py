"""When sessions are pinged and when they are given up: one schedule for all, pure, told the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


class Beat(Enum):
    PING = "ping"
    LOST = "lost"


class Heartbeat(Generic[S]):
    """Every session is pinged `interval` after its last pong, or after the last ping it let pass. A ping is missed
    after `timeout`; `most_missed` in a row, and the session is lost (SPEC §3). Monotonic seconds.

    All intervals are alike, so what falls due is in the order it was scheduled: two queues and no heap.
    """

    def __init__(self, interval: float, timeout: float, most_missed: int) -> None:
        self._interval = interval
        self._timeout = timeout
        self._most_missed = most_missed
        self._pings: deque[tuple[float, S, int]] = deque()
        self._deadlines: deque[tuple[float, S, int]] = deque()
        self._turns: dict[S, int] = {}  # what was scheduled in an earlier turn of a session is void
        self._missed: dict[S, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, session: S, now: float) -> None:
        self._schedule(session, now)

    def pong(self, session: S, now: float) -> None:
        """Counts only while a ping is unanswered: who sends pongs unasked gains nothing."""
        if session in self._missed:
            del self._missed[session]
            self._schedule(session, now)

    def remove(self, session: S) -> None:
        self._turns.pop(session, None)
        self._missed.pop(session, None)

    def due(self, now: float) -> Iterator[tuple[Beat, S]]:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, session, turn = self._deadlines.popleft()
            if self._turns.get(session) != turn:
                continue
            if self._missed[session] >= self._most_missed:
                self.remove(session)
                yield Beat.LOST, session
            else:
                self._schedule(session, now)
        while self._pings and self._pings[0][0] <= now:
            _, session, turn = self._pings.popleft()
            if self._turns.get(session) == turn:
                self._missed[session] = self._missed.get(session, 0) + 1
                self._deadlines.append((now + self._timeout, session, turn))
                yield Beat.PING, session

    def next_due(self) -> float | None:
        """When `due` is worth asking again."""
        heads = [queue[0][0] for queue in (self._pings, self._deadlines) if queue]
        return min(heads) if heads else None

    def _schedule(self, session: S, now: float) -> None:
        self._turn += 1
        self._turns[session] = self._turn
        self._pings.append((now + self._interval, session, self._turn))
