"""Questions the server asks its clients: one-time request ids, who may answer, until when. It sends nothing itself.

An answer is accepted once, from a connection of the user it was asked of, before its deadline; anything else is
UNKNOWN_REQUEST and changes nothing (SPEC §7).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from server.errors import InvalidMessage, LimitExceeded, UnknownRequest
from server.realtime.connection import Connection

Answer = dict[str, object]

MAX_OPEN_PER_USER = 100


@dataclass(slots=True, eq=False)
class Ask:
    """One open question. `accept` turns a raw answer into a valid one or raises InvalidMessage.

    `target` is the id of the connection it was last put to; `heir` of one that came while the target was there.
    """

    request_id: str
    namespace: str
    scope: tuple[str | None, str]
    event: str
    payload: Mapping[str, object]
    accept: Callable[[object], Answer]
    answered: asyncio.Future[Answer]
    target: str | None = None
    heir: str | None = None
    asked: dict[str, Callable[[], None]] = field(default_factory=dict)  # connection id -> drops its ack callback

    @property
    def is_answered(self) -> bool:
        return self.answered.done() and not self.answered.cancelled()


class Asks:
    def __init__(self) -> None:
        self._open: dict[str, Ask] = {}
        self._by_user: dict[tuple[str, tuple[str | None, str]], dict[str, Ask]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self,
        namespace: str,
        scope: tuple[str | None, str],
        event: str,
        payload: Mapping[str, object],
        accept: Callable[[object], Answer],
    ) -> Ask:
        """Raises LimitExceeded when the user has too many questions open."""
        of_user = self._by_user.setdefault((namespace, scope), {})
        if len(of_user) >= MAX_OPEN_PER_USER:
            raise LimitExceeded("Too many open requests")
        request_id = secrets.token_urlsafe(24)
        ask = Ask(
            request_id,
            namespace,
            scope,
            event,
            {"requestId": request_id, **payload},
            accept,
            asyncio.get_running_loop().create_future(),
        )
        self._open[request_id] = ask
        of_user[request_id] = ask
        return ask

    def answer(self, connection: Connection, event: str, request_id: object, answer: object) -> None:
        """Raises UnknownRequest, or InvalidMessage for an answer of the wrong shape: it may be sent again, mended.

        `event` is the question's name, so that an answer to one kind cannot close another.
        """
        ask = self._open.get(request_id) if isinstance(request_id, str) else None
        if (
            ask is None
            or ask.namespace != connection.namespace
            or ask.scope != connection.identity.scope
            or ask.event != event
            or ask.answered.done()
        ):
            raise UnknownRequest
        ask.answered.set_result(ask.accept(answer))

    def acknowledge(self, connection: Connection, ask: Ask, arguments: Sequence[object]) -> None:
        """As `answer`, from an ack. One without arguments is no answer: stock Python clients send it for every
        event, also for one that they answer by an event. `requestId` may stand in an ack as it must in an event."""
        if not arguments:
            return
        answer, request_id = arguments[0], ask.request_id
        if len(arguments) > 1:
            raise InvalidMessage("An answer is one object")
        if isinstance(answer, Mapping) and "requestId" in answer:
            request_id = answer["requestId"]
            answer = {name: value for name, value in answer.items() if name != "requestId"}
        self.answer(connection, ask.event, request_id, answer)

    def sent(self, ask: Ask, connection: Connection, forget: Callable[[], None]) -> None:
        """The question went to a connection; `forget` drops the callback that waits for its ack."""
        if ask.request_id not in self._open:  # answered or expired while it was being sent
            forget()
            return
        earlier = ask.asked.get(connection.id)
        if earlier is not None:
            earlier()
        ask.asked[connection.id] = forget

    def open_of(self, connection: Connection) -> Iterator[Ask]:
        """The questions open for this connection's user, oldest first."""
        for ask in list(self._by_user.get((connection.namespace, connection.identity.scope), {}).values()):
            if ask.request_id in self._open and not ask.answered.done():
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
