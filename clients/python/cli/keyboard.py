"""The lines of standard input, as they are typed, without holding up the loop or the end of the program."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

READ_BYTES = 65_536
MOST_CHARS = 65_536  # of a line; the server takes no longer message
MOST_LINES = 100  # that wait to be wanted; then whoever writes them waits


class Keyboard:
    """A thread of its own that nobody waits for reads: one in the loop's pool would hold up Ctrl-C until the next line.
    It begins with the first line that is wanted."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._lines: asyncio.Queue[str | ValueError | None] = asyncio.Queue(MOST_LINES)
        self._started = False

    async def line(self) -> str | None:
        """The next one without its end; None at the end of the input. Raises ValueError for one that is too long: what
        follows it is not read."""
        if not self._started:
            self._started = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        line = await self._lines.get()
        if isinstance(line, ValueError):
            raise line
        return line

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        end: ValueError | None = None
        try:
            for line in _lines(self._descriptor):
                if not self._put(line, loop):
                    return
        except ValueError as error:
            end = error
        self._put(end, loop)

    def _put(self, line: str | ValueError | None, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether there is still somebody to read it."""
        putting = self._lines.put(line)
        try:
            asyncio.run_coroutine_threadsafe(putting, loop).result()
        except (RuntimeError, CancelledError):  # the loop is closed, or about to be
            putting.close()
            return False
        return True


def _lines(descriptor: int) -> Iterator[str]:
    """By `os.read`: a buffered reader has a lock, which a thread that waits for input would hold to the end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while chunk := _read_some(descriptor):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield _bounded(line).rstrip("\r")
        _bounded(rest)
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def _bounded(line: str) -> str:
    if len(line) > MOST_CHARS:
        raise ValueError(f"a line of more than {MOST_CHARS:,} characters")
    return line


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError:
        return b""
