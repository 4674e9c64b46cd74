"""Work that only one node may do at a time. How nodes agree on who does it is a subclass's business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

News = Mapping[str, Any]
Hear = Callable[[int, News], None]  # fence, news


class Lease(ABC):
    """One kind of work, by its name. At most one node holds it at any time."""

    @property
    @abstractmethod
    def held(self) -> bool:
        """By this node, now. To be asked right before each thing that must not be done twice: a process that was
        suspended goes on where it was, long after it lost the lease."""

    @property
    @abstractmethod
    def fence(self) -> int:
        """While it is held: higher than whoever held it before had."""

    @abstractmethod
    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does the work whenever, and only while, this node holds the lease; until cancelled. Work is cancelled when
        the lease is lost, and must end at once then; work that ends by itself is done, as long as this node holds on.
        Raises what the work raises; the lease is free then. To be called once."""

    @abstractmethod
    def tell(self, news: News) -> None:
        """Other nodes that `follow` hear it, if this one holds the lease. JSON; may be lost; waits for nothing."""

    @abstractmethod
    def follow(self, hear: Hear) -> None:
        """What holders on other nodes tell, never of a holder before one that was heard of."""


class SoleLease(Lease):
    """Of a node that is alone."""

    @property
    def held(self) -> bool:
        return True

    @property
    def fence(self) -> int:
        return 1

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        await work()

    def tell(self, news: News) -> None:
        """Nobody listens."""

    def follow(self, hear: Hear) -> None:
        """Nobody tells."""
