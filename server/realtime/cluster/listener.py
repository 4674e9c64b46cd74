"""The connection that listens: subscriptions, and when they are in force."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from redis.asyncio.connection import AbstractConnection

from server.realtime.cluster.address import Connect
from server.realtime.cluster.wire import Wire, fail, promise

DEAF_SECONDS = 4.0  # a pulse comes every second while Redis answers
LIVELY_SECONDS = 1.5
CHANNELS_A_COMMAND = 500

Receive = Callable[[str, bytes], None]  # channel, message


class Listener(Wire):
    def __init__(
        self,
        connect: Connect,
        receive: Receive,
        *,
        patterns: Iterable[str] = (),
        opened: Callable[[], Awaitable[None]],
        closed: Callable[[], None],
    ) -> None:
        """When `opened` is called all subscriptions are in force again, and messages come in."""
        super().__init__(connect, opened=opened, closed=closed)
        self._receive = receive
        self._patterns = tuple(patterns)
        self._wanted: Counter[str] = Counter()  # channels, by how many
        self._asked: Counter[str] = Counter()  # subscriptions that Redis has not confirmed
        self._confirmed: set[str] = set()
        self._awaited: dict[str, asyncio.Future[None]] = {}
        self._heard_at = 0.0

    def subscribe(self, channel: str) -> asyncio.Future[None] | None:
        """None where it is in force; else what is done when it is. It raises RedisAway when the connection breaks
        meanwhile; the channel is subscribed again then. Each call wants one `unsubscribe`."""
        self._wanted[channel] += 1
        if channel in self._confirmed:
            return None
        awaited = self._awaited.get(channel)
        if awaited is None:
            awaited = promise()
            if self._connection is None:
                fail(awaited, "not connected")
            else:
                self._awaited[channel] = awaited
                self._ask([channel])
        return awaited

    def unsubscribe(self, channel: str) -> None:
        self._wanted[channel] -= 1
        if self._wanted[channel] <= 0:
            del self._wanted[channel]
            self._confirmed.discard(channel)
            if (awaited := self._awaited.pop(channel, None)) is not None:
                fail(awaited, "not wanted any more")
            self._send("UNSUBSCRIBE", channel)

    async def confirmed(self) -> None:
        """What was asked for before now is in force."""
        if self._awaited:
            await asyncio.wait(list(self._awaited.values()))

    @property
    def lively(self) -> bool:
        """It was heard of a moment ago, or has just connected."""
        return self._connection is not None and self._clock() - self._heard_at <= LIVELY_SECONDS

    def pending(self, channel: str) -> asyncio.Future[None] | None:
        """As `subscribe`, for who relies on somebody else's subscription."""
        return self._awaited.get(channel)

    async def _begin(self) -> None:
        self._heard_at = self._clock()
        channels = list(self._wanted)
        for channel in channels:
            self._awaited.setdefault(channel, promise())
        for i in range(0, len(channels), CHANNELS_A_COMMAND):
            self._ask(channels[i : i + CHANNELS_A_COMMAND])
        if self._patterns:
            self._send("PSUBSCRIBE", *self._patterns)
        await self.confirmed()

    def _ask(self, channels: list[str]) -> None:
        self._asked.update(channels)
        self._send("SUBSCRIBE", *channels)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            kind, *rest = await connection.read_response(disable_decoding=True, timeout=math.inf)
            self._heard_at = self._clock()
            if kind == b"message":
                self._receive(rest[0].decode(), rest[1])
            elif kind == b"pmessage":
                self._receive(rest[1].decode(), rest[2])
            elif kind == b"subscribe":
                self._confirm(rest[0].decode())

    def _confirm(self, channel: str) -> None:
        """Of a channel that was left and wanted again, the last confirmation counts."""
        self._asked[channel] -= 1
        if self._asked[channel] > 0:
            return
        del self._asked[channel]
        if channel in self._wanted:
            self._confirmed.add(channel)
            if (awaited := self._awaited.pop(channel, None)) is not None and not awaited.done():
                awaited.set_result(None)

    def _dead(self) -> bool:
        return self._clock() - self._heard_at > DEAF_SECONDS

    def _broke(self) -> None:
        self._confirmed.clear()
        self._asked.clear()
        awaited, self._awaited = self._awaited, {}
        for each in awaited.values():
            fail(each, "the connection broke")
