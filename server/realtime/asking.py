"""Asking a connection's client, or the user's next one: puts questions to connections until one is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from server.errors import AskWouldDeadlock, AtriumError, ClientTimeout
from server.realtime import rooms, schema
from server.realtime.asks import Answer, Ask, Asks
from server.realtime.connection import Connection
from server.realtime.tasks import handling

if TYPE_CHECKING:
    from server.realtime.namespace import Namespace


class Questions:
    def __init__(self, namespace: Namespace) -> None:
        self.asks = Asks()
        self._namespace = namespace

    async def ask(
        self,
        target: Connection,
        event: str,
        payload: Mapping[str, object],
        answer: type[schema.Payload],
        seconds: float,
    ) -> Answer:
        """As `Namespace.ask`."""
        if handling.get() == target.id:
            raise AskWouldDeadlock
        shape = answer()
        ask = self.asks.open(
            self._namespace.path, target.identity.scope, event, payload, lambda raw: schema.load(shape, raw)
        )
        try:
            async with asyncio.timeout(seconds):
                self._put(ask, self._reachable(target))
                return await ask.answered
        except TimeoutError:
            if ask.is_answered:  # in the very moment: whoever answered was told that it counts
                return ask.answered.result()
            # The future was cancelled with the wait for it, so nothing that arrives from here on counts.
            for connection_id in list(ask.asked):
                if (connection := self._namespace.connection(connection_id)) is not None:
                    await self._namespace.send(connection, "request_expired", {"requestId": ask.request_id})
            raise ClientTimeout from None
        finally:
            self.asks.close(ask)

    def reopen(self, connection: Connection) -> None:
        """A connection came: what its user was asked and nobody is there to answer is put to it."""
        for ask in self.asks.open_of(connection):
            if ask.target != connection.id and self._is_there(ask.target):
                ask.heir = connection.id
            else:
                self._put(ask, connection)

    def hand_over(self, gone: Connection) -> None:
        """Puts a gone connection's questions to one that came before it was noticed to be gone."""
        for ask in self.asks.open_of(gone):
            ask.asked.pop(gone.id, None)
            if ask.target == gone.id and ask.heir is not None:
                heir = self._namespace.connection(ask.heir)
                if heir is not None:
                    self._put(ask, heir)

    def _is_there(self, connection_id: str | None) -> bool:
        return connection_id is not None and self._namespace.connection(connection_id) is not None

    def _reachable(self, connection: Connection) -> Connection:
        """The connection, or the user's newest where it is gone: its client may have come back already."""
        if self._is_there(connection.id):
            return connection
        others = self._namespace.members(rooms.user_room(connection.tenant, connection.user_id))
        return others[-1] if others else connection

    def _put(self, ask: Ask, connection: Connection) -> None:
        async def on_ack(*arguments: object) -> None:
            try:
                self.asks.acknowledge(connection, ask, arguments)
            except AtriumError as error:
                await self._namespace.send(connection, "error", {**error.to_wire(), "requestId": ask.request_id})

        ask.target = connection.id
        forget: Callable[[], None] = self._namespace.server.request(connection, ask.event, ask.payload, on_ack)
        self.asks.sent(ask, connection, forget)
