"""A feed's ticks for many subscribers, of whom some read slowly: what the others notice, and what those are told."""

from __future__ import annotations

import json
import math
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass, replace

from tests.bench.load import STAMP_DIGITS, Client, Load
from tests.bench.peers import ATRIUM_TICKS, NODE, Peer, serving
from tests.bench.servers.atrium_ticks import SYMBOLS, TICKS_PER_SECOND
from tests.bench.workloads import STAMP, Broadcast, Figures, Target, Workload, measured, tokens

CHANNELS, HALL = "ticks:*", "hall"
SUBSCRIBERS, SLOW = 200, 10
SLOW_BYTES_PER_SECOND = 20_000
SLOW_UNREAD_BYTES = 4096
TRICKLE_SECONDS = 0.02
WARM_SECONDS, SECONDS = 4, 8  # in the first the slow fall behind
QUIET_SECONDS = 0.5

_TICK = b'42/trading,["tick",'
_STAMPED = b'"name":"'
_LONG_TEXT = b"\x81\x7e"


class Subscribers(Load):
    """Each reads all there is, and `slow` ones beside them what they may."""

    slow: SlowSubscribers | None = None

    def _turn(self) -> None:
        super()._turn()
        if self.slow is not None:
            self.slow.trickle()

    def _read(self, client: Client, data: bytearray, end: int, now: int) -> None:
        """Ticks are of several sizes: they are counted frame by frame, and the first and the last give a latency."""
        at = first = last = count = 0
        while end - at > 4 and data.startswith(_LONG_TEXT, at) and data.startswith(_TICK, at + 4):
            after = at + 4 + (data[at + 2] << 8 | data[at + 3])
            if after > end:
                break
            first, last, count, at = first if count else at, at, count + 1, after
        if count:
            self.delivered += count
            self._note(data, first, now)
            if count > 1:
                self._note(data, last, now)
        if at < end:
            super()._read(client, data[at:end], end - at, now)

    def _message(self, client: Client, message: bytes, now: int) -> None:
        if message.startswith(_TICK):
            self.delivered += 1
            self._note(message, 0, now)
        else:
            super()._message(client, message, now)

    def _note(self, data: bytes | bytearray, at: int, now: int) -> None:
        at = data.index(_STAMPED, at) + len(_STAMPED)
        self.latencies.append(now - int(data[at : at + STAMP_DIGITS]))


@dataclass(slots=True)
class Heard:
    """What a subscriber was told of one symbol. `told` counts its ticks, with those that a newer one stands for;
    `number` is the feed's, of the newest, `at` when it was read; `longest`: between two reads, in ns."""

    seq: int = 0
    told: int = 0
    number: int = 0
    backwards: int = 0
    at: int = 0
    longest: int = 0


class SlowSubscribers(Load):
    """A latency is what a message's age was when it was read."""

    def __init__(self, port: int, peer: Peer) -> None:
        super().__init__(port, peer.dialect, unread_bytes=SLOW_UNREAD_BYTES)
        self.heard_of: dict[tuple[Client, str], Heard] = {}
        self._trickled = time.monotonic()

    def trickle(self) -> None:
        now = time.monotonic()
        if now - self._trickled < TRICKLE_SECONDS:
            return
        most = round((now - self._trickled) * SLOW_BYTES_PER_SECOND)
        self._trickled = now
        for client in self.clients:
            with suppress(BlockingIOError):
                self._take(client, most)

    def untold(self, ticks: int, last: int) -> tuple[int, int]:
        """Of all symbols of all subscribers, how many do not add up to their share of so many ticks, and of how many
        the newest did not come last. `last`: the number of the last tick of all."""
        each = ticks // len(SYMBOLS)
        newest = {symbol: last - len(SYMBOLS) + place for place, symbol in enumerate(SYMBOLS, start=1)}
        heard = [
            (symbol, self.heard_of.get((client, symbol), Heard())) for client in self.clients for symbol in SYMBOLS
        ]
        return (
            sum(of.told != each for _, of in heard),
            sum(bool(of.backwards) or of.number != newest[symbol] for symbol, of in heard),
        )

    def _message(self, client: Client, message: bytes, now: int) -> None:
        if not message.startswith(_TICK):
            super()._message(client, message, now)
            return
        tick = json.loads(message[len(_TICK) : -1])
        data = tick["data"]
        heard = self.heard_of.setdefault((client, data["symbol"]), Heard())
        heard.backwards += tick["seq"] <= heard.seq
        heard.seq, heard.number = tick["seq"], data["volume"]
        heard.longest = max(heard.longest, now - (heard.at or now))
        heard.at = now
        heard.told += 1 + tick.get("conflated", 0)
        self.delivered += 1
        self.latencies.append(now - int(data["name"]))


