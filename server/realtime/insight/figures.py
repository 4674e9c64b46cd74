"""A value a second of all that is metered, for the last minutes, and how those of many nodes become one. It has no
clock of its own: who calls `second` has one.

A row is a list of whole numbers in the order of `NAMES`, and of the latencies measured in that second as
`[bucket, count]` pairs, so that rows of many nodes can be added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from server.realtime.asks import Counts
from server.realtime.insight.meters import BUCKETS, DISCONNECTS, RECOVERIES, Histogram, Meter, Meters, percentile

ASKS = ("sent", "answered", "expired", "withdrawn", "refused")

#: What only grows, shown as what came in a second.
GROWING = (
    "events_in",
    "events_out",
    "errors",
    "connects",
    "rate_limited",
    *(f"disconnects.{each}" for each in DISCONNECTS),
    *(f"recoveries.{each}" for each in RECOVERIES),
    *(f"asks.{each}" for each in ASKS),
)
NAMES = (*GROWING, "connections")
TOTALS = ("events_in", "events_out", "errors", "connects", "rate_limited")

#: Of a whole process; of several, the first are added, of the others the largest is shown.
SUMMED = ("behind", "too_slow", "conflated", "dropped", "rss_bytes", "cpu_percent", "redis_held")
LARGEST = ("outbox_peak_messages", "outbox_peak_bytes", "loop_lag_ms")
WHOLE = (*SUMMED, *LARGEST)

Sparse = list[list[int]]


class Row(NamedTuple):
    """Of the second that began at `t`: by namespace its numbers, acks and writes; and WHOLE of the process."""

    t: int
    namespaces: Mapping[str, tuple[list[int], Sparse, Sparse]]
    whole: list[float]


class Source(NamedTuple):
    """What a namespace is asked for beside its meter."""

    meter: Meter
    asks: Counts
    connections: Callable[[], int]

    def values(self) -> list[int]:
        meter, asks = self.meter, self.asks
        return [
            meter.events_in,
            meter.events_out,
            meter.errors,
            meter.connects,
            meter.rate_limited,
            *meter.disconnects.values(),
            *meter.recoveries.values(),
            *(getattr(asks, each) for each in ASKS),
        ]


class Figures:
    def __init__(self, meters: Meters, *, seconds: int = 900) -> None:
        self._meters = meters
        self._rows: deque[Row] = deque(maxlen=max(1, seconds))
        self._sources: dict[str, Source] = {}
        self._before: dict[str, list[int]] = {}
        self._acks: dict[str, list[int]] = {}
        self._writes: dict[str, list[int]] = {}

    def add(self, namespace: str, asks: Counts, connections: Callable[[], int]) -> None:
        source = Source(self._meters.open(namespace), asks, connections)
        self._sources[namespace] = source
        self._before[namespace] = source.values()
        self._acks[namespace] = list(source.meter.ack.counts)
        self._writes[namespace] = list(source.meter.write.counts)

    def second(self, t: int, whole: Mapping[str, float | None]) -> Row:
        """The second that began at `t` is over."""
        found = {}
        for namespace, source in self._sources.items():
            values = source.values()
            grown = [now - then for now, then in zip(values, self._before[namespace], strict=True)]
            self._before[namespace] = values
            acks = _grown(source.meter.ack, self._acks[namespace])
            writes = _grown(source.meter.write, self._writes[namespace])
            found[namespace] = ([*grown, source.connections()], acks, writes)
            source.meter.second_passed()
        row = Row(t, found, [whole.get(each) or 0 for each in WHOLE])
        self._rows.append(row)
        return row

    @property
    def newest(self) -> Row | None:
        return self._rows[-1] if self._rows else None

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        return {
            namespace: dict(zip(GROWING, source.values(), strict=True)) for namespace, source in self._sources.items()
        }

    def since(self, t: int) -> list[Row]:
        """The rows after that second, the oldest first."""
        found: list[Row] = []
        for row in reversed(self._rows):
            if row.t <= t:
                break
            found.append(row)
        return found[::-1]


def _grown(histogram: Histogram, before: list[int]) -> Sparse:
    """Since the last time; `before` is brought up to now."""
    counts, found = histogram.counts, []
    for bucket, count in enumerate(counts):
        if count != before[bucket]:
            found.append([bucket, count - before[bucket]])
            before[bucket] = count
    return found


def columns(rows: Iterable[Sequence[Any]], after: int, newest: int) -> dict[str, object]:
    """The rows of all nodes, as `Row`s, as columns from the first second after `after` that there is any of to `newest`
    itself."""
    by_second: dict[int, list[Row]] = {}
    for each in rows:
        row = Row(*each)
        if after < row.t <= newest:
            by_second.setdefault(row.t, []).append(row)
    seconds = range(min(by_second), newest + 1) if by_second else range(0)
    names = sorted({namespace for some in by_second.values() for row in some for namespace in row.namespaces})
    return {
        "t": list(seconds),
        "namespaces": {name: _of_namespace(name, seconds, by_second) for name in names},
        "all": _of_all(seconds, by_second),
    }


def _of_namespace(name: str, seconds: range, by_second: Mapping[int, Sequence[Row]]) -> dict[str, object]:
    flat: dict[str, list[float | None]] = {each: [] for each in NAMES}
    latencies: dict[str, list[float | None]] = {
        f"{kind}_p{share}_ms": [] for kind in ("ack", "write") for share in (50, 99)
    }
    for t in seconds:
        found = [row.namespaces[name] for row in by_second.get(t, ()) if name in row.namespaces]
        for index, each in enumerate(NAMES):
            flat[each].append(sum(values[index] for values, _, _ in found) if found else None)
        for place, kind in ((1, "ack"), (2, "write")):
            counts = _added(each[place] for each in found)
            for share in (50, 99):
                seconds_taken = percentile(counts, share / 100)
                latencies[f"{kind}_p{share}_ms"].append(None if seconds_taken is None else _ms(seconds_taken))
    return _nested(flat) | latencies


def _added(some: Iterable[Any]) -> list[int]:
    counts = [0] * (len(BUCKETS) + 1)
    for sparse in some:
        for bucket, count in sparse:
            counts[bucket] += count
    return counts


def _of_all(seconds: range, by_second: Mapping[int, Sequence[Row]]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {each: [] for each in WHOLE}
    for t in seconds:
        rows = by_second.get(t, ())
        for index, each in enumerate(WHOLE):
            values = [row.whole[index] for row in rows]
            value = (max(values) if each in LARGEST else round(sum(values), 1)) if values else None
            found[each].append(value)
    return found


def _nested(flat: Mapping[str, list[float | None]]) -> dict[str, object]:
    """`disconnects.client` is `client` of `disconnects`."""
    nested: dict[str, Any] = {}
    for name, values in flat.items():
        of, _, part = name.partition(".")
        if part:
            nested.setdefault(of, {})[part] = values
        else:
            nested[of] = values
    return nested


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
