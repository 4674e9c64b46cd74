"""Plain WebSockets and Socket.IO clients in one room: that it costs no more than a room of either."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from server.timestamps import iso_utc
from tests.bench.load import Client, Dialect, Load
from tests.bench.peers import ATRIUM, PLAIN, SOCKETIO, Peer, serving
from tests.bench.workloads import BURST, STAMP, Figures, Target, Workload, encoded, measured, text, tokens

CLIENTS = 500
ROOMS: dict[str, dict[Dialect, int]] = {
    "Socket.IO": {SOCKETIO: CLIENTS},
    "plain": {PLAIN: CLIENTS},
    "mixed": {SOCKETIO: CLIENTS // 2, PLAIN: CLIENTS // 2},
}
MESSAGES, INTERVAL_MS, TURNS = 60, 10, 10
[PAYLOAD] = text(300)
TOLD = {
    SOCKETIO: b"42/bench," + encoded(["tick", PAYLOAD]),
    PLAIN: encoded({"type": "tick", **PAYLOAD, "timestamp": iso_utc()}),
}


def _say(load: Load, client: Client, event: str, payload: Mapping[str, object]) -> None:
    if client.dialect is PLAIN:
        load.send(client, encoded({"type": event, **payload}))
    else:
        load.send(client, b"42/bench,7" + encoded([event, payload]))


def _join(load: Load, room: str, kinds: Mapping[Dialect, int]) -> None:
    load.answer(b"43/bench,7", lambda client: None, dialect=SOCKETIO)
    load.answer(b'{"type":"ack"', lambda client: None, dialect=PLAIN)
    for kind, count in kinds.items():
        load.connect(tokens(count), dialect=kind)
        for client in load.clients[-count:]:
            _say(load, client, "join", {"room": room})
        load.receive(messages=count)


def _emit(load: Load, room: str, pattern: str, messages: int) -> None:
    command = {"pattern": pattern, "messages": messages, "interval_ms": INTERVAL_MS, "payloads": [PAYLOAD]}
    _say(load, load.clients[0], "broadcast", {**command, "room": room})
    load.receive(messages=messages * CLIENTS)


def _mixed(peer: Peer) -> Figures:
    """The rooms take turns, on one server: what disturbs it disturbs all of them."""
    turns: dict[str, list[Figures]] = {room: [] for room in ROOMS}
    with serving(peer) as server:
        load = Load(server.port, SOCKETIO)
        for room, kinds in ROOMS.items():
            _join(load, room, kinds)
        for kind, told in TOLD.items():
            load.expect(told, STAMP, dialect=kind)
        for room in ROOMS:
            _emit(load, room, "burst", BURST)
        for _ in range(TURNS):
            for room, each in turns.items():
                figures: Figures = {}
                with measured(server, load, figures):
                    _emit(load, room, "paced", MESSAGES)
                each.append(figures)
        load.close()
    cpu = {room: median(each["CPU µs"] for each in figures) for room, figures in turns.items()}
    found = {name: median(each[name] for each in turns["mixed"]) for name in turns["mixed"][0]}
    return found | {
        "CPU µs Socket.IO": cpu["Socket.IO"],
        "CPU µs plain": cpu["plain"],
        "mixed / Socket.IO": cpu["mixed"] / cpu["Socket.IO"],
        "mixed / plain": cpu["mixed"] / cpu["plain"],
    }


MIXED_WORKLOADS = (
    Workload(
        "mixed",
        "250 Socket.IO clients and 250 plain WebSockets in a room, 300 B, one emit every 10 ms; and 500 of each alone",
        (
            "mixed / Socket.IO",
            "mixed / plain",
            "CPU µs",
            "CPU µs Socket.IO",
            "CPU µs plain",
            "p99 ms",
            "server busy %",
            "load busy %",
        ),
        (ATRIUM,),
        (Target("mixed / Socket.IO", None, 1.1), Target("mixed / plain", None, 1.1)),
        _mixed,
    ),
)
