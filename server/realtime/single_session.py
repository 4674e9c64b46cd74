"""One connection for each user in a namespace (SPEC §2): who has it, and who gives way; the newest always has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from server.errors import SessionReplaced
from server.realtime import rooms
from server.realtime.connection import Connection

if TYPE_CHECKING:
    from server.realtime.namespace import Namespace


class SingleSession(Protocol):
    async def claim(self, connection: Connection) -> None:
        """It is its user's newest: the older one is told so and closed. A visitor without a name may have many."""

    def release(self, connection: Connection) -> None:
        """It is gone."""


class MemorySingleSession:
    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._holders: dict[str, Connection] = {}

    async def claim(self, connection: Connection) -> None:
        if may_claim(self._namespace, connection):
            user = user_of(connection)
            former = self._holders.get(user)
            self._holders[user] = connection
            if former is not None:
                await give_way(self._namespace, former)

    def release(self, connection: Connection) -> None:
        if self._holders.get(user_of(connection)) is connection:
            del self._holders[user_of(connection)]


def user_of(connection: Connection) -> str:
    """What tells users apart in a namespace."""
    return rooms.user_room(connection.tenant, connection.user_id)


def may_claim(namespace: Namespace, connection: Connection) -> bool:
    """Not who left while it was being welcomed."""
    return not connection.identity.anonymous and _is_there(namespace, connection)


async def give_way(namespace: Namespace, former: Connection) -> None:
    if _is_there(namespace, former):
        await namespace.server.close(former, SessionReplaced())


def _is_there(namespace: Namespace, connection: Connection) -> bool:
    return namespace.connection(connection.id) is connection
