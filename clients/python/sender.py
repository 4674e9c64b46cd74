"""Sends chat's messages until each is acked: in the order they were said in a session, again after a drop, over the
socket or by HTTP. The same `client_message_id` again is the same message to the server, so none is said twice."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clients.python.connection import Connection
from clients.python.errors import ClientError, Lost, NotConnected, Refused, TimedOut
from clients.python.fallback import Fallback
from clients.python.http_api import HttpApi, session_path
from clients.python.keeper import woken
from clients.python.messages import Sent
from clients.python.outbox import Outbox, Waiting
from clients.python.tokens import TokenSource

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5  # before the same is sent again, doubled each time
LONGEST_SECONDS = 15.0
MOST_REFUSALS = 8  # that pass, but for being too fast: then it is the message's fault
NOTHING_AFTER = 2**31  # a join that brings no messages
BANK_SECONDS = 130.0  # the server gives an agent 120 for its whole answer
PAGE = 200
MOST_PAGES = 50  # that are looked through for a message
CLOCK_SECONDS = 2.0  # by which what the server's clock is thought to be may be wrong


class Sender:
    def __init__(
        self, connection: Connection, fallback: Fallback, api: HttpApi, outbox: Outbox, token: TokenSource
    ) -> None:
        self._connection = connection
        self._fallback = fallback
        self._api = api
        self._outbox = outbox
        self._token = token
        self._queues: dict[str, deque[Waiting]] = {}  # by session; one that is there has a task
        self._tasks: set[asyncio.Task[None]] = set()
        self._acks: dict[str, asyncio.Future[Sent]] = {}
        self._chance = random.Random()  # noqa: S311 - it spreads load
        self._wake = asyncio.Event()
        self._stops = [connection.on_state(self._woken), fallback.on_change(self._woken)]

    def __len__(self) -> int:
        """What is not acked yet."""
        return sum(map(len, self._queues.values()))

    async def resume(self) -> int:
        """Takes up what an earlier process left, of this user: how many messages. Those of others stay where they are,
        and so does what nobody knows the sender of."""
        left = [each for each in await self._outbox.pending() if each.client_message_id not in self._acks]
        user_id = self._user_id
        mine = [each for each in left if user_id and each.user_id == user_id]
        if ownerless := sum(not each.user_id for each in left):
            log.warning("%d messages stay unsent: it is not known who wrote them", ownerless)
        for waiting in mine:
            self._enqueue(waiting)
        return len(mine)

    async def send(
        self,
        session_id: str,
        client_message_id: str,
        payload: Mapping[str, Any],
        timeout: float,
    ) -> Sent:
        """Raises Refused where the server will never take it, OutboxFull; TimedOut where it is not acked yet: it stays
        in the outbox, and is sent on."""
        waiting = Waiting(self._user_id, session_id, client_message_id, payload)
        acked = self._acks.get(client_message_id)
        if acked is None:
            acked = self._acks[client_message_id] = asyncio.get_running_loop().create_future()
            acked.add_done_callback(lambda _: self._acks.pop(client_message_id, None))
            try:
                await self._outbox.add(waiting)
            except BaseException:
                acked.cancel()
                raise
            self._enqueue(waiting)
        await asyncio.wait({acked}, timeout=timeout)
        if not acked.done():
            raise TimedOut(f"{client_message_id} is not acked within {timeout:g} s; it stays in the outbox")
        return acked.result()

    async def close(self) -> None:
        """What is not acked stays in the outbox."""
        for stop in self._stops:
            stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for acked in list(self._acks.values()):
            if not acked.done():
                acked.set_exception(NotConnected("CLOSED", "the client was closed before the message was acked"))
                acked.exception()  # retrieved, where nobody waits
        await self._outbox.close()

    @property
    def _user_id(self) -> str:
        """As the server says, or else the token; empty where neither does."""
        return self._connection.user_id or self._token.user_id or ""

    def _enqueue(self, waiting: Waiting) -> None:
        queue = self._queues.get(waiting.session_id)
        if queue is not None:
            queue.append(waiting)
            return
        self._queues[waiting.session_id] = deque([waiting])
        task = asyncio.create_task(self._work(waiting.session_id), name=f"sender {waiting.session_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _woken(self) -> None:
        self._wake.set()

    async def _work(self, session_id: str) -> None:
        queue = self._queues[session_id]
        try:
            while queue:
                await self._deliver(queue)
                queue.popleft()
        except Exception as error:
            log.exception("messages to %s are not sent any more", session_id)
            for waiting in queue:
                self._fail(waiting, Lost("CLIENT_FAULT", repr(error)))
        finally:
            del self._queues[session_id]

    async def _deliver(self, queue: deque[Waiting]) -> None:
        """The first, until it is acked or refused for good."""
        refusals, delay = 0, AGAIN_SECONDS
        while True:
            self._wake.clear()
            waiting = queue[0]
            try:
                ack = await self._once(queue)
                sent = Sent(waiting.client_message_id, str(ack["message_id"]), int(ack["seq"]), str(ack["created_at"]))
            except Refused as error:
                if error.code.startswith("TOKEN_"):  # by HTTP; it is not the message's fault
                    await woken(self._wake, LONGEST_SECONDS)
                    continue
                refusals += error.code != "RATE_LIMITED"
                if not error.passing or refusals >= MOST_REFUSALS:
                    await self._settle(waiting, error)
                    return
                await asyncio.sleep(max(error.retry_after, delay))
            except ClientError:
                await woken(self._wake, delay * (1 + self._chance.random()))
            else:
                await self._settle(waiting, sent)
                return
            delay = min(2 * delay, LONGEST_SECONDS)

    async def _settle(self, waiting: Waiting, outcome: Sent | Refused) -> None:
        await self._outbox.remove(waiting.client_message_id)
        acked = self._acks.get(waiting.client_message_id)
        if isinstance(outcome, Sent):
            if acked is not None and not acked.done():
                acked.set_result(outcome)
        elif not self._fail(waiting, outcome):
            log.warning("%s in %s was refused: %s", waiting.client_message_id, waiting.session_id, outcome)

    def _fail(self, waiting: Waiting, error: ClientError) -> bool:
        """Whether it was sent by this process, and is not over."""
        acked = self._acks.get(waiting.client_message_id)
        if acked is None or acked.done():
            return False
        acked.set_exception(error)
        acked.exception()  # retrieved, where nobody waits any more
        return True

    async def _once(self, queue: deque[Waiting]) -> Mapping[str, Any]:
        waiting = queue[0]
        if waiting.unkeyed and (stored := await self._find(waiting)) is not None:
            return stored
        payload = {**waiting.payload, "client_message_id": waiting.client_message_id}
        if not self._fallback.active:
            return await self._by_socket({"session_id": waiting.session_id, **payload})
        try:
            return await self._api.request("POST", f"{session_path(waiting.session_id)}/messages", json=payload)
        except Refused as error:
            if error.code != "FORBIDDEN":
                raise
        # There may be no such session yet; this one way of HTTP makes it, and knows no client_message_id. From now on
        # each attempt, also the next process's, looks first whether it is stored.
        await self._outbox.mark_unkeyed(waiting.client_message_id)
        waiting = queue[0] = replace(waiting, unkeyed=True)
        return await self._by_bank(waiting)

    async def _by_bank(self, waiting: Waiting) -> Mapping[str, Any]:
        bank = {"session_id": waiting.session_id, "user_message": waiting.payload["content"]}
        try:
            await self._api.request("POST", "/api/v1/chat/message", json=bank, timeout=BANK_SECONDS)
        except Refused as error:
            if error.code in ("FORBIDDEN", "RATE_LIMITED"):  # of all others it may be stored
                raise
        stored = await self._find(waiting)
        if stored is None:
            raise Refused({"code": "INTERNAL", "message": "the session was made; the message goes the usual way now"})
        return stored

    async def _by_socket(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """A session that nobody joined yet is made by joining it."""
        try:
            return await self._connection.call("message", payload)
        except Refused as error:
            if error.code != "FORBIDDEN":
                raise
            await self._connection.call("join", {"session_id": payload["session_id"], "after_seq": NOTHING_AFTER})
            return await self._connection.call("message", payload)

    async def _find(self, waiting: Waiting) -> Mapping[str, Any] | None:
        """What the bank's way stored of it: the first such message of this user that is not older. None where it is not
        there, or the session is not."""
        path = f"{session_path(waiting.session_id)}/messages"
        try:
            if self._api.clock_ahead is None:
                await self._api.request("GET", path, query={"limit": 1})
            written = waiting.created_at + (self._api.clock_ahead or 0.0) - CLOCK_SECONDS
            after: object = datetime.fromtimestamp(written, UTC).isoformat()
            for _ in range(MOST_PAGES):
                page = await self._api.request("GET", path, query={"limit": PAGE, "after": after})
                for message in page["messages"]:
                    if _says(message, waiting):
                        return dict(message)
                if not page["has_more"]:
                    break
                after = page["messages"][-1]["seq"]
        except Refused as error:
            if error.code != "FORBIDDEN":
                raise
        return None


def _says(message: Mapping[str, Any], waiting: Waiting) -> bool:
    said = (message.get("sender_type"), message.get("sender_id"), message.get("content"))
    return said == ("user", waiting.user_id, waiting.payload["content"])
