"""A session's messages in their one order: stored under `seq`, and told in the order they were stored.

Messages that arrive while others are being stored are stored after them, all in one transaction.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from server.errors import AtriumError, GoingAway
from server.namespaces.chat import messages
from server.namespaces.chat.locks import Locks
from server.namespaces.chat.messages import Arrival, SessionState, Stored
from server.namespaces.chat.models import ChatMessage, Draft
from server.storage.database import Database
from server.timestamps import utc_now

MAX_TOGETHER = 500  # messages in one transaction

Tell = Callable[[ChatMessage], Awaitable[None]]
Admit = Callable[[SessionState], None]


def new_message_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def now() -> datetime:
    """To the millisecond, as it goes over the wire: what a client was told compares equal to what is stored."""
    moment = utc_now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _anybody(_: SessionState) -> None:
    pass


async def _nobody(_: Stored) -> None:
    pass


@dataclass(slots=True, eq=False)
class _Waiting:
    arrival: Arrival
    tell: Callable[[Stored], Awaitable[None]]
    stored: asyncio.Future[Stored] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Transcript:
    def __init__(self, database: Database, spawn: Callable[[Coroutine[Any, Any, None], str], object]) -> None:
        """`spawn`: beside the handlers; what it is given ends with the server at the latest. `told` hears of every new
        message, whoever stored it, once it was told."""
        self._database = database
        self.told: Callable[[Stored], Awaitable[None]] = _nobody
        self._spawn = spawn
        self._locks = Locks()
        self._waiting: deque[_Waiting] = deque()
        self._writing = False

    def __len__(self) -> int:
        """What is not stored yet."""
        return len(self._waiting)

    @asynccontextmanager
    async def still(self, session_id: str) -> AsyncIterator[None]:
        """While the block runs, no message is stored in the session by this node, nor told."""
        async with self._locks.hold(session_id):
            yield

    async def append(self, draft: Draft, tell: Tell) -> tuple[ChatMessage, bool]:
        """Stores a message: it, and whether it is new (`messages.Stored`). One that is new is told right after the
        commit, in `seq` order of its session. Raises Forbidden when the session is gone."""

        async def told(stored: Stored) -> None:
            await tell(stored.message)

        stored = await self.post(Arrival(draft, _anybody), told)
        return stored.message, stored.is_new

    async def post(self, arrival: Arrival, tell: Callable[[Stored], Awaitable[None]]) -> Stored:
        """As `append`, for one that has to be admitted. Raises what it was refused by."""
        waiting = _Waiting(arrival, tell)
        await self._locks.share(arrival.draft.session_id)
        self._waiting.append(waiting)
        if not self._writing:
            self._writing = True
            self._spawn(self._write(), "transcript")
        return await waiting.stored

    async def _write(self) -> None:
        together: list[_Waiting] = []
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
                if wanted := [each for each in together if not each.stored.done()]:
                    await self._store(wanted)
                while together:
                    self._locks.leave(together.pop().arrival.draft.session_id)
        finally:
            self._writing = False
            for each in (*together, *self._waiting):  # the server stops
                self._locks.leave(each.arrival.draft.session_id)
                _fail(each, GoingAway())
            self._waiting.clear()

    async def _store(self, together: Sequence[_Waiting]) -> None:
        try:
            async with self._database.transaction() as db:
                found = await messages.append(db, [each.arrival for each in together], now)
        except Exception as error:
            if len(together) == 1:
                _fail(together[0], error)
            else:  # what is wrong with one is not the others' fault
                for each in together:
                    await self._store([each])
            return
        for each, stored in zip(together, found, strict=True):
            if isinstance(stored, AtriumError):
                _fail(each, stored)
                continue
            try:
                if stored.is_new:
                    await each.tell(stored)
                    await self.told(stored)
            except Exception as error:
                _fail(each, error)
            if not each.stored.done():
                each.stored.set_result(stored)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.stored.done():
        waiting.stored.set_exception(error)
