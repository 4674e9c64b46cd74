"""The command line as a process, on a pipe or on a terminal of its own."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.support.process import PATIENCE, ROOT, Process, clean_environment, heed_interrupts, running


def cli(url: str, *arguments: str, token: str = "") -> AbstractAsyncContextManager[Process]:
    return running(
        sys.executable, "-m", "clients.python", *arguments, ATRIUM_URL=url, ATRIUM_TOKEN=token, PYTHONUNBUFFERED="1"
    )


class Terminal:
    """What a command shows on one, colours and movements included."""

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self.process = process
        self.shown = ""
        self._descriptor = descriptor
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    async def until(self, text: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while text not in self.shown:
                self._news.clear()
                await self._news.wait()
        return self.shown

    async def finish(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    def _read(self) -> None:
        try:
            self.shown += os.read(self._descriptor, 65_536).decode(errors="replace")
        except OSError:  # the other side is closed
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._news.set()


@asynccontextmanager
async def on_terminal(url: str, *arguments: str) -> AsyncIterator[Terminal]:
    mine, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clients.python",
        *arguments,
        cwd=ROOT,
        env={**clean_environment(), "ATRIUM_URL": url, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    os.close(its)
    terminal = Terminal(process, mine)
    try:
        yield terminal
    finally:
        asyncio.get_running_loop().remove_reader(mine)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(mine)
