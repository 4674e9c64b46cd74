"""Several nodes of one cluster, each a real process on a port of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import aiohttp

from tests.support.ports import free_port
from tests.support.process import PATIENCE, ROOT, answers, clean_environment
from tests.support.running import SECRET

UNLIMITED = str(10**7)
#: People only, no feed, no limit; databases have some 100 connections to give to all nodes.
SETTINGS = {
    "JWT_SECRET_KEY": SECRET,
    "LOG_LEVEL": "WARNING",
    "CONFIG_DIR": str(ROOT / "config"),
    "DATABASE_POOL_SIZE": "8",
    "DATABASE_MAX_OVERFLOW": "8",
    "CHAT_DEFAULT_AGENT": "",
    "TRADING_FEED": "none",
    "RATE_LIMIT_EVENTS_PER_SECOND": UNLIMITED,
    "RATE_LIMIT_MESSAGES_PER_MINUTE": UNLIMITED,
    "RATE_LIMIT_CONNECTS_PER_SECOND": UNLIMITED,
}


class Nodes:
    """Node `i` logs to `home/node-i.log` and finds Redis at `redis_urls[i]`; the database is shared and migrated."""

    def __init__(self, home: Path, *, database_url: str, redis_urls: Sequence[str], **environ: str) -> None:
        self._home = home
        self._environ = clean_environment() | SETTINGS | {"DATABASE_URL": database_url, "DATA_DIR": str(home)} | environ
        self._redis_urls = redis_urls
        self._ports: list[int] = []
        while len(self._ports) < len(redis_urls):
            if (port := free_port()) not in self._ports:
                self._ports.append(port)
        self._processes: list[asyncio.subprocess.Process | None] = [None for _ in redis_urls]

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*map(self.start, range(len(self))))
            await self.ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in range(len(self)):
            await self.kill(node)

    def __len__(self) -> int:
        return len(self._redis_urls)

    def port(self, node: int) -> int:
        return self._ports[node]

    @property
    def urls(self) -> list[str]:
        return [self.url(node) for node in range(len(self))]

    def url(self, node: int) -> str:
        return f"http://127.0.0.1:{self.port(node)}"

    def log(self, node: int) -> Path:
        return self._home / f"node-{node}.log"

    def runs(self, node: int) -> bool:
        return self._processes[node] is not None

    async def start(self, node: int) -> None:
        """Returns when it answers, whether or not it is ready. Raises RuntimeError when it ends instead."""
        assert not self.runs(node), "it runs"
        environ = self._environ | {"PORT": str(self.port(node)), "REDIS_URL": self._redis_urls[node]}
        with self.log(node).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "server",
                "serve",
                cwd=self._home,
                env={name: value for name, value in environ.items() if value or name == "CHAT_DEFAULT_AGENT"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[node] = process
        up, ended = asyncio.create_task(answers(f"{self.url(node)}/health")), asyncio.create_task(process.wait())
        try:
            await asyncio.wait([up, ended], return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and self._processes[node] is process:
                raise RuntimeError(f"node {node} ended with {process.returncode}:\n{self.log(node).read_text()}")
            if up.done():
                up.result()
        finally:
            up.cancel()
            ended.cancel()

    async def kill(self, node: int) -> None:
        await self._end(node, signal.SIGKILL)

    async def terminate(self, node: int) -> int:
        """By SIGTERM; its exit code."""
        return await self._end(node, signal.SIGTERM)

    async def restart(self, node: int) -> None:
        await self.terminate(node)
        await self.start(node)

    async def ready(self) -> None:
        """Waits until all of them say that they are ready: database and Redis are there."""
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as http:
            for url in self.urls:
                while True:
                    async with http.get(f"{url}/readyz") as response:
                        if response.status == 200:
                            break
                    await asyncio.sleep(0.05)  # nothing announces that Redis was found again

    async def _end(self, node: int, number: signal.Signals) -> int:
        """Its whole process group, for it may have workers. 0 when it does not run."""
        process, self._processes[node] = self._processes[node], None
        if process is None:
            return 0
        if process.returncode is None:
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        return await process.wait()
