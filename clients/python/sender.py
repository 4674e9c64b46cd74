"""Sends chat's messages until each is acked: in the order they were said in a session, again after a drop, over the
socket or by HTTP. The same `client_message_id` again is the same message to the server, so none is said twice."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from clients.python.connection import Connection
from clients.python.errors import ClientError, Lost, NotConnected, Refused, TimedOut
from clients.python.fallback import Fallback
from clients.python.http_api import HttpApi
from clients.python.messages import Sent
from clients.python.outbox import Outbox, Waiting

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5  # before the same is sent again, doubled each time
LONGEST_SECONDS = 15.0
MOST_REFUSALS = 8  # that pass, but for being too fast: then it is the message's fault
NOTHING_AFTER = 2**31  # a join that brings no messages
BANK_SECONDS = 130.0  # the server gives an agent 120 for its whole answer


class Sender:
    def __init__(self, connection: Connection, fallback: Fallback, api: HttpApi, outbox: Outbox) -> None:
        self._connection = connection
        self._fallback = fallback
        self._api = api
        self._outbox = outbox
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
        """Takes up what an earlier process left, of this user: how many messages."""
        left = [each for each in await self._outbox.pending() if each.client_message_id not in self._acks]
        mine = [each for each in left if each.user_id in ("", self._connection.user_id or "")]
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
        waiting = Waiting(self._connection.user_id or "", session_id, client_message_id, payload)
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
                await self._deliver(queue[0])
                queue.popleft()
        except Exception as error:
            log.exception("messages to %s are not sent any more", session_id)
            for waiting in queue:
                self._fail(waiting, Lost("CLIENT_FAULT", repr(error)))
        finally:
            del self._queues[session_id]

    async def _deliver(self, waiting: Waiting) -> None:
        """Until it is acked, or refused for good."""
        refusals, delay = 0, AGAIN_SECONDS
        while True:
            self._wake.clear()
            try:
                ack = await self._once(waiting)
                sent = Sent(waiting.client_message_id, str(ack["message_id"]), int(ack["seq"]), str(ack["created_at"]))
            except Refused as error:
                if error.code.startswith("TOKEN_"):  # by HTTP; it is not the message's fault
                    await self._wait(LONGEST_SECONDS)
                    continue
                refusals += error.code != "RATE_LIMITED"
                if not error.passing or refusals >= MOST_REFUSALS:
                    await self._settle(waiting, error)
                    return
                await asyncio.sleep(max(error.retry_after, delay))
            except ClientError:
                await self._wait(delay * (1 + self._chance.random()))
            else:
                await self._settle(waiting, sent)
                return
            delay = min(2 * delay, LONGEST_SECONDS)

    async def _wait(self, seconds: float) -> None:
        """Or until there is another way to go."""
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({woken}, timeout=seconds)
        finally:
            woken.cancel()

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

    async def _once(self, waiting: Waiting) -> Mapping[str, Any]:
        payload = {**waiting.payload, "client_message_id": waiting.client_message_id}
        if not self._fallback.active:
            return await self._by_socket({"session_id": waiting.session_id, **payload})
        path = _path(waiting)
        try:
            return await self._api.request("POST", path, json=payload)
        except Refused as error:
            if error.code != "FORBIDDEN":
                raise
        # There may be no such session yet; this one way of HTTP makes it, and knows no client_message_id.
        bank = {"session_id": waiting.session_id, "user_message": payload["content"]}
        try:
            await self._api.request("POST", "/api/v1/chat/message", json=bank, timeout=BANK_SECONDS)
        except Refused as error:
            if error.code in ("FORBIDDEN", "RATE_LIMITED"):  # of all others it may be stored
                raise
        return await self._find(waiting)

    async def _by_socket(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """A session that nobody joined yet is made by joining it."""
        try:
            return await self._connection.call("message", payload)
        except Refused as error:
            if error.code != "FORBIDDEN":
                raise
            await self._connection.call("join", {"session_id": payload["session_id"], "after_seq": NOTHING_AFTER})
            return await self._connection.call("message", payload)

    async def _find(self, waiting: Waiting) -> Mapping[str, Any]:
        """What the bank's way stored. Raises Refused, of the kind that passes, where it is not there."""
        path = _path(waiting)
        page = await self._api.request("GET", path, query={"limit": 20})
        for message in reversed(page.get("messages") or []):
            if message.get("sender_type") == "user" and message.get("content") == waiting.payload["content"]:
                return dict(message)
        raise Refused({"code": "INTERNAL", "message": "the session was made; the message goes the usual way now"})


def _path(waiting: Waiting) -> str:
    return f"/api/chat/sessions/{quote(waiting.session_id, safe='')}/messages"
