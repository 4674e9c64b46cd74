"""Questions whose user is on another node, and answers whose waiter is.

The node that asks decides who is asked. Open questions are listed in Redis by user, so that a node to which the user
comes offers its connection to those that ask; and a request id names the node that waits for the answer. What is not
heard while Redis is away is said again when it is back; until then questions stay where they are.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from server.errors import AtriumError, HandlerTimeout, InvalidMessage, UnknownRequest
from server.realtime import rooms
from server.realtime.asking import Questions
from server.realtime.asks import MAX_OPEN_PER_USER, MAX_PLACES, Ask, Place, Scope
from server.realtime.cluster.address import RedisAway
from server.realtime.cluster.keys import NODES
from server.realtime.cluster.node import ID_CHARS, Body, Node, NodeGone
from server.realtime.cluster.scripts import script
from server.realtime.connection import Connection

ANSWER_SECONDS = 3.0  # for the waiter's word, also where Redis is slow: an answer that counts is not to look lost
MAX_LISTED = 10 * MAX_OPEN_PER_USER
RETRIES_A_PULSE = 100
SOUGHT_TOGETHER = 100  # in one message
TIMES_SOUGHT = 3  # a pulse apart: a node is known to the others by its first pulse

_REQUEST_ID = re.compile(rf"([0-9a-f]{{{ID_CHARS}}})\..")
_REFUSALS: dict[object, type[AtriumError]] = {each.code: each for each in (InvalidMessage, UnknownRequest)}

#: Lists a question, and forgets those that are over. KEYS the user's. ARGV request id, for how long (ms).
OPEN = script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
return 1
"""
)


@dataclass(slots=True)
class _Lent:
    """Another node's question that a connection here was asked. `forget` drops its ack's callback."""

    forget: Callable[[], None]
    lapse: asyncio.TimerHandle


