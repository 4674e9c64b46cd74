"""What all outboxes of an engine share: their bounds, their counters, and when what they took in one turn goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from server.realtime.engine.frames import Packet

#: What is corked at most before it goes, whether the turn of the loop is over or not.
MOST_CORKED, MOST_CORKED_BYTES = 256, 256 * 1024

#: How long a `send` keeps the kernel (5 to 6 µs on loopback), and the longest rest between two releases.
SEND_SECONDS, MOST_REST_SECONDS = 5e-6, 0.003

#: The same where all that is corked is volatile: so many times a release's sends, and at most so long. 1,000 ticks a
#: second to 200 readers leave ten at a time.
VOLATILE_RESTS, MOST_VOLATILE_REST_SECONDS = 10, 0.02

#: The state of an outbox that has taken a packet in this turn of the loop; 0 is that of one which simply may.
CORKED = 1


class Corked(Protocol):
    """An outbox, as the cork uses it."""

    state: int
    only: Packet | None
    packets: list[Packet]

    def put(self, packet: Packet) -> None: ...

    def flush(self, joined: dict[tuple[object, ...], bytes]) -> None: ...


@dataclass(slots=True)
class Counters:
    """Of volatile packets that were not sent, and of readers that were given up. They only grow."""

    dropped: int = 0
    conflated: int = 0
    too_slow: int = 0


class Outlet:
    """What all outboxes of an engine share: their bounds, their counters, and the cork.

    The cork holds what is written during one turn of the event loop, and lets it go together at its end: several
    packets for one websocket leave in one `send`, which is nearly all that a packet costs (5 of 6 µs). A release to
    so many that their sends take a millisecond or more is followed by a rest of as long, in which more is gathered,
    and volatile packets by themselves wait longer; at rest nothing waits.
    """

    def __init__(self, *, most: int = 1000, most_bytes: int = 1024 * 1024) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.counters = Counters()
        self._corked: list[Corked] = []
        self._bytes = 0
        self._rests_until = 0.0
        self._volatile_rests_until = 0.0
        self._release: asyncio.Handle | None = None
        self._releases_at = 0.0
        self._timed: list[tuple[float, Callable[[float], None]]] = []

    def broadcast(self, packet: Packet, outboxes: Iterable[Corked]) -> None:
        """As `put` of each, in one go: this loop is what a message costs beside its `send`."""
        corked = self._corked
        for outbox in outboxes:
            if not outbox.state:
                outbox.state = CORKED
                outbox.only = packet
                corked.append(outbox)
            elif outbox.state == CORKED and len(outbox.packets) < MOST_CORKED:
                outbox.packets.append(packet)
            else:
                outbox.put(packet)
        self._bytes += len(packet.frame)
        self.schedule(volatile=packet.volatile)

    def cork(self, outbox: Corked, packet: Packet) -> None:
        self._corked.append(outbox)
        self._bytes += len(packet.frame)
        self.schedule(volatile=packet.volatile)

    def time(self, written: Callable[[float], None]) -> None:
        """Tells how many seconds it takes from now until what is put next was given to its sockets, but those that
        take no more."""
        self._timed.append((perf_counter(), written))

    def schedule(self, *, volatile: bool) -> None:
        """The release of what is corked, the last of which is `volatile` or not."""
        if self._bytes > MOST_CORKED_BYTES:
            self.release()
        elif self._corked:
            at = self._volatile_rests_until if volatile else self._rests_until
            if self._release is not None:
                if self._releases_at <= at:
                    return
                self._release.cancel()
            loop = asyncio.get_running_loop()
            self._releases_at = at
            self._release = loop.call_at(at, self.release) if at > loop.time() else loop.call_soon(self.release)
        else:
            self._timed.clear()  # it went to nobody whose socket takes it now

    def release(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        corked, self._corked = self._corked, []
        self._bytes = 0
        joined: dict[tuple[object, ...], bytes] = {}
        for outbox in corked:
            outbox.flush(joined)
        if self._timed:
            timed, self._timed, now = self._timed, [], perf_counter()
            for then, written in timed:
                written(now - then)
        rest = min(len(corked) * SEND_SECONDS, MOST_REST_SECONDS)
        if rest >= 0.001:  # the sends come after this, and then as long a rest
            self._rests_until = asyncio.get_running_loop().time() + 2 * rest
        volatile_rest = min(VOLATILE_RESTS * rest, MOST_VOLATILE_REST_SECONDS)
        if volatile_rest >= 0.001:
            self._volatile_rests_until = asyncio.get_running_loop().time() + rest + volatile_rest