def _slow(peer: Peer) -> Figures:
    """Those who keep up alone, then beside slow ones; who have time in the end to read what is left."""
    alone: Figures = {}
    beside: Figures = {}
    with serving(peer) as server:
        load = Subscribers(server.port, peer.dialect)
        load.connect(tokens(SUBSCRIBERS - SLOW))
        load.ask(load.clients, "subscribe", {"channel": CHANNELS})
        _play(load, WARM_SECONDS)
        load.drain(QUIET_SECONDS)
        with measured(server, load, alone):
            _play(load, SECONDS)
        load.drain(QUIET_SECONDS)

        slow = SlowSubscribers(server.port, peer)
        slow.connect(tokens(SLOW))
        slow.ask(slow.clients, "subscribe", {"channel": CHANNELS})
        load.slow = slow
        _play(load, WARM_SECONDS)
        slow.latencies = array("q")
        delivered, delivered_slowly, slow_bytes = load.delivered, slow.delivered, slow.wire_bytes
        server.forget_peak()
        before = server.rss_bytes()
        began = time.monotonic()
        with measured(server, load, beside):
            _play(load, SECONDS)
        wall = time.monotonic() - began
        grown = server.peak_rss_bytes() - before
        delivered, delivered_slowly = load.delivered - delivered, slow.delivered - delivered_slowly
        slow_bytes = slow.wire_bytes - slow_bytes
        ages = sorted(slow.latencies)
        load.slow = None
        slow.drain(QUIET_SECONDS)
        heard_by_slow = (WARM_SECONDS + SECONDS) * TICKS_PER_SECOND
        uncounted, stale = slow.untold(heard_by_slow, 2 * heard_by_slow)
        slow.close()
        load.close()
    return beside | {
        "CPU µs": beside["CPU µs"] * delivered / (delivered + delivered_slowly),
        "p99 ms alone": alone["p99 ms"],
        "p99 / alone": beside["p99 ms"] / alone["p99 ms"],
        "ticks/s": SECONDS * TICKS_PER_SECOND / wall,
        "delivered %": 100 * delivered / (SECONDS * TICKS_PER_SECOND * len(load.clients)),
        "slow KB/s": slow_bytes / wall / SLOW / 1000,
        "slow p50 s": ages[len(ages) // 2] / 1e9,
        "slow p99 s": ages[len(ages) * 99 // 100] / 1e9,
        "gap s": max(heard.longest for heard in slow.heard_of.values()) / 1e9,
        "uncounted": uncounted,
        "not newest": stale,
        "grown MB": grown / 1024**2,
    }


def _play(load: Load, seconds: int) -> None:
    """Returns when all ticks were emitted, which takes a server that does not keep up longer."""
    over: list[Client] = []
    load.answer(b'42/trading,["over"', over.append)
    load.send(load.clients[0], f'42/trading,["play",{{"ticks":{seconds * TICKS_PER_SECOND}}}]'.encode())
    while not over:
        load.receive(seconds=TRICKLE_SECONDS)


def _plain(peer: Peer) -> Figures:
    """Emits of such ticks to a room of as many members, all of whom keep up."""
    figures: Figures = {}
    hall = Broadcast(
        "paced", round(SECONDS * TICKS_PER_SECOND * peer.pace), 1, _ticks(), clients=SUBSCRIBERS, room=HALL
    )
    with serving(peer) as server:
        load = Load(server.port, peer.dialect)
        load.connect(tokens(hall.clients))
        load.ask(load.clients, "join", {"room": HALL})
        hall.expected(load, peer)
        interval_ms = round(1000 / TICKS_PER_SECOND / peer.pace)
        hall.emit(load, peer, hall.pattern, hall.messages * WARM_SECONDS // SECONDS, interval_ms)
        with measured(server, load, figures):
            hall.emit(load, peer, hall.pattern, hall.messages, interval_ms)
        load.close()
    return figures | dict.fromkeys(OF_SLOW, math.nan)


def _ticks() -> list[dict[str, object]]:
    """As many bytes as Atrium's."""
    return [
        {
            "stamp": STAMP.decode(),
            "channel": f"ticks:{symbol}",
            "seq": 100,
            "timestamp": "2026-11-22T09:00:00.000Z",
            "data": {
                "symbol": symbol,
                "price": 71_500,
                "change": -200,
                "volume": 10_000,
                "time": "2026-11-22T09:00:00.000Z",
            },
        }
        for symbol in SYMBOLS
    ]


def _run(peer: Peer) -> Figures:
    return _slow(peer) if peer is ATRIUM_TICKS else _plain(peer)


OF_SLOW = (
    *("p99 ms alone", "p99 / alone", "ticks/s", "delivered %"),
    *("slow KB/s", "slow p50 s", "slow p99 s", "gap s", "uncounted", "not newest"),
    "grown MB",
)

TICKS_WORKLOADS = (
    Workload(
        "ticks",
        f"{TICKS_PER_SECOND:,} ticks a second of {len(SYMBOLS)} symbols for {SUBSCRIBERS} subscribers of all, of whom"
        f" {SLOW} read {SLOW_BYTES_PER_SECOND // 1000} KB/s; Node emits 200 a second to as many who all keep up",
        ("CPU µs", "p50 ms", "p99 ms", *OF_SLOW, "server busy %", "load busy %"),
        (ATRIUM_TICKS, replace(NODE, pace=0.2)),
        (
            Target("CPU µs", NODE, 0.15),
            Target("p99 / alone", None, 1.2),
            Target("uncounted", None, 0.0),
            Target("not newest", None, 0.0),
        ),
        _run,
    ),
)
