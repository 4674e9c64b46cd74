"""What an async iterator hands out: a bounded buffer between what arrives and who reads it, in its own time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """For one reader. `on_room` is called when one that was full is read from."""

    def __init__(self, most: int, on_room: Callable[[], None] | None = None) -> None:
        self._items: deque[T] = deque()
        self._most = most
        self._on_room = on_room
        self._news = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        return len(self._items) >= self._most

    def put(self, item: T) -> None:
        """Where it is full, the oldest goes: `dropped` says how many did."""
        if self._ended:
            return
        if self.full:
            self._items.popleft()
            self.dropped += 1
        self._items.append(item)
        self._news.set()

    def end(self, error: Exception | None = None) -> None:
        """After what is in it, the iteration ends, or raises. The first end counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        was_full = self.full
        item = self._items.popleft()
        if was_full and self._on_room is not None:
            self._on_room()
        return item
