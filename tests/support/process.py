"""The server, or any other program, as a process of its own: started, read line by line, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds; a bound on hanging, never an assertion


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    async def read_until(self, text: str) -> str:
        """What it printed so far, once `text` is in it. Raises EOFError when it ends before."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while text not in self.output:
                line = await self.process.stdout.readline()
                if not line:
                    raise EOFError(self.output)
                self.output += line.decode()
        return self.output

    async def finish(self) -> int:
        """Reads to the end; the exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


def heed_interrupts() -> None:
    """As on a terminal: a shell without one makes what it runs in the background ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def running(*command: str | Path, cwd: Path = ROOT, **environ: str) -> AsyncIterator[Process]:
    """Standard error is read with standard output. Killed at the end when it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**clean_environment(), **environ},
        stdin=asyncio.subprocess.PIPE,  # open and silent, as a terminal is
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined] # closes the pipe of a killed process


def clean_environment() -> dict[str, str]:
    """Without the settings that whoever runs the tests may have."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name in keep} | {"PYTHONPATH": str(ROOT)}


def atrium(*arguments: str, cwd: Path = ROOT, **environ: str) -> AbstractAsyncContextManager[Process]:
    return running(sys.executable, "-m", "server", *arguments, cwd=cwd, **environ)


async def answers(url: str) -> None:
    """Waits until a server answers there."""
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)  # nothing announces that a port was opened
