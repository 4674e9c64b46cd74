"""What the servers are made to do, and what Atrium is to reach in it: the table of figures."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from server.auth.tokens import mint
from tests.bench.load import STAMP_DIGITS, Client, Load, frame, masked, undisturbed
from tests.bench.peers import ATRIUM, FASTAPI, FLOOR, NODE, SECRET, SOCKETIO, STOCK, Cluster, Peer, Server, serving

STAMP = b"0" * STAMP_DIGITS
BURST = 20

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """Atrium's figure is to be at most that part of the peer's, or at least where more is better. Without a peer the
    figure itself is bounded."""

    figure: str
    against: Peer | None
    bound: float
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """`figures` are shown in this order, the first is the one that counts."""

    name: str
    title: str
    figures: tuple[str, ...]
    peers: tuple[Peer, ...]
    targets: tuple[Target, ...]
    run: Callable[[Peer], Figures]


@contextmanager
def measured(server: Server | Cluster, load: Load, figures: Figures) -> Iterator[None]:
    """What server and load did from here to the end of the block."""
    load.latencies = type(load.latencies)("q")
    delivered, wire_bytes = load.delivered, load.wire_bytes
    with undisturbed():
        began, server_cpu, load_cpu = time.monotonic(), server.cpu_seconds(), time.process_time()
        yield
        server_cpu = server.cpu_seconds() - server_cpu
        load_cpu = time.process_time() - load_cpu
        wall = time.monotonic() - began
    figures |= {"server busy %": 100 * server_cpu / wall, "load busy %": 100 * load_cpu / wall}
    if count := load.delivered - delivered:
        latencies = sorted(load.latencies)
        figures |= {
            "CPU µs": 1e6 * server_cpu / count,
            "p50 ms": latencies[len(latencies) // 2] / 1e6,
            "p99 ms": latencies[len(latencies) * 99 // 100] / 1e6,
            "wire B": (load.wire_bytes - wire_bytes) / count,
        }
    else:
        figures |= {"CPU s": server_cpu, "wall s": wall}


def tokens(count: int) -> list[str]:
    return [mint(SECRET, f"user-{number}") for number in range(count)]


# -- broadcasts -----------------------------------------------------------------------------------------------------


def text(size: int) -> list[dict[str, object]]:
    empty = len(encoded({"stamp": STAMP.decode(), "text": ""}))
    return [{"stamp": STAMP.decode(), "text": "x" * (size - empty)}]


def _status() -> list[dict[str, object]]:
    """17 machines as in the monitor's seed, with the readings of a PLC; different enough from one to the next that
    a compressor with a memory does not see the same again."""
    dice = random.Random(17)  # noqa: S311
    return [
        {
            "stamp": STAMP.decode(),
            "timestamp": f"2026-11-03T10:30:{second:02}.{dice.randrange(1000):03}Z",
            "equipment": [
                {
                    "equipment_code": f"KRCWO12ELOA{machine:03}",
                    "equipment_name": f"Upper 로봇 용접 {machine}",
                    "status": dice.choice(["running", "idle", "stopped", "error", "disconnected"]),
                    "tags": {"status_tag": dice.randrange(5), "error_tag": dice.randrange(900), "connection": True},
                    "readings": [round(dice.uniform(0, 1000), 2) for _ in range(10)],
                    "last_updated": f"2026-11-03T10:30:{second:02}.{dice.randrange(1000):03}Z",
                }
                for machine in range(101, 118)
            ],
        }
        for second in range(8)
    ]


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Broadcast:
    """`interval_ms`: between two emits, or two bursts of them."""

    pattern: str
    messages: int
    interval_ms: int
    payloads: list[dict[str, object]]
    clients: int = 500
    deflate: bool = False
    eased: bool = False  # a peer that cannot keep up with the interval gets a longer one
    room: str | None = None  # which those `clients` have joined; none: everybody

    def __call__(self, peer: Peer) -> Figures:
        figures: Figures = {}
        options = ["deflate"] if self.deflate else []
        dialect = replace(peer.dialect, deflate=self.deflate)
        paced = self.pattern == "paced"
        pace = peer.pace if self.eased or not paced else 1.0
        messages = round(self.messages * pace / BURST) * BURST
        with serving(peer, *options) as server:
            load = Load(server.port, dialect)
            load.connect(tokens(self.clients))
            self.expected(load, peer)
            self.emit(load, peer, "paced" if paced else "burst", BURST, 20)
            with measured(server, load, figures):
                self.emit(
                    load, peer, self.pattern, messages, round(self.interval_ms / pace) if paced else self.interval_ms
                )
            load.close()
        return figures

    def emit(self, load: Load, peer: Peer, pattern: str, messages: int, interval_ms: int) -> None:
        first = load.clients[0]
        if peer is FLOOR:
            ready = self.message(peer, self.payloads[0])
            words = (pattern, messages, interval_ms, ready.find(STAMP), len(ready), self.clients)
            load.send(first, " ".join(map(str, words)).encode() + b"\n" + ready)
        else:
            command: dict[str, object] = {
                "pattern": pattern,
                "messages": messages,
                "interval_ms": interval_ms,
                "payloads": self.payloads,
            }
            if self.room is not None:
                command["room"] = self.room
            event = b"42/bench," + encoded(["broadcast", command])
            load.send(first, event if peer.dialect == SOCKETIO else encoded(command))
        load.receive(messages=messages * self.clients)

    def expected(self, load: Load, peer: Peer) -> None:
        load.expect(self.message(peer, self.payloads[0]), STAMP)

    def message(self, peer: Peer, payload: dict[str, object]) -> bytes:
        if peer is FASTAPI:
            return encoded(payload)
        message = b"42/bench," + encoded(["tick", payload])
        return frame(message) if peer is FLOOR else message


# -- the others -----------------------------------------------------------------------------------------------------

ACK_CLIENTS, ACK_SECONDS, WARM_SECONDS = 100, 4.0, 1.0


def _ack(peer: Peer) -> Figures:
    """Each client sends its next event when the ack of the last has come."""
    figures: Figures = {}
    event = masked(b'42/bench,7["echo",{"text":"how do you do","number":42}]')

    def send(client: Client) -> None:
        client.sent_at = time.monotonic_ns()
        client.socket.send(event)

    with serving(peer) as server:
        load = Load(server.port, peer.dialect)
        load.connect(tokens(ACK_CLIENTS))
        load.answer(b'43/bench,7[{"ok":true', send)
        for client in load.clients:
            send(client)
        load.receive(seconds=WARM_SECONDS)
        with measured(server, load, figures):
            load.receive(seconds=ACK_SECONDS)
        load.close()
    return figures


CONNECTIONS = 2000
SETTLE_SECONDS = 2.0


def _connect(peer: Peer) -> Figures:
    """After half as many that warm the server up: Node compiles while it runs."""
    figures: Figures = {}
    with serving(peer) as server:
        warm = Load(server.port, peer.dialect)
        warm.connect(tokens(CONNECTIONS // 2))
        warm.close()
        load = Load(server.port, peer.dialect)
        newcomers = tokens(CONNECTIONS)
        with measured(server, load, figures):
            load.connect(newcomers)
        load.close()
    figures["connects per CPU s"] = CONNECTIONS / figures["CPU s"]
    figures["connects per s"] = CONNECTIONS / figures["wall s"]
    return figures


def _idle(peer: Peer) -> Figures:
    """What 2,000 connections that do nothing add to a server that has seen some; that they are all there is then shown
    by broadcasts that reach them."""
    proof = Broadcast("burst", BURST, 0, text(300), clients=CONNECTIONS)
    with serving(peer) as server:
        warm = Load(server.port, peer.dialect)
        warm.connect(tokens(50))
        warm.close()
        time.sleep(SETTLE_SECONDS)
        before = server.rss_bytes()
        load = Load(server.port, peer.dialect)
        load.connect(tokens(CONNECTIONS))
        load.receive(seconds=SETTLE_SECONDS)
        after = server.rss_bytes()
        proof.expected(load, peer)
        proof.emit(load, peer, proof.pattern, proof.messages, proof.interval_ms)
        load.close()
    return {"KB": (after - before) / CONNECTIONS / 1024, "server MB": after / 1024**2}


STUCK, UNREAD_BYTES = 10, 4096
CUT_OFF_SECONDS = 3.0  # Atrium lets a websocket take its close frame for two


def _stuck(peer: Peer) -> Figures:
    """500 readers alone, then beside ten that enter and never read. A burst fills what the kernel takes for those and
    most of what Atrium holds for each. In what is measured then Atrium gives them up; no heartbeat would yet."""
    ready = Broadcast("paced", 400, 10, text(300))
    alone: Figures = {}
    beside: Figures = {}
    with serving(peer) as server:
        load = Load(server.port, peer.dialect)
        load.connect(tokens(ready.clients))
        ready.expected(load, peer)
        ready.emit(load, peer, "burst", 800, 20)
        with measured(server, load, alone):
            ready.emit(load, peer, ready.pattern, ready.messages, ready.interval_ms)
        stuck = Load(server.port, peer.dialect, unread_bytes=UNREAD_BYTES)
        stuck.connect(tokens(STUCK))
        server.forget_peak()
        before = server.rss_bytes()
        ready.emit(load, peer, "burst", 2000, 20)
        with measured(server, load, beside):
            ready.emit(load, peer, ready.pattern, ready.messages, ready.interval_ms)
        grown = server.peak_rss_bytes() - before
        load.receive(seconds=CUT_OFF_SECONDS)
        cut_off = stuck.cut_off()
        stuck.close()
        load.close()
    return beside | {
        "p99 ms alone": alone["p99 ms"],
        "p99 / alone": beside["p99 ms"] / alone["p99 ms"],
        "grown MB": grown / 1024**2,
        "cut off": cut_off,
    }


CPU = ("CPU µs", "p50 ms", "p99 ms", "server busy %", "load busy %")
EVERYBODY = (ATRIUM, NODE, STOCK, FASTAPI, FLOOR)
SOCKETIO_PEERS = (ATRIUM, NODE, STOCK)

WORKLOADS = (
    Workload(
        "paced",
        "500 clients, 300 B, one emit every 10 ms; python-socketio gets 40",
        CPU,
        EVERYBODY,
        (Target("CPU µs", NODE, 0.80), Target("CPU µs", FLOOR, 1.3)),
        Broadcast("paced", 300, 10, text(300), eased=True),
    ),
    Workload(
        "back_to_back",
        "500 clients, 300 B, one emit every turn of the event loop",
        CPU,
        EVERYBODY,
        (Target("CPU µs", NODE, 0.30),),
        Broadcast("back_to_back", 800, 0, text(300)),
    ),
    Workload(
        "burst",
        "500 clients, 300 B, 20 emits at once, then 50 ms of rest",
        CPU,
        EVERYBODY,
        (Target("CPU µs", NODE, 0.10),),
        Broadcast("burst", 600, 50, text(300)),
    ),
    Workload(
        "ack",
        "100 clients, ack round trips, one under way for each client; Atrium checks a schema, the others nothing",
        CPU,
        SOCKETIO_PEERS,
        (Target("CPU µs", NODE, 0.90),),
        _ack,
    ),
    Workload(
        "deflate",
        "1,000 clients with permessage-deflate, a 5 KB status of 17 machines every 250 ms",
        ("CPU µs", "p50 ms", "p99 ms", "wire B", "server busy %", "load busy %"),
        SOCKETIO_PEERS,
        (Target("CPU µs", STOCK, 0.15), Target("wire B", STOCK, 1.5)),
        Broadcast("paced", 20, 250, _status(), clients=1000, deflate=True),
    ),
    Workload(
        "idle",
        "2,000 idle connections in a namespace, with a token each: RSS that one adds",
        ("KB", "server MB"),
        SOCKETIO_PEERS,
        (Target("KB", NODE, 0.70),),
        _idle,
    ),
    Workload(
        "connect",
        "2,000 connects with a token each, 50 under way at a time",
        ("connects per CPU s", "connects per s", "server busy %", "load busy %"),
        SOCKETIO_PEERS,
        (Target("connects per CPU s", NODE, 1.5, more_is_better=True),),
        _connect,
    ),
    Workload(
        "stuck",
        f"500 clients, 300 B, one emit every 10 ms: alone, then beside {STUCK} that never read",
        ("p99 ms", "p99 ms alone", "p99 / alone", "grown MB", "cut off", "server busy %", "load busy %"),
        (ATRIUM, NODE),
        (Target("p99 / alone", None, 1.2), Target("cut off", None, STUCK, more_is_better=True)),
        _stuck,
    ),
)
