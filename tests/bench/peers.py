"""The servers that are compared: each is a process on a core of its own, and tells by /proc what it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.load import Dialect
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
SERVERS = Path(__file__).parent / "servers"
SERVER_CORE, LOAD_CORE = 0, 1
SECRET = "a benchmark secret that is long enough for HS256"

SOCKETIO = Dialect("/socket.io/?EIO=4&transport=websocket", "/bench")
PLAIN = Dialect("/ws/bench?token={token}", None, welcome=b'{"type":"connected"')
CHAT = replace(SOCKETIO, namespace="/chat")


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
ATRIUM_ASKS = Peer("atrium", _python("atrium_asks"))
ATRIUM_CHAT = Peer("atrium", lambda directory: [*_python("atrium_chat")(directory), directory], CHAT)
ATRIUM_TICKS = Peer("atrium", _python("atrium_ticks"), replace(SOCKETIO, namespace="/trading"))
ATRIUM_MONITOR = replace(ATRIUM_CHAT, dialect=replace(SOCKETIO, namespace="/monitor", deflate=True))
ATRIUM_PLANT = Peer(
    "atrium", lambda directory: [*_python("atrium_plant")(directory), directory], ATRIUM_MONITOR.dialect
)
STOCK_CHAT = Peer("stock", _python("stock_chat"), CHAT)


def cpu_seconds(process: int) -> float:
    """As utime + stime in `stat`, which counts hundredths of a second; `schedstat` has nanoseconds."""
    tasks = Path(f"/proc/{process}").glob("task/*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9


class Server:
    """A peer that runs; figures of the whole process, its threads too."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self._proc = Path(f"/proc/{process.pid}")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

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


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes of a peer, and the Redis they share, which costs apart."""

    nodes: list[Server]
    redis: Server

    def cpu_seconds(self) -> float:
        return sum(node.cpu_seconds() for node in self.nodes)

    @property
    def redis_url(self) -> str:
        return redis_url(self.redis)


def redis_url(redis: Server) -> str:
    return f"redis://127.0.0.1:{redis.port}/0"


@contextmanager
def clustered(peer: Peer, nodes: int) -> Iterator[Cluster]:
    """All on the servers' core."""
    with ExitStack() as stack:
        redis = stack.enter_context(_redis())
        yield Cluster([stack.enter_context(serving(peer, redis_url(redis))) for _ in range(nodes)], redis)


@contextmanager
def _redis() -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command: list[str | Path] = ["redis-server", "--port", str(port), "--save", "", "--dir", directory]
        with _running(command, "Ready to accept connections") as process:
            yield Server(process, port)


@contextmanager
def serving(peer: Peer, *options: str, port: int | None = None) -> Iterator[Server]:
    port = port or free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [*peer.command(Path(directory)), str(port), SECRET, *options]
        with _running(command, "READY") as process:
            yield Server(process, port)


@contextmanager
def modbus_servers(servers: int, machines: int) -> Iterator[list[int]]:
    """Their ports, on the load's core. Not all need be up yet."""
    ports: set[int] = set()
    while len(ports) < servers:
        ports.add(free_port())
    command: list[str | Path] = [*_python("plcs")(ROOT), str(machines), *map(str, ports)]
    with _running(command, "machines on", LOAD_CORE):
        yield sorted(ports)


@contextmanager
def _running(command: list[str | Path], ready: str, core: int = SERVER_CORE) -> Iterator[subprocess.Popen[str]]:
    """From the line on that says so."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if not any(ready in line for line in process.stdout):
            raise RuntimeError(f"{command[0]} did not start")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
