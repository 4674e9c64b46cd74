"""This node's events on their way to the others: held until Redis has them, each once and in order."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.exceptions import RedisError

from server.realtime.cluster import letters
from server.realtime.cluster.address import RedisAway, is_passing
from server.realtime.cluster.commands import Commands
from server.realtime.cluster.complaints import Complaints
from server.realtime.cluster.keys import Keys
from server.realtime.cluster.letters import Letter
from server.realtime.cluster.scripts import EMIT, TELL_ONE
from server.realtime.cluster.wire import promise

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What waits for Redis, and what is kept for `memory` seconds after Redis had it, should Redis forget. A room's log
    keeps its newest `log` events, some `log_bytes` of them, for `retention` seconds."""

    messages: int = 20_000
    bytes: int = 32 * 1024 * 1024
    memory: float = 30
    log: int = 100_000
    log_bytes: int = 64 * 1024 * 1024
    retention: float = 180


@dataclass(slots=True, eq=False)
class _Sent:
    namespace: str
    number: int
    rooms: Sequence[tuple[str, str]]  # and the channel of each
    letter: bytes
    at: float = 0.0
    offset: int = 0  # once Redis gave it one
    refused: bool = False
    done: asyncio.Future[None] = field(default_factory=promise)


class Dispatch:
    def __init__(
        self,
        node: str,
        keys: Keys,
        commands: Commands,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._keys = keys
        self._commands = commands
        self.bounds = bounds
        self._clock = clock
        self._numbers: Counter[str] = Counter()  # by namespace
        self._held: deque[_Sent] = deque()
        self._kept: deque[_Sent] = deque()
        self._bytes = 0  # held
        self._kept_bytes = 0
        self._flowing = False
        self.gave_up: set[str] = set()  # namespaces
        self.counters: Counter[str] = Counter()
        self._complaints = Complaints(log)

    def __len__(self) -> int:
        """What waits for Redis."""
        return len(self._held)

    def number(self, namespace: str) -> int:
        """Of the newest event."""
        return self._numbers[namespace]

    def next_number(self, namespace: str) -> int:
        self._numbers[namespace] += 1
        return self._numbers[namespace]

    def put(self, letter: Letter, channels: Sequence[str]) -> None:
        """A logged event. Waits for nothing."""
        rooms = list(zip(letter.rooms, channels, strict=True))
        sent = _Sent(letter.namespace, letter.number, rooms, letter.encode())
        self._held.append(sent)
        self._bytes += len(sent.letter)
        self._bound()
        if self._flowing:
            self._flowing = self._send(sent)

    def volatile(self, letter: Letter, channels: Sequence[str]) -> None:
        """One that is worthless later: it goes now, or not at all."""
        if not self._commands.up:
            self.counters["volatile_dropped"] += 1
            return
        encoded = b"0 " + letter.encode()
        for room, channel in zip(letter.rooms, channels, strict=True):
            if channel.startswith("@"):
                self._commands.run(TELL_ONE, [self._keys.home(letter.namespace, room)], [channel, encoded])
            elif channel:
                self._commands.call("PUBLISH", channel, encoded)

    async def flushed(self) -> None:
        """What was put before now is with Redis. Raises RedisAway where that cannot be known."""
        if not self._held:
            return
        if not self._flowing:
            raise RedisAway("events are held")
        await asyncio.shield(self._held[-1].done)

    def stop(self) -> None:
        """The connection broke: what has no answer is sent again, in its order, on the next one."""
        self._flowing = False

    def resume(self) -> None:
        self._flowing = all(map(self._send, list(self._held)))

    def push(self) -> None:
        """Now and then: what Redis had no room for is sent again."""
        if not self._flowing:
            self.resume()

    def again(self, namespace: str) -> None:
        """Redis forgot what it had of a namespace: what is remembered of it is sent again, in its order."""
        kept = [sent for sent in self._kept if sent.namespace == namespace]
        self._kept = deque(sent for sent in self._kept if sent.namespace != namespace)
        for sent in reversed(kept):
            self._kept_bytes -= len(sent.letter)
            if sent.offset:
                sent.letter = dataclasses.replace(letters.decode(sent.letter), was=sent.offset).encode()
            sent.done = promise()
            self._held.appendleft(sent)
            self._bytes += len(sent.letter)
        self._bound()
        if self._flowing:
            self.resume()

    def _bound(self) -> None:
        """The newest, however big, has its chance."""
        while len(self._held) > 1 and (len(self._held) > self.bounds.messages or self._bytes > self.bounds.bytes):
            sent = self._held.popleft()
            self._bytes -= len(sent.letter)
            self._lose(sent)

    def _send(self, sent: _Sent) -> bool:
        """Whether it is on its way. What comes behind one that is not waits: numbers may only rise."""
        sent.refused = False
        keys = [self._keys.offset(sent.namespace), self._keys.origin(sent.namespace, self._node)]
        for room, _ in sent.rooms:
            keys += [
                self._keys.log(sent.namespace, room),
                self._keys.lost(sent.namespace, room),
                self._keys.home(sent.namespace, room),
            ]
        bounds = [int(self.bounds.retention * 1000), self.bounds.log, self.bounds.log_bytes]
        channels = [channel for _, channel in sent.rooms]
        answer = self._commands.run(EMIT, keys, [sent.number, *bounds, sent.letter, *channels])
        if answer.done():
            return False
        answer.add_done_callback(lambda done: self._answered(sent, done))
        return True

    def _answered(self, sent: _Sent, answer: asyncio.Future[Any]) -> None:
        error = None if answer.cancelled() else answer.exception()
        if answer.cancelled() or isinstance(error, RedisAway):
            return  # it is still held
        if is_passing(error):
            sent.refused = True
            self._flowing = False
            self._complaints.say("redis has no room for events: they are held", reason=str(error))
            return
        if sent.done.done():
            return
        while self._held:  # answers come in order
            first = self._held.popleft()
            self._bytes -= len(first.letter)
            if first is sent:
                break
            if first.refused:  # and what came behind it was not: it is too late now
                self._lose(first)
            else:
                self._keep(first)
        if isinstance(error, RedisError):
            self._complaints.say("redis refused an event", namespace=sent.namespace, reason=str(error))
            self._lose(sent)
        else:
            sent.offset = int(answer.result() or 0)
            self._keep(sent)

    def _keep(self, sent: _Sent) -> None:
        now = sent.at = self._clock()
        if not sent.done.done():
            sent.done.set_result(None)
        self._kept.append(sent)
        self._kept_bytes += len(sent.letter)
        while self._kept and (
            self._kept[0].at < now - self.bounds.memory
            or len(self._kept) > self.bounds.messages
            or self._kept_bytes > self.bounds.bytes
        ):
            self._kept_bytes -= len(self._kept.popleft().letter)

    def _lose(self, sent: _Sent) -> None:
        self.gave_up.add(sent.namespace)
        self.counters["lost"] += 1
        if not sent.done.done():
            sent.done.set_exception(RedisAway("it was given up"))
