"""Whether chat goes by HTTP because its socket cannot be had, as in the bank's seed; the socket is tried on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clients.python.connection import Connection
from clients.python.errors import Refused

ATTEMPTS = 5  # that fail before chat goes by HTTP: the bank's
RETRY_SECONDS = 30.0


class Fallback:
    """`active` until the socket is back. One that the server refused for good is no reason: HTTP would be refused."""

    def __init__(self, connection: Connection, *, allowed: bool, retry_seconds: float = RETRY_SECONDS) -> None:
        self.active = False
        self._allowed = allowed
        self._connection = connection
        self._retry_seconds = retry_seconds
        self._listeners: list[Callable[[], None]] = []
        self._retrying: asyncio.Task[None] | None = None
        self._stop = connection.on_state(self._look)

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls it when `active` changed. Returns the way to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    async def close(self) -> None:
        self._stop()
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)

    def _look(self) -> None:
        connection = self._connection
        away = connection.state == "failed" or connection.failed_attempts >= ATTEMPTS
        refused = isinstance(connection.why, Refused) and not connection.why.passing
        if connection.state in ("connected", "closed"):
            self._become(False)
        elif self._allowed and away and not refused:
            self._become(True)

    def _become(self, active: bool) -> None:
        if active == self.active:
            return
        self.active = active
        if active:
            self._retrying = asyncio.create_task(self._retry(), name="fallback")
        elif self._retrying is not None:
            self._retrying.cancel()
        for listener in list(self._listeners):
            listener()

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(self._retry_seconds)
            if self._connection.state == "failed":
                self._connection.retry()
