"""Questions the server asks its clients: one-time request ids, who may answer, until when. It sends nothing itself.

An answer is accepted once, from a connection of the user it was asked of, before its deadline; anything else is
UNKNOWN_REQUEST and changes nothing (SPEC §7).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from server.errors import LimitExceeded, UnknownRequest
from server.realtime.connection import Connection

Answer = dict[str, object]

MAX_OPEN_PER_USER = 100


@dataclass(slots=True, eq=False)
class Ask:
    """One open question. `accept` turns a raw answer into a valid one or raises InvalidMessage."""

    request_id: str
    namespace: str
    scope: tuple[str | None, str]
    event: str
    payload: Mapping[str, object]
    accept: Callable[[object], Answer]
    answered: asyncio.Future[Answer]
    asked: set[str] = field(default_factory=set)  # ids of the connections it was sent to
    forget: list[Callable[[], None]] = field(default_factory=list)  # drops their ack callbacks


class Asks:
    def __init__(self) -> None:
        self._open: dict[str, Ask] = {}
        self._by_user: dict[tuple[str, tuple[str | None, str]], set[str]] = {}

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
        of_user = self._by_user.setdefault((namespace, scope), set())
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
        of_user.add(request_id)
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

    def open_of(self, connection: Connection) -> Iterator[Ask]:
        """The questions open for this connection's user, oldest first."""
        for ask in list(self._open.values()):
            if ask.namespace == connection.namespace and ask.scope == connection.identity.scope:
                yield ask

    def close(self, ask: Ask) -> None:
        """Always called, answered or not: from here on the request id is unknown."""
        self._open.pop(ask.request_id, None)
        key = (ask.namespace, ask.scope)
        of_user = self._by_user.get(key, set())
        of_user.discard(ask.request_id)
        if not of_user:
            self._by_user.pop(key, None)
        for forget in ask.forget:
            forget()
