"""Asking a connection's client, or the user's next one: puts questions to connections until one is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from server.errors import AskWouldDeadlock, AtriumError, ClientTimeout, InvalidMessage, UnknownRequest
from server.realtime import rooms, schema
from server.realtime.asks import Answer, Ask, Asks, Place, acknowledged
from server.realtime.connection import Connection
from server.realtime.tasks import handling

if TYPE_CHECKING:
    from server.realtime.namespace import Namespace


class OtherNodes(Protocol):
    """Where a question's user may go, and where an answer's waiter may be. The node that asks decides whom."""

    def opened(self, ask: Ask) -> None:
        """Wherever its user comes, it is known."""

    def closed(self, ask: Ask) -> None: ...

    def seek(self, ask: Ask) -> None:
        """Its user is not here: has it offered to the user's connections elsewhere."""

    def came(self, connection: Connection) -> None:
        """Has it offered what other nodes ask its user."""

    def left(self, connection: Connection) -> None:
        """It has no question of theirs any more; they find out when they have somebody else to ask."""

    async def put(self, ask: Ask, place: Place) -> bool:
        """Whether it is there and has been asked."""

    async def is_asked(self, ask: Ask, place: Place) -> bool:
        """Whether it is still there, and still has the question."""

    async def answer(self, connection: Connection, event: str, request_id: object, answer: object) -> None:
        """As `Questions.answer`, where nobody here waits for it."""


class NoOtherNodes:
    def opened(self, ask: Ask) -> None: ...

    def closed(self, ask: Ask) -> None: ...

    def seek(self, ask: Ask) -> None: ...

    def came(self, connection: Connection) -> None: ...

    def left(self, connection: Connection) -> None: ...

    async def put(self, ask: Ask, place: Place) -> bool:
        return False

    async def is_asked(self, ask: Ask, place: Place) -> bool:
        return False

    async def answer(self, connection: Connection, event: str, request_id: object, answer: object) -> None:
        raise UnknownRequest


class Questions:
    def __init__(self, namespace: Namespace) -> None:
        self.asks = Asks()
        self.others: OtherNodes = NoOtherNodes()
        self.namespace = namespace

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
            self.namespace.path, target.identity.scope, event, payload, lambda raw: schema.load(shape, raw), seconds
        )
        try:
            async with asyncio.timeout(seconds):
                self.others.opened(ask)
                self._begin(ask, target)
                return await ask.answered
        except TimeoutError:
            if ask.is_answered:  # in the very moment: whoever answered was told that it counts
                return ask.answered.result()
            # The future was cancelled with the wait for it, so nothing that arrives from here on counts.
            self.asks.counts.expired += 1
            await self._tell_expired(ask)
            raise ClientTimeout from None
        except asyncio.CancelledError:  # the person need not answer any more
            if not ask.is_answered:
                self.asks.counts.withdrawn += 1
                await self._tell_expired(ask)
            raise
        finally:
            self.asks.close(ask)
            self.others.closed(ask)

    async def answer(self, connection: Connection, event: str, request_id: object, answer: object) -> None:
        """As `Asks.settle`, whichever node waits for it."""
        try:
            try:
                self.asks.answer(connection, event, request_id, answer)
            except UnknownRequest:
                await self.others.answer(connection, event, request_id, answer)
        except (InvalidMessage, UnknownRequest):
            self.asks.counts.refused += 1
            raise

    # -- who is asked -------------------------------------------------------------------------------------------

    def reopen(self, connection: Connection) -> None:
        """A connection came: what its user was asked and nobody is there to answer is put to it."""
        for ask in self.asks.open_of(connection):
            self.offer(ask, Place(connection.id))
        self.others.came(connection)

    def hand_over(self, gone: Connection) -> None:
        """Puts a gone connection's questions to one that came before it was noticed to be gone."""
        place = Place(gone.id)
        for ask in self.asks.open_of(gone):
            if ask.target == place and ask.heir is None:
                ask.heir = place  # its session may have been resumed already
            self.vacate(ask, place)
        self.others.left(gone)

    def offer(self, ask: Ask, place: Place) -> None:
        """Puts the question there, or keeps the place in mind where another that has it is still there."""
        target = ask.target
        if target == place and not place.node:  # it was asked while it was being welcomed
            return
        if target is None or target == place:  # another node knows whether it has been asked
            self._put(ask, place)
        elif target.node:
            self.namespace.spawn(self._offer_after(ask, target, place), "offer")
        elif self.namespace.connection(target.connection_id) is not None:
            ask.heir = place
        else:
            self._put(ask, place)

    def vacate(self, ask: Ask, place: Place) -> None:
        """Nobody is there any more."""
        ask.asked.pop(place, None)
        if ask.target == place:
            ask.target, heir, ask.heir = None, ask.heir, None
            if heir is not None and self.asks.is_open(ask):
                self._put(ask, heir)

    def send(self, connection: Connection, event: str, payload: Mapping[str, object]) -> Callable[[], None]:
        """The question goes out, whichever node asks it, and its ack is an answer. Returns what drops the callback."""
        request_id = str(payload["requestId"])

        async def take(*arguments: object) -> None:
            try:
                if (given := acknowledged(request_id, arguments)) is not None:
                    await self.answer(connection, event, *given)
            except AtriumError as error:
                await self.namespace.send(connection, "error", {**error.to_wire(), "requestId": request_id})

        async def on_ack(*arguments: object) -> None:
            if request_id in self.asks:
                await take(*arguments)
            else:  # the reader of its socket does not wait for another node
                self.namespace.spawn(take(*arguments), "answer")

        return self.namespace.server.request(connection, event, payload, on_ack)

    def _begin(self, ask: Ask, target: Connection) -> None:
        """To the user's newest connection where the target is gone: its client may have come back already."""
        if self.namespace.connection(target.id) is not None:
            self._put(ask, Place(target.id))
        elif others := self.namespace.members(rooms.user_room(target.tenant, target.user_id)):
            self._put(ask, Place(others[-1].id))
        else:
            self.others.seek(ask)

    def _put(self, ask: Ask, place: Place) -> None:
        if place.node:
            ask.target = place
            self.asks.sent(ask, place, lambda: None)  # its node drops the callback
            self.namespace.spawn(self._put_elsewhere(ask, place), "question")
        elif (connection := self.namespace.connection(place.connection_id)) is not None:
            ask.target = place
            self.asks.sent(ask, place, self.send(connection, ask.event, ask.payload))

    async def _put_elsewhere(self, ask: Ask, place: Place) -> None:
        if not await self.others.put(ask, place):
            self.vacate(ask, place)

    async def _offer_after(self, ask: Ask, target: Place, place: Place) -> None:
        """Only the target's node knows whether it is still there."""
        is_asked = await self.others.is_asked(ask, target)
        if not self.asks.is_open(ask):
            return
        if ask.target == target:
            if is_asked:
                ask.heir = place
                return
            ask.asked.pop(target, None)
            ask.target = ask.heir = None
        self.offer(ask, place)

    async def _tell_expired(self, ask: Ask) -> None:
        expired = {"requestId": ask.request_id}
        for place in list(ask.asked):
            if place.node:
                await self.namespace.emit("request_expired", expired, room=place.connection_id)
            elif (connection := self.namespace.connection(place.connection_id)) is not None:
                await self.namespace.send(connection, "request_expired", expired)
