"""The other nodes, as code that knows no cluster sees them: `cluster.node.Node`, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

Body = Mapping[str, Any]  # JSON


class Others(Protocol):
    def on(self, verb: str, answer: Callable[[Body], Awaitable[Body | None]]) -> None:
        """What this node answers the others."""

    async def ask_all(self, verb: str, body: Body) -> list[Body]:
        """What those answer that do, in a second at most."""

    async def ask_each(self, verb: str, body: Body) -> Mapping[str, Body | None]:
        """As `ask_all`, of every other node that lives, by its id; None of one that does not answer."""

    def will(self, key: str, verb: str, body: Body) -> None:
        """What one of them is to do, as if asked, should this node die before it withdraws the `key`."""

    def withdraw(self, key: str) -> None:
        """It is done, or not wanted any more."""


class NoOthers:
    def on(self, verb: str, answer: Callable[[Body], Awaitable[Body | None]]) -> None:
        """Nobody asks."""

    async def ask_all(self, verb: str, body: Body) -> list[Body]:
        return []

    async def ask_each(self, verb: str, body: Body) -> Mapping[str, Body | None]:
        return {}

    def will(self, key: str, verb: str, body: Body) -> None:
        """Nobody is left to do it."""

    def withdraw(self, key: str) -> None:
        """There is none."""
