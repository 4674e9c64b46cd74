"""Keeps what hangs on a connection up to date: again whenever it is woken, until it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from clients.python.errors import ClientError, Lost, Refused

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0  # after a step that failed


async def woken(event: asyncio.Event, seconds: float | None) -> None:
    """Until it is set, or that time is over; None: however long that takes."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Keeper:
    """`step` does what is to be done now, and returns after how many seconds it wants to be called though nobody wakes
    it; None: not. What it raises is tried again, but for what was refused for good: that is told to `end`.

    `is_stale`: more is to be fetched than what is known to be missing. It begins so, and is so after each failure."""

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[float | None]],
        end: Callable[[ClientError | None], None],
    ) -> None:
        """`end` hears of it once the work is over by itself; it calls `ended`."""
        self.name = name
        self.is_stale = True
        self._step = step
        self._end = end
        self._wake = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._opened.done() and not self._is_over

    async def open(self) -> None:
        """Until `opened`. Raises why it ended before."""
        self._task = asyncio.create_task(self._keep(), name=self.name)
        await asyncio.shield(self._opened)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self, *, stale: bool = False) -> None:
        self.is_stale = self.is_stale or stale
        self._wake.set()

    def opened(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def ended(self, error: ClientError | None) -> None:
        """No further step."""
        self._is_over = True
        self._wake.set()
        if not self._opened.done():
            self._opened.set_exception(error or Lost("CLOSED", f"the {self.name} was closed"))
            self._opened.exception()  # retrieved, where nobody waits

    async def _keep(self) -> None:
        try:
            await self._keep_up()
        except Exception as error:
            log.exception("%s ended by a fault", self.name)
            self._end(Lost("CLIENT_FAULT", repr(error)))

    async def _keep_up(self) -> None:
        while not self._is_over:
            self._wake.clear()
            try:
                seconds = await self._step()
            except Refused as error:
                if not error.passing:
                    self._end(error)
                    return
                self.is_stale, seconds = True, max(error.retry_after, AGAIN_SECONDS)
            except ClientError as error:
                log.debug("%s did not catch up: %s", self.name, error)
                self.is_stale, seconds = True, AGAIN_SECONDS
            if not self._is_over:
                await woken(self._wake, seconds)