class ClusterAsks:
    """`asking.OtherNodes` of one namespace."""

    def __init__(self, node: Node, questions: Questions) -> None:
        self._node = node
        self._questions = questions
        self._namespace = questions.namespace
        self._sought: dict[Ask, int] = {}  # how many times it is still to be said
        self._new: list[Ask] = []  # of them; told together
        self._newcomers: dict[Connection, None] = {}  # whose user's questions are not known yet
        self._lent: dict[Connection, dict[str, _Lent]] = {}  # by request id
        questions.asks.prefix = f"{node.id}."
        node.on(self._verb("came"), self._on_came)
        node.on(self._verb("seek"), self._on_seek)
        node.on(self._verb("put"), self._on_put)
        node.on(self._verb("is asked"), self._on_is_asked)
        node.on(self._verb("answer"), self._on_answer)
        node.on(self._verb("members"), self._on_members)
        node.pulses.append(self._pulse)
        node.returns.append(self._list_all)
        node.renewals.append(self._list_all)

    # -- the node that asks -------------------------------------------------------------------------------------

    def opened(self, ask: Ask) -> None:
        milliseconds = int((ask.expires_at - asyncio.get_running_loop().time()) * 1000) + 1
        self._node.commands.run(OPEN, [self._key(ask.scope)], [ask.request_id, milliseconds])

    def closed(self, ask: Ask) -> None:
        self._sought.pop(ask, None)
        self._node.commands.call("ZREM", self._key(ask.scope), ask.request_id)

    def seek(self, ask: Ask) -> None:
        self._sought[ask] = TIMES_SOUGHT
        if self._node.up:
            self._new.append(ask)
            if len(self._new) == 1:
                self._node.spawn(self._seek_new(), "seek")

    async def put(self, ask: Ask, place: Place) -> bool:
        body = {
            "user": ask.scope,
            "connection": place.connection_id,
            "request": ask.request_id,
            "event": ask.event,
            "payload": ask.payload,
            "seconds": ask.expires_at - asyncio.get_running_loop().time(),
        }
        try:
            return bool((await self._node.ask(place.node, self._verb("put"), body)).get("there"))
        except (NodeGone, RedisAway):
            if self._questions.asks.is_open(ask):
                self._sought[ask] = TIMES_SOUGHT
            return False

    async def members(self, room: str, most: int) -> list[tuple[Place, Scope]]:
        found = await self._node.ask_all(self._verb("members"), {"room": room, "most": most + 1})
        return [
            (Place(connection_id, each["node"]), (tenant, user_id))
            for each in found
            for connection_id, (tenant, user_id) in each["members"]
        ]

    async def is_asked(self, ask: Ask, place: Place) -> bool:
        """Where Redis is away nobody can tell: then it counts as there, and is asked about again."""
        body = {"connection": place.connection_id, "request": ask.request_id}
        try:
            return bool((await self._node.ask(place.node, self._verb("is asked"), body)).get("there"))
        except NodeGone:
            return False
        except RedisAway:
            return True

    async def _on_came(self, body: Body) -> None:
        for request_id in body["requests"]:
            if (ask := self._questions.asks.find(_scope(body), request_id)) is not None:
                self._questions.offer(ask, Place(body["connection"], body["node"]))

    async def _on_answer(self, body: Body) -> None:
        asks = self._questions.asks
        asks.settle(
            self._namespace.path, _scope(body), body["event"], body["request"], body["answer"], body["connection"]
        )

    async def _seek_new(self) -> None:
        asks, self._new = self._new, []
        for start in range(0, len(asks), SOUGHT_TOGETHER):
            await self._seek(asks[start : start + SOUGHT_TOGETHER])

    async def _seek(self, asks: Iterable[Ask]) -> None:
        times = {ask: self._sought.pop(ask, 0) for ask in asks}
        is_open = self._questions.asks.is_open
        sought = [ask for ask in times if times[ask] and ask.target is None and is_open(ask)]
        if not sought:
            return
        requests = [(ask.scope, ask.request_id, ask.everywhere) for ask in sought]
        body = {"node": self._node.id, "requests": requests}
        try:
            alive = await self._node.call("ZRANGE", self._node.keys.key(NODES, "alive"), 0, -1)
            others = [each.decode() for each in alive if each.decode() != self._node.id]
            heard = await asyncio.gather(*[self._node.tell(each, self._verb("seek"), body) for each in others])
        except RedisAway:
            heard = [False]
        for ask in sought:
            if (left := times[ask] - all(heard)) and is_open(ask):
                self._sought[ask] = left

    async def _list_all(self) -> None:
        for ask in self._questions.asks:
            self.opened(ask)
            if ask.target is None:
                self._sought[ask] = TIMES_SOUGHT

    # -- the node where the user is -----------------------------------------------------------------------------

    def came(self, connection: Connection) -> None:
        if connection.identity.anonymous:  # nobody else is the same user
            return
        self._newcomers[connection] = None
        if self._node.up:
            self._node.spawn(self._look(connection), "look for questions")

    def left(self, connection: Connection) -> None:
        self._newcomers.pop(connection, None)
        for request_id in list(self._lent.get(connection, ())):
            self._forget(connection, request_id)

    async def answer(self, connection: Connection, event: str | None, request_id: object, answer: object) -> None:
        """Raises HandlerTimeout where the waiter cannot be reached; then the question is put again once it can."""
        waiter = self._waiter(request_id)
        if waiter is None:
            raise UnknownRequest
        try:
            encoded = orjson.Fragment(orjson.dumps(answer))
        except TypeError:
            raise InvalidMessage("The payload may not hold binary data") from None
        body = {
            "user": connection.identity.scope,
            "connection": connection.id,
            "event": event,
            "request": request_id,
            "answer": encoded,
        }
        try:
            told = await self._hand_in(waiter, body)
        except (HandlerTimeout, UnknownRequest):
            self._forget(connection, str(request_id))
            self._newcomers[connection] = None  # is asked again by who could not be reached only for a moment
            raise
        if (error := told.get("error")) is not None:
            raise _REFUSALS.get(error["code"], AtriumError)(error["message"], details=error.get("details"))
        self._forget(connection, str(request_id))

    async def _hand_in(self, waiter: str, body: Body) -> Body:
        if self._node.up:
            try:
                return await self._node.ask(waiter, self._verb("answer"), body, patience=ANSWER_SECONDS)
            except NodeGone:
                raise UnknownRequest from None
            except RedisAway:
                pass
        raise HandlerTimeout("Who asked cannot be reached now: answer again")

    async def _on_seek(self, body: Body) -> None:
        told = []
        for scope, request_id, everywhere in body["requests"]:
            here = self._namespace.members(rooms.user_room(*scope))
            here = here[-MAX_PLACES if everywhere else -1 :]
            told += [self._tell_came(body["node"], connection, [request_id]) for connection in here]
        await asyncio.gather(*told)

    async def _on_members(self, body: Body) -> Body:
        here = self._namespace.members(body["room"])[: body["most"]]
        return {"node": self._node.id, "members": [(each.id, each.identity.scope) for each in here]}

    async def _on_put(self, body: Body) -> Body:
        connection, request_id = self._namespace.connection(body["connection"]), body["request"]
        if connection is None or connection.identity.scope != _scope(body):
            return {"there": False}
        lent = self._lent.setdefault(connection, {})
        if request_id not in lent:
            lapse = asyncio.get_running_loop().call_later(body["seconds"], self._forget, connection, request_id)
            lent[request_id] = _Lent(self._questions.send(connection, body["event"], body["payload"]), lapse)
        return {"there": True}

    async def _on_is_asked(self, body: Body) -> Body:
        connection = self._namespace.connection(body["connection"])
        return {"there": connection is not None and body["request"] in self._lent.get(connection, ())}

    async def _look(self, connection: Connection) -> None:
        """Offers the connection to those who ask its user."""
        self._newcomers.pop(connection, None)
        if self._namespace.connection(connection.id) is not connection:
            return
        try:
            listed = await self._node.call("ZRANGE", self._key(connection.identity.scope), 0, MAX_LISTED - 1)
            offers = self._by_waiter(each.decode() for each in listed)
            heard = await asyncio.gather(*[self._tell_came(node, connection, ids) for node, ids in offers.items()])
        except RedisAway:
            heard = [False]
        if not all(heard):  # or the node is dead, and what it asked will lapse
            self._newcomers[connection] = None

    async def _tell_came(self, node: str, connection: Connection, request_ids: list[str]) -> bool:
        body = {
            "node": self._node.id,
            "user": connection.identity.scope,
            "connection": connection.id,
            "requests": request_ids,
        }
        return await self._node.tell(node, self._verb("came"), body)

    def _forget(self, connection: Connection, request_id: str) -> None:
        lent = self._lent.get(connection, {})
        if (question := lent.pop(request_id, None)) is not None:
            question.lapse.cancel()
            question.forget()
        if not lent:
            self._lent.pop(connection, None)

    # -- both ---------------------------------------------------------------------------------------------------

    async def _pulse(self) -> None:
        """What was not heard is said again; and nobody says that a connection elsewhere, which has a question, left."""
        if not self._node.up:
            return
        again = [self._seek(list(self._sought)[:RETRIES_A_PULSE])]
        again += [self._look(connection) for connection in list(self._newcomers)[:RETRIES_A_PULSE]]
        await asyncio.gather(*again)
        for ask in self._questions.asks:
            if ask.heir is not None and ask.target is not None and ask.target.node:
                self._questions.offer(ask, ask.heir)

    def _by_waiter(self, request_ids: Iterable[str]) -> dict[str, list[str]]:
        by_waiter: dict[str, list[str]] = defaultdict(list)
        for each in request_ids:
            if (waiter := self._waiter(each)) is not None:
                by_waiter[waiter].append(each)
        return by_waiter

    def _waiter(self, request_id: object) -> str | None:
        """The other node that a request id names."""
        named = _REQUEST_ID.match(request_id) if isinstance(request_id, str) else None
        return None if named is None or named[1] == self._node.id else named[1]

    def _key(self, scope: Scope) -> str:
        return self._node.keys.asks(self._namespace.path, rooms.user_room(*scope))

    def _verb(self, verb: str) -> str:
        return f"{self._namespace.path} {verb}"


def _scope(body: Body) -> Scope:
    tenant, user_id = body["user"]
    return tenant, user_id
