"""One connection's inbound events, handled one at a time in arrival order (SPEC §3); it knows no event."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

Work = Callable[[], Awaitable[None]]

MAX_WAITING = 64


class Inbox:
    """A task exists only while there is work. A full inbox makes `put` wait, and with it the reader of the socket:
    a client that floods is held by TCP, not by memory.
    """

    def __init__(self, start: Callable[[Coroutine[Any, Any, None]], object], max_waiting: int = MAX_WAITING) -> None:
        """`start` runs the drain as a task; the work itself must not raise."""
        self._start = start
        self._max_waiting = max_waiting
        self._waiting: deque[Work] = deque()
        self._draining = False
        self._closed = False
        self._space = asyncio.Event()

    async def put(self, work: Work) -> None:
        """Waits while the inbox is full; what comes after its close is dropped."""
        while len(self._waiting) >= self._max_waiting and not self._closed:
            self._space.clear()
            await self._space.wait()
        if not self._closed:
            self._append(work)

    @property
    def busy(self) -> bool:
        return self._draining

    def close(self, last: Work) -> None:
        """`last` is done after what came before it, and nothing after it."""
        self._closed = True
        self._space.set()
        self._append(last)

    def _append(self, work: Work) -> None:
        self._waiting.append(work)
        if not self._draining:
            self._draining = True
            self._start(self._drain())

    async def _drain(self) -> None:
        try:
            while self._waiting:
                work = self._waiting.popleft()
                self._space.set()
                await work()
        finally:
            self._draining = False
