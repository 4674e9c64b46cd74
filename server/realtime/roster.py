"""Every connection that there is, for those who look after the server; what becomes of them is not decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from server.realtime.connection import Connection


@dataclass(frozen=True, slots=True)
class Listed:
    """`connected_at` in seconds since the epoch; `node` is empty where there is only one."""

    id: str
    namespace: str
    user_id: str
    tenant: str | None
    address: str
    connected_at: float
    node: str = ""


class Roster:
    """Of one node by itself."""

    node = ""

    def __init__(self, here: Callable[[], Iterable[Connection]]) -> None:
        """`here` are this node's."""
        self._here = here

    async def connections(self) -> list[Listed]:
        """The oldest first."""
        return sorted(self._listed(), key=lambda each: each.connected_at)

    def _listed(self) -> list[Listed]:
        return [
            Listed(each.id, each.namespace, each.user_id, each.tenant, each.address, each.connected_at, self.node)
            for each in self._here()
        ]
