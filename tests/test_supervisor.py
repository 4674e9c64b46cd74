from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.supervisor import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, SETTLED_SECONDS, Backoff, Supervisor, reserve
from tests.support.client import Client
from tests.support.process import PATIENCE, ROOT, Process, answers, atrium
from tests.support.redis import RedisServer
from tests.support.running import SECRET, token

HOST = "127.0.0.1"


def test_who_dies_again_and_again_waits_longer_up_to_a_bound() -> None:
    backoff = Backoff()
    delays = [backoff.next(1) for _ in range(10)]
    assert delays[:3] == [FIRST_DELAY_SECONDS * factor for factor in (1, 2, 4)]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_SECONDS
    assert backoff.next(SETTLED_SECONDS) == FIRST_DELAY_SECONDS


def test_a_reserved_port_is_for_workers_only() -> None:
    with reserve(HOST, 0) as held:
        address = held.getsockname()
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.bind(address)
            worker.listen()
            with socket.create_connection(address, timeout=PATIENCE):  # not to the one that only holds the port
                worker.settimeout(PATIENCE)
                worker.accept()[0].close()
            with pytest.raises(OSError, match="in use") as taken:
                reserve(HOST, address[1])
            assert taken.value.errno == errno.EADDRINUSE


def supervisor(program: str, workers: int = 1, stop_seconds: float = PATIENCE) -> Supervisor:
    """`s` is the program's side of the lifeline."""
    program = f"import os, signal, socket, sys, time; s = socket.socket(fileno=0)\n{program}"
    return Supervisor((sys.executable, "-c", program), workers, environ=os.environ, stop_seconds=stop_seconds)


async def test_a_worker_that_cannot_start_ends_all_with_its_code(tmp_path: Path) -> None:
    program = f"""
try:
    os.open({str(tmp_path / "first")!r}, os.O_CREAT | os.O_EXCL)
except FileExistsError:
    time.sleep(600)
sys.exit(2)"""
    async with asyncio.timeout(PATIENCE):
        assert await supervisor(program, 3).run() == 2


async def test_a_worker_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its code once one has served."""
    monkeypatch.setattr("server.supervisor.FIRST_DELAY_SECONDS", 0.01)
    for death in ("sys.exit(1)", "sys.exit(0)", "os.kill(os.getpid(), 9)"):
        lives = tmp_path / death
        kept = supervisor(f"open({str(lives)!r}, 'a').write('x')\ns.send(b'+')\n{death}")
        running = asyncio.create_task(kept.run())
        async with asyncio.timeout(PATIENCE):
            while not lives.exists() or len(lives.read_text()) < 3:  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
        kept.stop()
        assert await running == 0


async def test_who_does_not_end_when_told_is_killed(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    kept = supervisor(
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({str(deaf)!r}, 'w')\ntime.sleep(600)", stop_seconds=0.01
    )
    running = asyncio.create_task(kept.run())
    async with asyncio.timeout(PATIENCE):
        while not deaf.exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
        kept.stop()
        assert await running == 0


async def run(*arguments: str, cwd: Path, **environ: str) -> tuple[int, str]:
    async with atrium("serve", *arguments, cwd=cwd, **environ) as process:
        return await process.finish(), process.output


def settings(tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "HOST": HOST,
        "DEBUG": "true",
        "DATA_DIR": str(tmp_path),
        "CONFIG_DIR": str(ROOT / "config"),
        "JWT_SECRET_KEY": SECRET,
        "TRADING_FEED": "none",
    } | more


async def test_workers_need_redis(tmp_path: Path) -> None:
    code, output = await run("--workers", "2", cwd=tmp_path, **settings(tmp_path))
    assert code == 2
    assert "--workers 2 needs REDIS_URL" in output
    assert "Traceback" not in output


async def test_workers_that_cannot_start_end_all(tmp_path: Path) -> None:
    wrong = settings(tmp_path, REDIS_URL="redis://127.0.0.1:9", CONFIG_DIR=str(tmp_path / "none"), PORT="0")
    code, output = await run("--workers", "2", cwd=tmp_path, **wrong)
    assert code == 2
    assert "agents.toml" in output
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = await run(
            "--workers", "2", cwd=tmp_path, **settings(tmp_path, REDIS_URL="redis://127.0.0.1:9", PORT=str(port))
        )
    assert code == 1
    assert f"cannot serve on {HOST}:{port}" in output
    assert "Traceback" not in output


class Serving:
    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    @property
    def pids(self) -> list[int]:
        """Of the workers, in the order in which they came to serve."""
        return [int(pid) for pid in re.findall(r"serving .*pid=(\d+)", self.process.output)]

    async def serve(self, count: int) -> None:
        """Waits until so many have come to serve since the start."""
        async with asyncio.timeout(PATIENCE):
            while len(self.pids) < count:
                seen = len(self.process.output)
                assert self.process.process.stdout is not None
                line = await self.process.process.stdout.readline()
                if not line:
                    raise EOFError(self.process.output[:seen])
                self.process.output += line.decode()


@asynccontextmanager
async def workers(tmp_path: Path, count: int) -> AsyncIterator[Serving]:
    """On one port, which was free."""
    async with RedisServer() as redis:
        environ = settings(tmp_path, REDIS_URL=redis.url, PORT="0")
        async with atrium("serve", "--workers", str(count), cwd=tmp_path, **environ) as process:
            port = re.search(r"supervising .*port=(\d+)", await process.read_until("supervising"))
            assert port
            serving = Serving(process, f"http://{HOST}:{port[1]}")
            await serving.serve(count)
            await answers(f"{serving.url}/healthz")
            yield serving


async def connect(url: str, count: int) -> list[Client]:
    clients = [Client("/chat") for _ in range(count)]
    for number, client in enumerate(clients):
        await client.connect(url, token(f"user{number}"))
    return clients


async def gone(pid: int) -> None:
    """It is no child of ours, so nothing announces its end."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                await asyncio.sleep(0.02)


async def test_workers_share_the_load_and_come_back(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as serving:
        clients = await connect(serving.url, 20)
        os.kill(serving.pids[0], signal.SIGKILL)
        await serving.serve(3)
        assert len(set(serving.pids)) == 3
        lost = []
        for client in clients:
            try:
                await client.settle()
            except Exception:
                lost.append(client)
        assert 0 < len(lost) < 20
        serving.process.signal(signal.SIGTERM)
        for client in clients:
            if client not in lost:
                assert (await client.expect("disconnecting_reason"))["code"] == "GOING_AWAY"
        assert await serving.process.finish() == 0
        assert "Traceback" not in serving.process.output
        for client in clients:
            await client.close()


async def test_ctrl_c_ends_all(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as serving:
        os.killpg(serving.process.process.pid, signal.SIGINT)  # as a terminal does
        assert await serving.process.finish() == 0
        for pid in serving.pids:
            await gone(pid)
        assert serving.process.output.count("stopping") == 2
        assert "Traceback" not in serving.process.output


async def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as serving:
        serving.process.signal(signal.SIGKILL)
        for pid in serving.pids:
            await gone(pid)
