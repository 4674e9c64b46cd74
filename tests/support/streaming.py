"""For streams: a backend that says what it is told, rooms in memory that keep what each connection heard, and nodes in
one process that ask each other."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

from server.namespaces.chat.agents.backend import Question, Verdict
from server.realtime.others import Body
from tests.support.client import PATIENCE

Heard = list[tuple[str, Mapping[str, Any]]]


class Scripted:
    """Says what it is told to, piece by piece; None ends an answer. `closed`: one ended, however."""

    def __init__(self, *pieces: str | Verdict | None) -> None:
        self._pieces: asyncio.Queue[str | Verdict | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.say(*pieces)

    def say(self, *pieces: str | Verdict | None) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)

    async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        try:
            while (piece := await self._pieces.get()) is not None:
                yield piece
        finally:
            self.closed.set()


def scripted(config: Path, options: Mapping[str, object]) -> Scripted:
    """As `agents.toml` names it."""
    return Scripted()


class Rooms:
    """A `Delivery` that waits for nothing. A connection's id is a room; each hears an event once."""

    def __init__(self) -> None:
        self.members: dict[str, set[str]] = defaultdict(set)
        self.heard: dict[str, Heard] = defaultdict(list)
        self._changed = asyncio.Event()

    def enter(self, connection: str, room: str) -> None:
        self.members[room].add(connection)

    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str | Collection[str],
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        assert (skip, volatile) == ((), False)
        rooms = [room] if isinstance(room, str) else room
        for connection in {one for each in rooms for one in (self.members.get(each) or [each])}:
            self.heard[connection].append((event, payload))
        self._changed.set()

    async def emit_missing(self, event: str, payload: Mapping[str, object], *, room: str) -> bool:
        return False

    async def flushed(self) -> None:
        pass

    async def hears(self, event: str, *, count: int = 1, who: str = "alice") -> None:
        async with asyncio.timeout(PATIENCE):
            while sum(name == event for name, _ in self.heard[who]) < count:
                self._changed.clear()
                await self._changed.wait()

    def payloads(self, event: str, who: str = "alice") -> list[Mapping[str, Any]]:
        return [payload for name, payload in self.heard[who] if name == event]

    def contents(self, who: str = "alice") -> list[str]:
        return [payload["content"] for payload in self.payloads("stream_chunk", who)]


class Neighbour:
    """Of some nodes that are always there; `asked` is what this one asked them."""

    def __init__(self, nodes: list[Neighbour]) -> None:
        self.asked: list[Body] = []
        self._answers: dict[str, Callable[[Body], Awaitable[Body | None]]] = {}
        self._nodes = nodes
        nodes.append(self)

    def on(self, verb: str, answer: Callable[[Body], Awaitable[Body | None]]) -> None:
        self._answers[verb] = answer

    def will(self, key: str, verb: str, body: Body) -> None:
        """They are always there."""

    def withdraw(self, key: str) -> None:
        """There is none."""

    async def ask_all(self, verb: str, body: Body) -> list[Body]:
        self.asked.append(body)
        return [await each._answers[verb](body) or {} for each in self._nodes if each is not self]
