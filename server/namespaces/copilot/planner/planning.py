"""What answers a query, and what it may ask for that: how a client is reached, and what runs, is not known here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from server.namespaces.copilot.planner.answers import Answer

Progress = Callable[[str], Awaitable[None]]


class Client(Protocol):
    """Whoever asked the query. Each raises AskFailed when no usable answer comes in time."""

    async def available_data(self, query: str) -> Sequence[Mapping[str, object]]: ...

    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]: ...

    async def clarify(self, question: str, options: Sequence[str]) -> str: ...


class Planner(Protocol):
    async def answer(self, text: str, client: Client, progress: Progress) -> Answer:
        """`progress` is told each stage as it begins. Raises an AtriumError where there is no answer. Cancelled where
        the query is."""

    async def close(self) -> None:
        """There are no queries any more."""
