"""One connection to Redis, made again whenever it breaks: what goes out waits for no answer."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from server.realtime.cluster.address import Connect, RedisAway

log = structlog.get_logger(__name__)

FIRST_BACKOFF, LAST_BACKOFF = 0.05, 2.0
WATCH_SECONDS = 0.25

Arg = str | int | float | bytes


class Wire(ABC):
    def __init__(
        self,
        connect: Connect,
        *,
        opened: Callable[[], Awaitable[None]],
        closed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`opened` is awaited on each new connection, which is `ready` when it returns; `closed`: it broke, or could
        not be made. The clock is monotonic and in seconds."""
        self._connect = connect
        self._opened = opened
        self._closed = closed
        self._clock = clock
        self._connection: AbstractConnection | None = None
        self._unsent: list[bytes] = []
        self._wake = asyncio.Event()
        self._is_ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self._is_ready.is_set()

    async def is_ready(self) -> None:
        """Returns when it is."""
        await self._is_ready.wait()

    # -- what a subclass says -----------------------------------------------------------------------------------

    @abstractmethod
    async def _begin(self) -> None:
        """First of all on a new connection."""

    @abstractmethod
    async def _read(self, connection: AbstractConnection) -> None:
        """Until it breaks."""

    @abstractmethod
    def _dead(self) -> bool:
        """It is open and nothing comes."""

    @abstractmethod
    def _broke(self) -> None:
        """Nothing that was awaited will come."""

    # -- the connection -----------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """For ever."""
        backoff = FIRST_BACKOFF
        while True:
            try:
                await self._converse(await self._connect())
            except (RedisAway, RedisError, OSError) as error:
                log.log(
                    logging.WARNING if self.ready or backoff == FIRST_BACKOFF else logging.DEBUG,
                    "redis is away",
                    connection=type(self).__name__.lower(),
                    reason=str(error) or type(error).__name__,
                )
            except Exception:
                log.exception("a connection to redis failed")
            if self.ready:
                self._is_ready.clear()
                backoff = FIRST_BACKOFF
            self._closed()
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311 - so that nodes do not all come at once
            backoff = min(2 * backoff, LAST_BACKOFF)

    def _send(self, *command: Arg) -> None:
        if self._connection is not None:
            self._unsent.extend(self._connection.pack_command(*command))
            self._wake.set()

    async def _converse(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._unsent.clear()
        parts = (self._write(connection), self._read(connection), self._watch())
        lasting = [asyncio.create_task(part) for part in parts]
        opening = asyncio.create_task(self._open())
        try:
            done, _ = await asyncio.wait([*lasting, opening], return_when=asyncio.FIRST_COMPLETED)
            if done == {opening}:
                opening.result()
                done, _ = await asyncio.wait(lasting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._connection = None
            await _end(*lasting, opening)
            self._broke()
            await connection.disconnect(nowait=True)

    async def _open(self) -> None:
        await self._begin()
        await self._opened()
        self._is_ready.set()
        log.info("redis answers", connection=type(self).__name__.lower())

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            unsent, self._unsent = self._unsent, []
            try:
                await connection.send_packed_command(unsent, check_health=False)
            except RuntimeError as error:  # uvloop's, for a transport that was closed meanwhile
                raise RedisAway(str(error)) from None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._dead():
                raise RedisAway("it does not answer")


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def promise() -> asyncio.Future[Any]:
    """Nobody has to await it."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(_look)
    return future


def _look(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def fail(future: asyncio.Future[Any], reason: str) -> None:
    if not future.done():
        future.set_exception(RedisAway(reason))
