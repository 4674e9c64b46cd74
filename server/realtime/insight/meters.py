"""What each namespace does, counted where it happens; who reads the counters, and how often, is not known here.

Everything only grows, as Prometheus wants it. Whole numbers are exact; latencies are of a sample, because a clock that
is read for every event would cost more than the count of all of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from time import perf_counter

#: Upper ends of a histogram's buckets, in seconds: 50 µs to 13 s, each √2 times the one before.
BUCKETS = tuple(0.00005 * math.sqrt(2) ** power for power in range(37))

#: Latencies that are measured in a second, about.
SAMPLES_A_SECOND = 50

DISCONNECTS = ("client", "transport", "heartbeat", "server", "too_slow", "going_away")
RECOVERIES = ("resumed", "refused", "opened")

_BY_REASON = {
    "client disconnect": "client",
    "server disconnect": "server",
    "ping timeout": "heartbeat",
    "transport close": "transport",
    "transport error": "transport",
}

Reply = Callable[..., None]


def disconnect_kind(reason: str, told: str = "") -> str:
    """One of DISCONNECTS. `told` is the better word for the reason, where somebody knew it."""
    return told or _BY_REASON.get(reason, "server")


class Histogram:
    """`counts` has one bucket more than BUCKETS, for what is above them; `total` is in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Seconds that this share of what was counted did not exceed, as evenly spread in its bucket; None of nothing."""
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    bucket = next(index for index, below in enumerate(accumulate(counts)) if below >= wanted and counts[index])
    if bucket == len(BUCKETS):
        return BUCKETS[-1]
    low = BUCKETS[bucket - 1] if bucket else 0.0
    before = sum(counts[:bucket])
    return low + (BUCKETS[bucket] - low) * (wanted - before) / counts[bucket]


class Meter:
    """Of one namespace. An event in counts when it came, an event out for each connection it goes to.

    `ack` is the time from an event's coming to its ack, `write` that from an emit until sockets were given it.
    """

    __slots__ = (
        "_emits_before",
        "_in_before",
        "ack",
        "connects",
        "disconnects",
        "emit_stride",
        "emits",
        "errors",
        "events_in",
        "events_out",
        "rate_limited",
        "recoveries",
        "stride",
        "write",
    )

    def __init__(self) -> None:
        self.events_in = 0
        self.events_out = 0
        self.emits = 0
        self.errors = 0
        self.rate_limited = 0
        self.connects = 0
        self.disconnects = dict.fromkeys(DISCONNECTS, 0)
        self.recoveries = dict.fromkeys(RECOVERIES, 0)
        self.ack = Histogram()
        self.write = Histogram()
        self.stride = 1  # of events in, and of emits, every so many-th is measured
        self.emit_stride = 1
        self._in_before = 0
        self._emits_before = 0

    def timed(self, reply: Reply) -> Reply:
        """The reply to an event that came now."""
        came = perf_counter()

        def answered(*results: object) -> None:
            reply(*results)
            self.ack.observe(perf_counter() - came)

        return answered

    def second_passed(self) -> None:
        """Keeps the number of measurements about the same, however much there is to measure."""
        self.stride = max(1, (self.events_in - self._in_before) // SAMPLES_A_SECOND)
        self.emit_stride = max(1, (self.emits - self._emits_before) // SAMPLES_A_SECOND)
        self._in_before, self._emits_before = self.events_in, self.emits


class Meters(dict[str, Meter]):
    """By namespace, of a closed set: those that the server was given, never one that a client named."""

    def open(self, namespace: str) -> Meter:
        meter = self[namespace] = self.get(namespace) or Meter()
        return meter
