"""Figures as Markdown: the machine, a table for each workload, and each target met or missed."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.bench.peers import ROOT
from tests.bench.workloads import Figures, Target, Workload

#: Above this the load may be what bounds a phase.
BUSY_PERCENT = 90

Rounds = Mapping[str, Sequence[Figures]]  # by peer


def heading(command: str, rounds: int) -> str:
    """What was measured, when, on what, and how to read it."""
    lines = [
        "# Benchmarks",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}.",
        f"{_machine()}.",
        f"{', '.join(f'{name} {version}' for name, version in _versions().items())}.",
        "",
        f"Each figure is the median of {rounds} rounds, with the lowest and the highest. In a round the peers take",
        "turns, each a fresh process alone on one core, the load on another; the nodes of a cluster and their Redis",
        "share that core, PostgreSQL the load's. CPU is the server's own, of all its threads, by `/proc`, for each",
        "message delivered (for each ack where there are acks). Latency is from the emit to the client's",
        "read (or to its ack's), and thus partly the load's own: where that is busy for over 90 % of the time, it is",
        "marked with ⚠.",
        "",
    ]
    return "\n".join(lines)


def table(workload: Workload, rounds: Rounds) -> str:
    lines = [
        f"## {workload.name}",
        "",
        f"{workload.title}.",
        "",
        f"| server | {' | '.join(workload.figures)} |",
        f"|---|{'---|' * len(workload.figures)}",
    ]
    for peer, each in rounds.items():
        cells = [_cell(figure, [figures[figure] for figures in each]) for figure in workload.figures]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_verdicts(workload, rounds), ""])


def _verdicts(workload: Workload, rounds: Rounds) -> Iterator[str]:
    """Atrium beside each peer in the figure that counts, and beside a target's peer in others that have one; then the
    targets it has by itself."""
    if "atrium" not in rounds:
        return
    targets = {(target.figure, target.against.name): target for target in workload.targets if target.against}
    compared = {(workload.figures[0], peer): None for peer in rounds if peer != "atrium"}
    for figure, peer in compared | dict.fromkeys(targets):
        if peer in rounds:
            ratio = _median(rounds["atrium"], figure) / _median(rounds[peer], figure)
            yield f"- {figure}, atrium / {peer}: {ratio:.2f}{_verdict(targets.get((figure, peer)), ratio)}"
    for target in workload.targets:
        if target.against is None:
            reached = _median(rounds["atrium"], target.figure)
            yield f"- {target.figure}, atrium: {reached:.2f}{_verdict(target, reached)}"


def _verdict(target: Target | None, reached: float) -> str:
    if target is None:
        return ""
    met = reached >= target.bound if target.more_is_better else reached <= target.bound
    return f" (target {'≥' if target.more_is_better else '≤'} {target.bound:.2f}: {'met' if met else '**missed**'})"


def _median(figures: Sequence[Figures], figure: str) -> float:
    return median(each[figure] for each in figures)


def _cell(figure: str, values: Sequence[float]) -> str:
    middle = median(values)
    if math.isnan(middle):
        return "–"
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    if figure.endswith("busy %"):
        return f"{middle:.0f}{' ⚠' if figure.startswith('load') and middle > BUSY_PERCENT else ''}"
    return f"{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _machine() -> str:
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    model = "unknown CPU" if cpu is None else cpu[1]
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.release()}"


def _versions() -> dict[str, str]:
    installed = {
        name: importlib.metadata.version(name)
        for name in (
            *("aiohttp", "uvloop", "python-socketio", "python-engineio", "marshmallow", "orjson"),
            *("SQLAlchemy", "aiosqlite", "asyncpg"),
        )
    }
    packages = json.loads((ROOT / "tests/bench/package-lock.json").read_text())["packages"]
    peers = dict(re.findall(r"^(fastapi|uvicorn|websockets)==(\S+)$", _requirements(), re.MULTILINE))
    return {
        "Python": platform.python_version(),
        **installed,
        "Node": _output("node", "--version").removeprefix("v"),
        **{
            name: packages[f"node_modules/{name}"]["version"]
            for name in ("socket.io", "@socket.io/redis-adapter", "socket.io-client")
        },
        "ws": packages["node_modules/ws"]["version"],
        **peers,
        "gcc": _output("gcc", "-dumpfullversion"),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": re.sub(r".*\) (\S+).*", r"\1", _output("psql", "--version")),
        "Redis": re.sub(r".* v=(\S+) .*", r"\1", _output("redis-server", "--version")),
    }


def _requirements() -> str:
    return (ROOT / "tests/bench/requirements.txt").read_text()


def _commit() -> str:
    return _output("git", "describe", "--always", "--dirty")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
