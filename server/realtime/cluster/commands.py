"""The connection for commands: sent in the order they were given, answered in that order."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from server.realtime.cluster.address import Connect, RedisAway
from server.realtime.cluster.scripts import ALL_SCRIPTS, Script
from server.realtime.cluster.wire import Arg, Wire, fail, promise

STALLED_SECONDS = 1.0  # without an answer: nobody waits for one any more
DEAD_SECONDS = 3.0  # without an answer: the connection is given up; a black hole would keep it for ever
MAX_WAITING = 20_000


class Commands(Wire):
    def __init__(self, connect: Connect, *, opened: Callable[[], Awaitable[None]], closed: Callable[[], None]) -> None:
        """`opened` may call; whoever asks `up` does not, until it returns."""
        super().__init__(connect, opened=opened, closed=closed)
        self._opener: asyncio.Task[None] | None = None  # nothing else is sent before a connection is ready
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()

    @property
    def up(self) -> bool:
        """Whether answers come."""
        return self.ready and self._silence() <= STALLED_SECONDS

    def call(self, *args: Arg) -> asyncio.Future[Any]:
        """The answer. Raises RedisAway, or what Redis has against it: a ResponseError."""
        future = promise()
        if self._connection is None or not (self.ready or asyncio.current_task() is self._opener):
            fail(future, "not connected")
        elif len(self._waiting) >= MAX_WAITING:
            fail(future, "too many commands wait")
        else:
            self._waiting.append((future, self._clock()))
            self._send(*args)
        return future

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Any]:
        return self.call("EVALSHA", script.sha, len(keys), *keys, *args)

    async def _begin(self) -> None:
        self._opener = asyncio.current_task()
        await asyncio.gather(*[self.call("SCRIPT", "LOAD", script.text) for script in ALL_SCRIPTS])

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                answer = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except (NoScriptError, ReadOnlyError) as error:  # SCRIPT FLUSH, or another server at the address
                raise RedisAway(str(error)) from None
            except ResponseError as error:
                answer = error
            future, _ = self._waiting.popleft()
            if future.done():  # whoever asked has given up
                continue
            if isinstance(answer, ResponseError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _dead(self) -> bool:
        return self._silence() > DEAD_SECONDS

    def _broke(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            fail(future, "the connection broke")

    def _silence(self) -> float:
        """For how long the oldest command has had no answer."""
        return self._clock() - self._waiting[0][1] if self._waiting else 0.0
