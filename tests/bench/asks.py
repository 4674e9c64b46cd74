"""A thousand questions in flight: how long until they are answered, on one node and on another, and what one takes."""

from __future__ import annotations

import json
import re
from statistics import median

from server.auth.tokens import mint
from tests.bench.load import Client, Load
from tests.bench.peers import ATRIUM_ASKS, SECRET, Cluster, Peer, Server, clustered, serving
from tests.bench.workloads import Figures, Target, Workload, encoded

USERS, TURNS = 1000, 10
SECONDS = 1.0  # in which the node knows the other, and what it did has settled
_QUESTION = re.compile(rb'42/bench,(\d+)\["question"')
_ASKED = b'42/bench,["asked",'


class Answering(Load):
    """Its clients answer what they are asked by acks: at once, or when `release`d. `asked` is what the asker told."""

    def __init__(self, port: int, peer: Peer) -> None:
        super().__init__(port, peer.dialect)
        self.holds = False
        self.asked: dict[str, float] = {}
        self._held: list[tuple[Client, bytes]] = []

    def release(self) -> None:
        self.holds = False
        for client, answer in self._held:
            self.send(client, answer)
        self._held.clear()

    def _message(self, client: Client, message: bytes, now: int) -> None:
        if question := _QUESTION.match(message):
            answer = b"43/bench," + question[1] + b'[{"text":"fine"}]'
            self.delivered += 1
            if self.holds:
                self._held.append((client, answer))
            else:
                self.send(client, answer)
        elif message.startswith(_ASKED):
            self.delivered += 1
            self.asked = json.loads(message[len(_ASKED) : -1])
        else:
            super()._message(client, message, now)


def _ask(load: Answering, asker: Client, first: int) -> dict[str, float]:
    load.send(asker, b"42/bench," + encoded(["ask_users", {"first": first, "users": USERS}]))
    if load.holds:
        load.receive(messages=USERS)
        return {}
    load.receive(messages=USERS + 1)
    return load.asked


def _kilobytes(server: Server, load: Answering, asker: Client) -> float:
    """What an open question adds to the node that asks and has the user."""
    before = server.rss_bytes()
    load.holds = True
    _ask(load, asker, 0)
    grown = server.rss_bytes() - before
    load.release()
    load.receive(messages=1)
    return grown / USERS / 1024


def _connect(load: Answering, first: int, port: int) -> None:
    load.connect([mint(SECRET, f"user-{first + number}") for number in range(USERS)], port=port)


def _asks(peer: Peer) -> Figures:
    """The nodes' users take turns, on the same cluster: what disturbs it disturbs both."""
    with serving(peer) as server:
        load = Answering(server.port, peer)
        _connect(load, 0, server.port)
        memory = _kilobytes(server, load, load.clients[0])
        alone = [_ask(load, load.clients[0], 0) for _ in range(TURNS)]
        load.close()
    with clustered(peer, 2) as cluster:
        here, across = _both(peer, cluster)
    return {
        "p99 ms alone": median(each["p99"] for each in alone),
        "p99 ms": median(each["p99"] for each in here),
        "p99 ms across": median(each["p99"] for each in across),
        "p50 ms": median(each["p50"] for each in here),
        "p50 ms across": median(each["p50"] for each in across),
        "across / local": median(each["p99"] for each in across) / median(each["p99"] for each in here),
        "KB": memory,
    }


def _both(peer: Peer, cluster: Cluster) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    load = Answering(cluster.nodes[0].port, peer)
    for number, node in enumerate(cluster.nodes):
        _connect(load, number * USERS, node.port)
    load.receive(seconds=SECONDS)
    asker = load.clients[0]
    _ask(load, asker, 0)  # warms up
    _ask(load, asker, USERS)
    turns = [(_ask(load, asker, 0), _ask(load, asker, USERS)) for _ in range(TURNS)]
    load.close()
    return [here for here, _ in turns], [across for _, across in turns]


ASKS_WORKLOADS = (
    Workload(
        "asks",
        "1,000 users asked at once, each answers at once: alone, on a node of two, and of the other node",
        ("p99 ms", "p99 ms alone", "p99 ms across", "across / local", "p50 ms", "p50 ms across", "KB"),
        (ATRIUM_ASKS,),
        (Target("across / local", None, 2.0),),
        _asks,
    ),
)
