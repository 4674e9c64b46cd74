"""One lock for each name in use, which many may share or one may hold; nothing is kept for a name without users."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Lock:
    """`users`: how many are in; `alone`: it is one who holds it."""

    users: int = 0
    alone: bool = False
    waiting: deque[tuple[bool, asyncio.Future[None]]] = field(default_factory=deque)

    def admits(self, *, alone: bool) -> bool:
        return not self.users or not (alone or self.alone)


class Locks:
    """Who waits is let in in the order they came: those who share cannot keep out one who holds, nor the reverse."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Nobody else is in."""
        await self._enter(name, alone=True)
        try:
            yield
        finally:
            self.leave(name)

    async def share(self, name: str) -> None:
        """Nobody who holds it is in, until as many `leave` as share it."""
        await self._enter(name, alone=False)

    def leave(self, name: str) -> None:
        lock = self._locks[name]
        lock.users -= 1
        self._let_in(name, lock)

    async def _enter(self, name: str, *, alone: bool) -> None:
        lock = self._locks.setdefault(name, _Lock())
        if not lock.waiting and lock.admits(alone=alone):
            lock.users += 1
            lock.alone = alone
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lock.waiting.append((alone, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in just then
                self.leave(name)
            else:
                lock.waiting.remove((alone, turn))
                self._let_in(name, lock)
            raise

    def _let_in(self, name: str, lock: _Lock) -> None:
        while lock.waiting and lock.admits(alone=lock.waiting[0][0]):
            alone, turn = lock.waiting.popleft()
            if not turn.done():
                lock.users += 1
                lock.alone = alone
                turn.set_result(None)
        if not lock.users and not lock.waiting:
            self._locks.pop(name, None)
