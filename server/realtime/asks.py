"""Questions the server asks its clients: one-time request ids, who may answer, until when. It sends nothing itself.

An answer is accepted once, from a connection of the user it was asked of, before its deadline; anything else is
UNKNOWN_REQUEST and changes nothing (SPEC §7).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from server.errors import InvalidMessage, LimitExceeded, UnknownRequest
from server.realtime.connection import Connection

Answer = dict[str, object]
Scope = tuple[str | None, str]

MAX_OPEN_PER_USER = 100
MAX_OPEN = 10_000  # in one namespace of this node
MAX_PLACES = 100  # that one question is put to


class User(NamedTuple):
    """All connections of somebody, on every node."""

    tenant: str | None
    user_id: str


class Place(NamedTuple):
    """Where a connection is: on this node where none is named. A session that was resumed elsewhere keeps its id."""

    connection_id: str
    node: str = ""


@dataclass(slots=True, eq=False)
class Ask:
    """One open question. `accept` turns a raw answer into a valid one or raises InvalidMessage.

    It was last put to its `target`; its `heir` came while the target was there. With `everywhere` it has neither: it is
    put to all of its user's connections. `answered_by` is a connection's id. `expires_at` is on the loop's clock.
    """

    request_id: str
    namespace: str
    scope: Scope
    event: str
    payload: Mapping[str, object]
    accept: Callable[[object], Answer]
    expires_at: float
    answered: asyncio.Future[Answer]
    everywhere: bool = False
    answered_by: str | None = None
    target: Place | None = None
    heir: Place | None = None
    asked: dict[Place, Callable[[], None]] = field(default_factory=dict)  # what drops an ack's callback

    @property
    def is_answered(self) -> bool:
        return self.answered.done() and not self.answered.cancelled()


@dataclass(slots=True)
class Counts:
    """Since the start, of one node. What was `sent` ends `answered`, `expired` or `withdrawn`, by who asked;
    `refused` are answers, also to other nodes' questions."""

    sent: int = 0
    answered: int = 0
    expired: int = 0
    withdrawn: int = 0
    refused: int = 0


class Asks:
    def __init__(self) -> None:
        self.counts = Counts()
        self.prefix = ""  # of every request id: where more than one node asks, it says which
        self._open: dict[str, Ask] = {}
        self._by_user: dict[tuple[str, Scope], dict[str, Ask]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Ask]:
        """Those that wait for their answer."""
        return (ask for ask in list(self._open.values()) if self.is_open(ask))

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._open

    def is_open(self, ask: Ask) -> bool:
        return ask.request_id in self._open and not ask.answered.done()

    def open(
        self,
        namespace: str,
        scope: Scope,
        event: str,
        payload: Mapping[str, object],
        accept: Callable[[object], Answer],
        seconds: float,
        *,
        everywhere: bool = False,
    ) -> Ask:
        """`seconds` that it is open. Raises LimitExceeded when too many are open, to the user or in all."""
        of_user = self._by_user.get((namespace, scope), {})
        if len(of_user) >= MAX_OPEN_PER_USER or len(self) >= MAX_OPEN:
            raise LimitExceeded("Too many open requests")
        request_id = self.prefix + secrets.token_urlsafe(24)
        loop = asyncio.get_running_loop()
        ask = Ask(
            request_id,
            namespace,
            scope,
            event,
            {**payload, "requestId": request_id},
            accept,
            loop.time() + seconds,
            loop.create_future(),
            everywhere,
        )
        self._open[request_id] = ask
        self._by_user.setdefault((namespace, scope), of_user)[request_id] = ask
        self.counts.sent += 1
        return ask

    def answer(self, connection: Connection, event: str | None, request_id: object, answer: object) -> None:
        """As `settle`, by who is connected here."""
        self.settle(connection.namespace, connection.identity.scope, event, request_id, answer, connection.id)

    def settle(
        self, namespace: str, scope: Scope, event: str | None, request_id: object, answer: object, connection_id: str
    ) -> None:
        """Raises UnknownRequest, or InvalidMessage for an answer of the wrong shape: it may be sent again, mended.

        `scope` is whose answer it is; `event` the question's name, so that an answer to one kind cannot close another,
        or None for an answer to any kind.
        """
        ask = self.find(scope, request_id) if isinstance(request_id, str) else None
        if ask is None or ask.namespace != namespace or event not in (None, ask.event):
            raise UnknownRequest
        ask.answered.set_result(ask.accept(answer))
        ask.answered_by = connection_id
        self.counts.answered += 1

    def sent(self, ask: Ask, place: Place, forget: Callable[[], None]) -> None:
        """The question went to a connection; `forget` drops the callback that waits for its ack."""
        if ask.request_id not in self._open:  # answered or expired while it was being sent
            forget()
            return
        earlier = ask.asked.get(place)
        if earlier is not None:
            earlier()
        ask.asked[place] = forget

    def find(self, scope: Scope, request_id: str) -> Ask | None:
        """A question to this user that waits for its answer."""
        ask = self._open.get(request_id)
        return ask if ask is not None and ask.scope == scope and self.is_open(ask) else None

    def open_of(self, connection: Connection) -> Iterator[Ask]:
        """The questions open for this connection's user, oldest first."""
        for ask in list(self._by_user.get((connection.namespace, connection.identity.scope), {}).values()):
            if self.is_open(ask):
                yield ask

    def close(self, ask: Ask) -> None:
        """Always called, answered or not: from here on the request id is unknown. Closing twice is once."""
        self._open.pop(ask.request_id, None)
        key = (ask.namespace, ask.scope)
        of_user = self._by_user.get(key, {})
        of_user.pop(ask.request_id, None)
        if not of_user:
            self._by_user.pop(key, None)
        for forget in ask.asked.values():
            forget()


def acknowledged(request_id: str, arguments: Sequence[object]) -> tuple[object, object] | None:
    """The request id and the answer in an ack; None for one without arguments: stock Python clients send it for every
    event, also for one that they answer by an event. `requestId` may stand in an ack as it must in an event.

    Raises InvalidMessage.
    """
    if not arguments:
        return None
    if len(arguments) > 1:
        raise InvalidMessage("An answer is one object")
    answer = arguments[0]
    if isinstance(answer, Mapping) and "requestId" in answer:
        return answer["requestId"], {name: value for name, value in answer.items() if name != "requestId"}
    return request_id, answer
