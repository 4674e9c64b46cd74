"""What the monitor is made to do: a status for many clients, and many machines to read."""

from __future__ import annotations

import functools
import json
import math
import re
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.bench.chat import sqlite_store
from tests.bench.load import Client, Load
from tests.bench.peers import ATRIUM_MONITOR, ATRIUM_PLANT, STOCK, Peer, modbus_servers, serving
from tests.bench.workloads import STAMP, Broadcast, Figures, Target, Workload, measured, tokens

FEW, CLIENTS = 50, 1000
SAMPLED = 20  # one in so many is read; of the others' statuses only the bytes are counted
WARM_SECONDS, FEW_SECONDS, SECONDS = 2, 5, 10
RECORDED = 5
PLCS, MACHINES = 20, 25

_STATUS = b'42/monitor,["equipment_status",'
_CYCLES = b'43/monitor,7[{"ok":true'
_READ = re.compile(rb'"last_updated":"([^"]+)"')
_WALL = time.time_ns() - time.monotonic_ns()


class Watchers(Load):
    """A latency is the age of what a status tells, since its machines were read. `newest` is the last that was read."""

    newest = b""
    answer_text = b""

    def sample(self, clients: list[Client]) -> None:
        """Only one in some of these inflates from here on: a load that did for all would delay those it reads last."""
        for number, client in enumerate(clients):
            if number % SAMPLED:
                client.inflater = None

    def _message(self, client: Client, message: bytes, now: int) -> None:
        if self._dialect.deflate and client.inflater is None:
            self.delivered += 1
        elif message.startswith(_STATUS):
            self.delivered += 1
            self.newest = message
            read = datetime.fromisoformat(max(_READ.findall(message)).decode())
            self.latencies.append(now + _WALL - round(read.timestamp() * 1e9))
        else:
            if message.startswith(_CYCLES):
                self.answer_text = message
            super()._message(client, message, now)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.newest[len(_STATUS) : -1])
        return told


def _many(peer: Peer) -> Figures:
    return _atrium(peer) if peer is ATRIUM_MONITOR else _stock(peer)


def _atrium(peer: Peer) -> Figures:
    """Few clients, then many."""
    few: Figures = {}
    many: Figures = {}
    with sqlite_store() as store, serving(peer, store.url) as server:
        load = Watchers(server.port, peer.dialect)
        load.connect(tokens(FEW))
        load.receive(seconds=WARM_SECONDS)
        with measured(server, load, few):
            load.receive(seconds=FEW_SECONDS)
        load.connect(tokens(CLIENTS - FEW))
        load.sample(load.clients)
        load.receive(seconds=WARM_SECONDS)
        wire_bytes = load.wire_bytes
        with measured(server, load, many):
            load.receive(seconds=SECONDS)
        wire_bytes = load.wire_bytes - wire_bytes
        load.close()
    return many | {
        "core %": many["server busy %"],
        "B/s a client": wire_bytes / SECONDS / CLIENTS,
        f"p50 ms of {FEW}": few["p50 ms"],
        f"p99 ms of {FEW}": few["p99 ms"],
    }


def _stock(peer: Peer) -> Figures:
    """What Atrium told, emitted as often."""
    figures: Figures = {}
    statuses = [{"stamp": STAMP.decode(), **each} for each in _recorded()]
    told = Broadcast("paced", SECONDS, 1000, statuses, clients=CLIENTS, deflate=True)
    with serving(peer, "deflate") as server:
        load = Watchers(server.port, replace(peer.dialect, deflate=True))
        load.connect(tokens(CLIENTS))
        load.sample(load.clients)
        told.expected(load, peer)
        told.emit(load, peer, told.pattern, WARM_SECONDS, told.interval_ms)
        wire_bytes = load.wire_bytes
        with measured(server, load, figures):
            told.emit(load, peer, told.pattern, told.messages, told.interval_ms)
        wire_bytes = load.wire_bytes - wire_bytes
        load.close()
    figures |= {"core %": figures["server busy %"], "B/s a client": wire_bytes / SECONDS / CLIENTS}
    return figures | dict.fromkeys(OF_FEW, math.nan)


@functools.cache
def _recorded() -> list[dict[str, Any]]:
    peer = replace(ATRIUM_MONITOR, dialect=replace(ATRIUM_MONITOR.dialect, deflate=False))
    statuses = []
    with sqlite_store() as store, serving(peer, store.url) as server:
        load = Watchers(server.port, peer.dialect)
        load.connect(tokens(1))
        for _ in range(RECORDED):
            load.receive(messages=1)
            statuses.append(load.status())
        load.close()
    return statuses


def _plcs(peer: Peer) -> Figures:
    figures: Figures = {}
    with modbus_servers(PLCS, MACHINES) as ports, serving(peer, str(MACHINES), *map(str, ports)) as server:
        load = Watchers(server.port, peer.dialect)
        load.connect(tokens(1))
        load.receive(seconds=2 * WARM_SECONDS)  # sources that found nobody come back
        _cycles(load)
        with measured(server, load, figures):
            load.receive(seconds=SECONDS)
        cycles = sorted(_cycles(load))
        machines = load.status()["equipment"]
        load.close()
    return figures | {
        "cycle p50 ms": 1e3 * cycles[len(cycles) // 2],
        "cycle p99 ms": 1e3 * cycles[len(cycles) * 99 // 100],
        "cycles": len(cycles),
        "CPU ms": 10 * figures["server busy %"] * SECONDS / len(cycles),
        "disconnected": sum(each["status"] == "disconnected" for each in machines),
        "p99 ms": figures["p99 ms"],
    }


def _cycles(load: Watchers) -> list[float]:
    """In seconds, since it was asked last."""
    load.answer_text = b""
    load.send(load.clients[0], b'42/monitor,7["cycles",{}]')
    while not load.answer_text:
        load.receive(messages=1)
    cycles: list[float] = json.loads(load.answer_text.partition(b",7")[2])[0]["cycles"]
    return cycles


OF_FEW = (f"p50 ms of {FEW}", f"p99 ms of {FEW}")

PLANT_WORKLOADS = (
    Workload(
        "monitor_1000",
        f"{CLIENTS:,} clients with permessage-deflate, 17 machines, a status every second. Latency is from the read of"
        f" the machines to the client, of {FEW} before there are more; python-socketio emits the same statuses",
        ("core %", "CPU µs", "B/s a client", "p50 ms", "p99 ms", *OF_FEW, "load busy %"),
        (ATRIUM_MONITOR, STOCK),
        (Target("p99 ms", None, 100.0), Target(OF_FEW[1], None, 100.0)),
        _many,
    ),
    Workload(
        "plc_500",
        f"{PLCS * MACHINES} machines over {PLCS} Modbus servers, which share the load's core, read twice a second: a"
        " cycle is from the start of the first read to the end of the last; CPU with the status every second",
        ("cycle p50 ms", "cycle p99 ms", "cycles", "CPU ms", "disconnected", "p99 ms", "server busy %"),
        (ATRIUM_PLANT,),
        (Target("cycle p99 ms", None, 1000.0), Target("disconnected", None, 0.0)),
        _plcs,
    ),
)
