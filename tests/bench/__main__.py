"""Measures Atrium against its peers; all workloads together rewrite results.md."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import click

from tests.bench import report, search
from tests.bench.asks import ASKS_WORKLOADS
from tests.bench.chat import CHAT_WORKLOADS
from tests.bench.cluster import CLUSTER_WORKLOADS
from tests.bench.mixed import MIXED_WORKLOADS
from tests.bench.peers import LOAD_CORE
from tests.bench.plant import PLANT_WORKLOADS
from tests.bench.ticks import TICKS_WORKLOADS
from tests.bench.workloads import WORKLOADS as ONE_NODE_WORKLOADS
from tests.bench.workloads import Figures, Workload

RESULTS = Path(__file__).parent / "results.md"
WORKLOADS = (
    *ONE_NODE_WORKLOADS,
    *MIXED_WORKLOADS,
    *ASKS_WORKLOADS,
    *CLUSTER_WORKLOADS,
    *CHAT_WORKLOADS,
    *TICKS_WORKLOADS,
    *PLANT_WORKLOADS,
)
SEARCH = "search"  # in Atrium alone, and without a server


def run(workload: Workload, rounds: int, only: tuple[str, ...]) -> str:
    peers = [peer for peer in workload.peers if not only or peer.name in only]
    figures: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            figures[peer.name].append(workload.run(peer))
    return report.table(workload, figures)


@click.command(help=__doc__)
@click.argument("workloads", nargs=-1, type=click.Choice([*(each.name for each in WORKLOADS), SEARCH]))
@click.option("--rounds", default=3, show_default=True)
@click.option("--peer", "peers", multiple=True, help="Only this one; may be given more than once.")
def main(workloads: tuple[str, ...], rounds: int, peers: tuple[str, ...]) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    text = report.heading(f'make bench W="{" ".join(workloads)}"' if workloads else "make bench", rounds)
    report.show(text)
    for workload in WORKLOADS:
        if not workloads or workload.name in workloads:
            table = run(workload, rounds, peers)
            report.show(table)
            text += "\n" + table
    if SEARCH in workloads or not (workloads or peers):
        table = search.table(search.measure_both())
        report.show(table)
        text += "\n" + table
    if not workloads and not peers:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
