"""An hour of /monitor in seconds: two whole nodes, real sockets, a clock that is told, machines in every mood."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from typing import Any

import orjson
from aiohttp import web
from structlog.testing import capture_logs

from server.namespaces.monitor.catalogue import Catalogue, Group, Kind, Machine
from server.namespaces.monitor.namespace import MonitorNamespace
from server.namespaces.monitor.rules import Rules
from server.namespaces.monitor.shifts import Shifts
from server.realtime.leases import Lease
from server.realtime.schema import Payload
from server.realtime.server import RealtimeServer
from tests.namespaces.monitor import contract
from tests.namespaces.monitor.plant import EPOCH, Cluster, Moody, VirtualLoop, machine
from tests.support.raw import RawSocket, raw_socket

SECONDS = 3600
TAKEOVERS = 12
OFF_GRID = 0.05
OLDEST = 2.0  # seconds: what a machine that is connected was at most when it was read


def plant(machines: list[Machine]) -> Catalogue:
    """Five sources."""
    groups = [Group(f"g{start}", "moody", {"seed": start}, Rules({}), tuple(machines[start::5])) for start in range(5)]
    return Catalogue(tuple(machines), tuple(groups), Shifts())


@asynccontextmanager
async def node(loop: VirtualLoop, lease: Lease) -> AsyncIterator[str]:
    clock = loop.clock
    kind = Kind(Payload, Payload, None, lambda group: Moody(clock, group.machines, group.options["seed"]))
    machines = [machine(number) for number in range(1, contract.MACHINES + 1)]
    server = RealtimeServer(clock=loop.time, ping_interval=20, ping_timeout=10)
    server.add(
        MonitorNamespace(
            plant(machines), period=1.0, require_auth=False, lease=lease, kinds={"moody": kind}, clock=clock
        )
    )
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Watcher:
    """Holds every message that a client gets against the contract."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.moments: list[float] = []  # of statuses, by the server's clock since the start
        self.connected: set[bool] = set()
        self.events: list[str] = []
        self._newest: dict[str, str] = {}

    async def watch(self, raw: RawSocket, count: int) -> None:
        await raw.send("40/monitor,")
        await raw.expect("40/monitor,")
        while len(self.moments) < count:
            frame = await raw.expect("")
            if frame == "2":
                await raw.send("3")
                continue
            event, payload = orjson.loads(frame.removeprefix("42/monitor,"))
            self.events.append(event)
            self.faults += contract.faults(event, payload)
            if event == "equipment_status":
                self.moments.append(since_start(payload["timestamp"]))
                for each in payload["equipment"]:
                    self._look(each)
                if len(self.moments) % 600 == 0:
                    await raw.send('42/monitor,["ping",{}]')

    def _look(self, machine: dict[str, Any]) -> None:
        connected = machine["tags"]["connection"]
        self.connected.add(connected)
        if connected and self.moments[-1] - since_start(machine["server_time"]) > OLDEST:
            self.faults.append(f"{self.moments[-1]}: shows a value of {machine['server_time']} as new")
        if machine["last_updated"] < self._newest.get(machine["equipment_code"], ""):
            self.faults.append(f"{self.moments[-1]}: {machine['equipment_code']} goes back in time")
        self._newest[machine["equipment_code"]] = machine["last_updated"]


def since_start(text: str) -> float:
    return (datetime.fromisoformat(text) - EPOCH).total_seconds()


async def change_hands(cluster: Cluster) -> None:
    """Every five minutes the node that reads dies, and after three seconds the other one takes over."""
    for turn in range(TAKEOVERS):
        cluster.give(turn % 2)
        await asyncio.sleep(SECONDS / TAKEOVERS - 3)
        cluster.give(None)
        await asyncio.sleep(3)


async def soak(loop: VirtualLoop) -> list[Watcher]:
    cluster, watchers = Cluster(), [Watcher(), Watcher()]
    one, other = cluster.candidates
    async with (
        node(loop, one) as here,
        node(loop, other) as there,
        raw_socket(here) as first,
        raw_socket(there) as second,
    ):
        hands = asyncio.create_task(change_hands(cluster))
        async with asyncio.TaskGroup() as group:
            for watcher, raw in zip(watchers, (first, second), strict=True):
                group.create_task(watcher.watch(raw, SECONDS))
        hands.cancel()
    return watchers


def test_an_hour() -> None:
    """Timers are up to 20 ms late, which may not add up."""
    late = random.Random(6)  # noqa: S311 - no secret
    with capture_logs(), asyncio.Runner(loop_factory=lambda: VirtualLoop(lambda: late.uniform(0, 0.02))) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        watchers = runner.run(soak(loop))
    for watcher in watchers:
        assert watcher.faults == []
        assert watcher.connected == {True, False}
        assert {"connection_status", "equipment_status", "pong"} == set(watcher.events)
        first, second, *_ = watcher.moments
        grid = watcher.moments if second - first > 0.9 else watcher.moments[1:]  # the newest may come at connecting
        numbers = [round(moment - grid[1]) for moment in grid]
        assert all(after - before == 1 for before, after in pairwise(numbers)), "one is doubled or missing"
        offsets = [moment - round(moment) for moment in grid[1:]]
        assert max(offsets) - min(offsets) <= OFF_GRID
        assert all(abs(offset - 0.06) <= OFF_GRID for offset in offsets)
