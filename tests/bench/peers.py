"""The servers that are compared: each is a process on a core of its own, and tells by /proc what it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import Dialect
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
SERVERS = Path(__file__).parent / "servers"
SERVER_CORE, LOAD_CORE = 0, 1
SECRET = "a benchmark secret that is long enough for HS256"

SOCKETIO = Dialect("/socket.io/?EIO=4&transport=websocket", "/bench")


@dataclass(frozen=True, slots=True)
class Peer:
    """`command` is completed by the port and the secret. `pace`: how much of a workload's messages it is given, so
    that a slow one takes no longer than the others."""

    name: str
    command: Callable[[Path], list[str | Path]]
    dialect: Dialect = SOCKETIO
    pace: float = 1.0


def _python(name: str, interpreter: str = sys.executable) -> Callable[[Path], list[str | Path]]:
    return lambda _: [interpreter, "-m", f"tests.bench.servers.{name}"]


def _floor(directory: Path) -> list[str | Path]:
    program = directory / "floor"
    subprocess.run(["gcc", "-O2", "-o", program, SERVERS / "floor.c"], check=True)
    return [program]


ATRIUM = Peer("atrium", _python("atrium"))
NODE = Peer("node", lambda _: ["node", SERVERS / "node.js"])
STOCK = Peer("stock", _python("stock"), pace=0.25)
FASTAPI = Peer("fastapi", _python("fastapi_app", str(ROOT / ".venv/bench/bin/python")), Dialect("/ws", None))
FLOOR = Peer("floor", _floor, Dialect(None, None))


class Server:
    """A peer that runs; figures of the whole process, its threads too."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self._proc = Path(f"/proc/{process.pid}")

    def cpu_seconds(self) -> float:
        """As utime + stime in `stat`, which counts hundredths of a second; `schedstat` has nanoseconds."""
        return sum(int(path.read_text().split()[0]) for path in self._proc.glob("task/*/schedstat")) / 1e9

    def rss_bytes(self) -> int:
        return self._bytes("smaps_rollup", "Rss")

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")

    def peak_rss_bytes(self) -> int:
        """Since the start, or since it was told to forget."""
        return self._bytes("status", "VmHWM")

    def _bytes(self, file: str, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB", (self._proc / file).read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def serving(peer: Peer, *options: str) -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *peer.command(Path(directory)), str(port), SECRET, *options],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "READY\n":
                raise RuntimeError(f"{peer.name} did not start")
            yield Server(process, port)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
