"""Asking a connection's client or the user's next one, all of a user's, or a room: puts questions until they are
answered. What an answer is worth is `asks`' to say."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from marshmallow import INCLUDE, fields

from server.errors import (
    AskWouldDeadlock,
    AtriumError,
    ClientTimeout,
    InvalidMessage,
    LimitExceeded,
    UnknownRequest,
)
from server.realtime import rooms, schema
from server.realtime.asks import MAX_OPEN, MAX_PLACES, Answer, Ask, Asks, Place, Scope, User, acknowledged
from server.realtime.connection import Connection
from server.realtime.tasks import handling

if TYPE_CHECKING:
    from server.realtime.namespace import Namespace


MAX_OF_ROOM = 1000  # users of a room who are asked at once
MAX_CONNECTIONS_OF_ROOM = 10 * MAX_OF_ROOM


class AnyAnswer(schema.Payload):
    """Any JSON object: for who looks at an answer himself."""

    class Meta:
        unknown = INCLUDE


class GivenAnswer(schema.Payload):
    """An answer as an event, to any question."""

    request_id = schema.Text(most=200, required=True, data_key="requestId")
    answer = fields.Dict(required=True)


@dataclass(frozen=True, slots=True)
class RoomAnswer:
    """Whose answer, and which of their connections gave it."""

    user: User
    connection_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class RoomAnswers:
    """Everybody who was asked is in one of the two."""

    answers: list[RoomAnswer]
    silent: list[User]


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

    async def members(self, room: str, most: int) -> list[tuple[Place, Scope]]:
        """Of each node that answers in time: all, or one more than `most`."""

    async def answer(self, connection: Connection, event: str | None, request_id: object, answer: object) -> None:
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

    async def members(self, room: str, most: int) -> list[tuple[Place, Scope]]:
        return []

    async def answer(self, connection: Connection, event: str | None, request_id: object, answer: object) -> None:
        raise UnknownRequest


class Questions:
    def __init__(self, namespace: Namespace) -> None:
        self.asks = Asks()
        self.others: OtherNodes = NoOtherNodes()
        self.namespace = namespace

    async def ask(
        self,
        target: Connection | User,
        event: str,
        payload: Mapping[str, object],
        answer: type[schema.Payload],
        seconds: float,
    ) -> Answer:
        """As `Namespace.ask`."""
        handled = self._handled
        if handled is not None and target in (handled, handled.identity.scope):
            raise AskWouldDeadlock
        everywhere = isinstance(target, User)
        scope = (target.tenant, target.user_id)
        accept = _accepting(answer)
        ask = self.asks.open(self.namespace.path, scope, event, payload, accept, seconds, everywhere=everywhere)
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
            await self._end(ask)

    async def ask_room(
        self,
        room: str,
        event: str,
        payload: Mapping[str, object],
        answer: type[schema.Payload],
        seconds: float,
        skip: Collection[str],
    ) -> RoomAnswers:
        """As `Namespace.ask_room`."""
        handled = self._handled
        if handled is not None and room in handled.rooms and handled.id not in skip:
            raise AskWouldDeadlock
        deadline = asyncio.get_running_loop().time() + seconds
        places: dict[Scope, list[Place]] = defaultdict(list)
        here = [(Place(each.id), each.identity.scope) for each in self.namespace.members(room)]
        for place, scope in here + await self.others.members(room, MAX_CONNECTIONS_OF_ROOM):
            if place.connection_id not in skip:
                places[scope].append(place)
        connections = sum(map(len, places.values()))
        if connections > MAX_CONNECTIONS_OF_ROOM or len(places) > min(MAX_OF_ROOM, MAX_OPEN - len(self.asks)):
            raise LimitExceeded("Too many to ask at once")
        asks: dict[Scope, Ask] = {}
        try:
            left = deadline - asyncio.get_running_loop().time()
            accept = _accepting(answer)
            for scope in places:
                with contextlib.suppress(LimitExceeded):  # who has too many to answer already is silent
                    asks[scope] = self.asks.open(
                        self.namespace.path, scope, event, payload, accept, left, everywhere=True
                    )
            for scope, ask in asks.items():
                self.others.opened(ask)
                for place in places[scope]:
                    self._put(ask, place)
                if len(places[scope]) > 1:  # the user's others need not wait for the rest of the room
                    ask.answered.add_done_callback(functools.partial(self._end_early, ask))
            if asks:
                await asyncio.wait([ask.answered for ask in asks.values()], timeout=left)
            self.asks.counts.expired += self._give_up(asks.values())
        finally:
            self.asks.counts.withdrawn += self._give_up(asks.values())
            for ask in asks.values():
                if not ask.is_answered:
                    await self._tell_expired(ask)
                await self._end(ask)
        return RoomAnswers(
            [
                RoomAnswer(User(*scope), ask.answered_by, ask.answered.result())
                for scope, ask in asks.items()
                if ask.answered_by is not None
            ],
            [User(*scope) for scope in places if scope not in asks or not asks[scope].is_answered],
        )

    async def answer(self, connection: Connection, event: str | None, request_id: object, answer: object) -> None:
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
            if ask.everywhere:
                self._put(ask, place)
        self.others.left(gone)

    def offer(self, ask: Ask, place: Place) -> None:
        """Puts the question there, or keeps the place in mind where another that has it is still there."""
        target = ask.target
        asked_already = place in ask.asked if ask.everywhere else target == place
        if asked_already and not place.node:  # it was asked while it was being welcomed
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

    @property
    def _handled(self) -> Connection | None:
        """Whose event is handled here, and awaits this."""
        connection_id = handling.get()
        return None if connection_id is None else self.namespace.connection(connection_id)

    def _begin(self, ask: Ask, target: Connection | User) -> None:
        """To the user's newest connection where the target is gone: its client may have come back already."""
        here = self.namespace.members(rooms.user_room(*ask.scope))
        if isinstance(target, User):
            for each in here[-MAX_PLACES:]:
                self._put(ask, Place(each.id))
            self.others.seek(ask)
        elif self.namespace.connection(target.id) is not None:
            self._put(ask, Place(target.id))
        elif here:
            self._put(ask, Place(here[-1].id))
        else:
            self.others.seek(ask)

    def _put(self, ask: Ask, place: Place) -> None:
        if place not in ask.asked and len(ask.asked) >= MAX_PLACES:
            return
        if place.node:
            ask.target = None if ask.everywhere else place
            self.asks.sent(ask, place, lambda: None)  # its node drops the callback
            self.namespace.spawn(self._put_elsewhere(ask, place), "question")
        elif (connection := self.namespace.connection(place.connection_id)) is not None:
            ask.target = None if ask.everywhere else place
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

    @staticmethod
    def _give_up(asks: Collection[Ask]) -> int:
        """Nothing that arrives from here on counts. How many were open."""
        return sum(ask.answered.cancel() for ask in asks)

    async def _end(self, ask: Ask) -> None:
        """Ending twice is once."""
        try:
            if ask.is_answered and ask.request_id in self.asks:
                await self._tell_expired(ask)  # the others need not answer any more
        finally:
            self.asks.close(ask)
            self.others.closed(ask)

    def _end_early(self, ask: Ask, _: asyncio.Future[Answer]) -> None:
        if ask.is_answered:
            self.namespace.spawn(self._end(ask), "answered")

    async def _tell_expired(self, ask: Ask) -> None:
        expired = {"requestId": ask.request_id}
        for place in list(ask.asked):
            if place.connection_id == ask.answered_by:
                continue
            if place.node:
                await self.namespace.emit("request_expired", expired, room=place.connection_id)
            elif (connection := self.namespace.connection(place.connection_id)) is not None:
                await self.namespace.send(connection, "request_expired", expired)


def _accepting(answer: type[schema.Payload]) -> Callable[[object], Answer]:
    shape = answer()
    return lambda raw: schema.load(shape, raw)
