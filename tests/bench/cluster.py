"""What several nodes on one Redis are made to do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis

from server.auth.tokens import mint
from server.realtime.cluster.keys import Keys
from tests.bench.load import Load
from tests.bench.peers import ATRIUM, NODE, SECRET, Cluster, Peer, Server, clustered, serving
from tests.bench.servers.atrium import REDIS_PREFIX
from tests.bench.workloads import Broadcast, Figures, Target, Workload, measured, text, tokens
from tests.support.raw import raw_socket

NAMESPACE, HALL = "/bench", "hall"
ALONE = replace(ATRIUM, name="atrium alone")


# -- broadcasts over two nodes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """As many clients on each of two nodes as ALONE has on one."""

    broadcast: Broadcast

    def __call__(self, peer: Peer) -> Figures:
        each = self.broadcast
        if peer is ALONE:
            return each(peer) | {"Redis µs": 0.0}
        figures: Figures = {}
        both = replace(each, clients=2 * each.clients)
        with clustered(peer, 2) as cluster:
            load = Load(cluster.nodes[0].port, peer.dialect)
            load.connect(tokens(each.clients))
            load.connect(tokens(each.clients), port=cluster.nodes[1].port)
            both.expected(load, peer)
            both.emit(load, peer, each.pattern, 20, 20)
            delivered, redis_cpu = load.delivered, cluster.redis.cpu_seconds()
            with measured(cluster, load, figures):
                both.emit(load, peer, each.pattern, each.messages, each.interval_ms)
            figures["Redis µs"] = 1e6 * (cluster.redis.cpu_seconds() - redis_cpu) / (load.delivered - delivered)
            load.close()
        return figures


# -- a node without members in a room -------------------------------------------------------------------------------

MEMBERS, OTHERS = 10, 500
IDLE_SECONDS = 4.0


def _bystander(peer: Peer) -> Figures:
    figures: Figures = {}
    hall = Broadcast("paced", 5000, 1, text(300), clients=MEMBERS, room=HALL)
    with clustered(peer, 2) as cluster:
        emitting, bystander = cluster.nodes
        load = Load(emitting.port, peer.dialect)
        load.connect(tokens(MEMBERS))
        load.connect(tokens(OTHERS), port=bystander.port)
        load.ask(load.clients[:MEMBERS], "join", {"room": HALL})
        hall.expected(load, peer)
        hall.emit(load, peer, hall.pattern, 500, hall.interval_ms)
        with _share(bystander, figures, "idle %"):
            load.receive(seconds=IDLE_SECONDS)
        began = time.monotonic()
        with _share(bystander, figures, "bystander %"), _share(emitting, figures, "emitting %"):
            hall.emit(load, peer, hall.pattern, hall.messages, hall.interval_ms)
        figures["emits per s"] = hall.messages / (time.monotonic() - began)
        load.close()
    return figures


@contextmanager
def _share(server: Server, figures: Figures, name: str) -> Iterator[None]:
    """Of a core."""
    began, cpu = time.monotonic(), server.cpu_seconds()
    yield
    figures[name] = 100 * (server.cpu_seconds() - cpu) / (time.monotonic() - began)


# -- replay ---------------------------------------------------------------------------------------------------------

LOGGED, MISSED, RESUMES = 100_000, 200, 10
FILL = 5000  # at once, within the time that a handler may take
SETTLE_SECONDS = 0.1


def _replay(peer: Peer) -> Figures:
    """A client drops, misses 200 events and comes back to the other node, time and again. What a visit costs is that of
    both nodes, from the TCP connect until the client has left again; that of a visit without a past is shown beside."""
    resumed, fresh, redis = [], [], []
    with clustered(peer, 2) as cluster:
        load = Load(cluster.nodes[0].port, peer.dialect)
        load.connect(tokens(1))
        for _ in range(LOGGED // FILL):
            _fill(load, FILL)
        auth: dict[str, object] = {"token": mint(SECRET, "visitor"), "recovery": True}
        known = asyncio.run(_visit(cluster.nodes[0], auth))
        for number in range(1, RESUMES + 1):
            _fill(load, MISSED)
            node = cluster.nodes[number % 2]
            before, redis_before = cluster.cpu_seconds(), cluster.redis.cpu_seconds()
            known = asyncio.run(_visit(node, auth | known, missed=MISSED))
            load.receive(seconds=SETTLE_SECONDS)
            resumed.append(cluster.cpu_seconds() - before)
            redis.append(cluster.redis.cpu_seconds() - redis_before)
            before = cluster.cpu_seconds()
            asyncio.run(_visit(node, auth))
            load.receive(seconds=SETTLE_SECONDS)
            fresh.append(cluster.cpu_seconds() - before)
        figures = {"logged": _logged(cluster)}
        load.close()
    return figures | {
        "CPU ms": 1e3 * median(resumed),
        "most CPU ms": 1e3 * max(resumed),
        "fresh CPU ms": 1e3 * median(fresh),
        "Redis ms": 1e3 * median(redis),
    }


def _fill(load: Load, messages: int) -> None:
    load.ask(load.clients[:1], "fill", {"room": HALL, "messages": messages, "payload": text(300)[0]})
    load.receive(seconds=SETTLE_SECONDS)


async def _visit(node: Server, auth: dict[str, object], *, missed: int = 0) -> dict[str, object]:
    """Enters the hall and drops; what it knows then to come back. Raises RuntimeError unless it first gets what it
    `missed`."""
    got = 0
    async with raw_socket(f"http://127.0.0.1:{node.port}") as raw:
        await raw.expect("0{")
        await raw.send(f"40{NAMESPACE},{json.dumps(auth)}")
        while not (message := await raw.expect("4")).startswith("40"):
            got += message.startswith(f'42{NAMESPACE},["tick",')
        if got != missed:
            raise RuntimeError(f"{got} of {missed} events came")
        greeting = await raw.expect(f'42{NAMESPACE},["connected",')
        if not missed:
            await raw.send(f'42{NAMESPACE},7["join",{{"room":"{HALL}"}}]')
            await raw.expect(f'43{NAMESPACE},7[{{"ok":true')
    return {"pid": _body(message)["pid"], "offset": _body(greeting)[-1]}


def _body(message: str) -> Any:
    return json.loads(message.partition(",")[2])


def _logged(cluster: Cluster) -> float:
    with Redis(port=cluster.redis.port) as redis:
        return float(redis.xlen(Keys(REDIS_PREFIX).log(NAMESPACE, HALL)))


# -- kill -9 --------------------------------------------------------------------------------------------------------

KILLS, RETURNING = 12, 10  # in a round; a kill drops that many clients
REST_SECONDS = 1.0


def _kill(peer: Peer) -> Figures:
    """Clients on two nodes in turn, of which the one they are on is killed, while a third emits 100 times a second."""
    milliseconds: list[float] = []
    recovered = 0
    with clustered(peer, 3) as cluster, ExitStack() as stack:
        *two, third = cluster.nodes
        load = Load(third.port, peer.dialect)
        load.connect(tokens(1))
        command = {"pattern": "paced", "messages": 10**6, "interval_ms": 10, "payloads": text(300), "room": HALL}
        load.send(load.clients[0], f"42{NAMESPACE},{json.dumps(['broadcast', command])}".encode())
        clients = stack.enter_context(_returning(*two))
        for _ in range(RETURNING):
            _connected(clients)
        for number in range(KILLS):
            load.receive(seconds=REST_SECONDS)
            victim = two[number % 2]
            killed = time.monotonic_ns()
            victim.process.kill()
            for _ in range(RETURNING):
                at, is_recovered = _connected(clients)
                milliseconds.append((at - killed) / 1e6)
                recovered += is_recovered
            two[number % 2] = stack.enter_context(serving(peer, cluster.redis_url, port=victim.port))
        load.close()
    milliseconds.sort()
    return {
        "p50 ms": milliseconds[len(milliseconds) // 2],
        "p99 ms": milliseconds[len(milliseconds) * 99 // 100],
        "most ms": milliseconds[-1],
        "recovered %": 100 * recovered / len(milliseconds),
    }


@contextmanager
def _returning(*nodes: Server) -> Iterator[subprocess.Popen[str]]:
    program = Path(__file__).parent / "returning.js"
    urls = [f"http://127.0.0.1:{node.port}" for node in nodes]
    token = mint(SECRET, "returning")
    with subprocess.Popen(
        ["node", program, token, str(RETURNING), *urls], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _connected(clients: subprocess.Popen[str]) -> tuple[int, bool]:
    """When a client was (CLOCK_MONOTONIC, ns), and whether it is recovered."""
    assert clients.stdout is not None
    line = clients.stdout.readline()
    if not line:
        raise RuntimeError("a client did not come back")
    at, is_recovered = line.split()
    return int(at), is_recovered == "true"


SPREAD = ("CPU µs", "Redis µs", "p50 ms", "p99 ms", "server busy %", "load busy %")
SPREAD_PEERS = (ATRIUM, ALONE, NODE)
SPREAD_TARGETS = (Target("CPU µs", ALONE, 1.3), Target("CPU µs", NODE, 0.5))

CLUSTER_WORKLOADS = (
    Workload(
        "cluster_paced",
        "Two nodes on one Redis, 500 clients each in one room, 300 B, one emit every 25 ms, so that one core is enough",
        SPREAD,
        SPREAD_PEERS,
        SPREAD_TARGETS,
        Spread(Broadcast("paced", 200, 25, text(300))),
    ),
    Workload(
        "cluster_burst",
        "Two nodes on one Redis, 500 clients each in one room, 300 B, 20 emits at once, then 50 ms of rest",
        SPREAD,
        SPREAD_PEERS,
        SPREAD_TARGETS,
        Spread(Broadcast("burst", 600, 50, text(300))),
    ),
    Workload(
        "bystander",
        f"A room with {MEMBERS} members on one node, 300 B, one emit every ms; the other has {OTHERS} clients in other"
        " rooms: what share of a core that one takes",
        ("bystander %", "idle %", "emitting %", "emits per s"),
        (ATRIUM, NODE),
        (Target("bystander %", None, 2.0),),
        _bystander,
    ),
    Workload(
        "replay",
        f"A client {MISSED} behind in a room with {LOGGED:,} logged events comes back to another node",
        ("CPU ms", "most CPU ms", "fresh CPU ms", "Redis ms", "logged"),
        (ATRIUM,),
        (Target("CPU ms", None, 20.0),),
        _replay,
    ),
    Workload(
        "kill",
        f"kill -9 of a node to `recovered`, of {RETURNING} stock JavaScript clients at a time that try the other node"
        f" after 50 ms; {KILLS} kills a round",
        ("p50 ms", "p99 ms", "most ms", "recovered %"),
        (ATRIUM,),
        (Target("recovered %", None, 100.0, more_is_better=True),),
        _kill,
    ),
)
