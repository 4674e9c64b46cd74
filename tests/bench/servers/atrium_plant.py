"""Atrium's monitor of machines behind many Modbus servers; each read of one is timed:
`python -m ... DIRECTORY PORT SECRET MACHINES MODBUS_PORT...`, of so many machines each.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.namespaces.monitor import catalogue
from server.namespaces.monitor.catalogue import Group, Source
from server.namespaces.monitor.namespace import MonitorNamespace
from server.namespaces.monitor.polling import READS_PER_PERIOD
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import KINDS, SourceError, modbus
from server.realtime.connection import Connection
from server.realtime.namespace import event
from tests.bench.servers.atrium import run, serve

PERIOD = 1.0
REGISTERS = 3  # of a machine, in config/dev/plc.py


@dataclass
class Timed:
    """`reads`: when each began and ended, by the world's clock, by which sources are read at the same moments."""

    source: Source
    reads: list[tuple[float, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def codes(self) -> Sequence[str]:
        return self.source.codes

    async def read(self) -> Mapping[str, Reading | SourceError]:
        began = time.time()
        try:
            return await self.source.read()
        finally:
            self.reads.append((began, time.time()))

    async def close(self) -> None:
        await self.source.close()


class Plant(MonitorNamespace):
    timed: Sequence[Timed]

    @event("cycles")
    async def cycles(self, connection: Connection) -> Mapping[str, object]:
        """Seconds from the start of the first read of a moment to the end of the last, of all since it was asked."""
        moments: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for each in self.timed:
            for began, end in each.reads:
                moments[round(began * READS_PER_PERIOD / PERIOD - 0.4)].append((began, end))
            each.reads.clear()
        return {"cycles": [max(end for _, end in each) - min(began for began, _ in each) for each in moments.values()]}


def timed_sources() -> Sequence[Timed]:
    """All that are built from here on."""
    timed: list[Timed] = []
    kind = modbus.KIND

    def build(group: Group) -> Source:
        timed.append(Timed(kind.build(group)))
        return timed[-1]

    modbus.KIND = replace(kind, build=build)
    return timed


def equipment(machines: int, ports: Sequence[str]) -> Iterator[str]:
    """The lines of an equipment.toml."""
    for port in ports:
        yield f'[groups.plc-{port}]\nsource = "modbus"\nhost = "127.0.0.1"\nport = {port}\n[groups.plc-{port}.tags]'
        yield from (f"{tag} = {{ register = {place} }}" for place, tag in enumerate(("status", "error", "ready")))
    for port in ports:
        for number in range(machines):
            yield f'[[machines]]\ncode = "{port:0>9}M{number:04}"\nname = "로봇 용접 {number}"\ngroup = "plc-{port}"'
            yield f"address = {REGISTERS * number}"


def plant(directory: str, machines: int, ports: Sequence[str]) -> Plant:
    path = Path(directory, "equipment.toml")
    path.write_text("\n".join(equipment(machines, ports)))
    timed = timed_sources()
    namespace = Plant(catalogue.load(path, KINDS), period=PERIOD, require_auth=True)
    namespace.timed = timed
    return namespace


if __name__ == "__main__":
    run(serve(int(sys.argv[2]), sys.argv[3], namespace=plant(sys.argv[1], int(sys.argv[4]), sys.argv[5:])))
