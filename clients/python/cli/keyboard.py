"""The lines of standard input, as they are typed, without holding up the loop or the end of the program."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

READ_BYTES = 65_536


class Keyboard:
    """A thread of its own that nobody waits for reads: one in the loop's pool would hold up Ctrl-C until the next line.
    It begins with the first line that is wanted."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._started = False

    async def line(self) -> str | None:
        """The next one without its end; None at the end of the input."""
        if not self._started:
            self._started = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        return await self._lines.get()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed
            for line in _lines(self._descriptor):
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
            loop.call_soon_threadsafe(self._lines.put_nowait, None)


def _lines(descriptor: int) -> Iterator[str]:
    """By `os.read`: a buffered reader has a lock, which a thread that waits for input would hold to the end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while chunk := _read_some(descriptor):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from (line.rstrip("\r") for line in lines)
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError:
        return b""
