"""What the server remembers of each channel: its counter, its epoch, its newest messages. Who hears them is not here.

A log is a channel of one tenant. Where a class is shared, a tenant's log begins as a copy of the one outside any
tenant, and follows it from then on, by its own counter.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Self

import orjson

from server.errors import LimitExceeded
from server.namespaces.trading.catalogue import ChannelClass
from server.namespaces.trading.schemas import Since
from server.realtime import rooms
from server.realtime.delivery import Conflation
from server.timestamps import iso_utc

MAX_LOG_BYTES = 1024 * 1024  # what one subscription's ack may carry
MAX_TOTAL_BYTES = 64 * 1024 * 1024
EVICTION_TRIES = 32  # a search through all channels, for each new one, would stop everybody else
MAX_VALUES = 1000  # of the field that a class is conflated by, in one channel
MAX_FOLLOWED = 1000  # channels that a subscriber of a whole class is told of
COPY_IDLE_SECONDS = 300  # a tenant's copy that nobody listened to for so long is not worth following


@dataclass(frozen=True, slots=True)
class Message:
    """`payload` is the event's; `at` on the clock of its log; `size` in bytes of JSON, 0 if it is not kept; `value` is
    what newer ones replace, as `value_of`."""

    seq: int
    type: str
    payload: Mapping[str, object]
    at: float
    size: int
    value: str = ""

    def to_wire(self) -> dict[str, object]:
        return {"type": self.type, **self.payload}


def new_epoch() -> str:
    return secrets.token_hex(8)


def conflation(kind: ChannelClass, channel: str, body: Mapping[str, object]) -> Conflation | None:
    """What a message is a newer version of, for classes that want only the newest."""
    if kind.conflate_key is None:
        return None
    return Conflation((channel, value_of(kind, body)), 1 / kind.conflate_rate if kind.conflate_rate else 0.0)


def value_of(kind: ChannelClass, body: Mapping[str, object]) -> str:
    """Of the field that a class is conflated by."""
    data = body.get("data")
    return str(data.get(kind.conflate_key)) if kind.conflate_key is not None and isinstance(data, Mapping) else ""


def room(tenant: str | None, channel: str) -> str:
    """Who subscribed."""
    return rooms.room_name(tenant, "channel", channel)


def wildcard_room(tenant: str | None, kind: ChannelClass) -> str:
    """Who subscribed to all channels of a class: no channel's name holds a `*`."""
    return room(tenant, kind.pattern.text)


def group_room(tenant: str | None, channel: str) -> str:
    """All connections of the members of a group's channel; each enters it at connect."""
    return rooms.room_name(tenant, "group", channel)


def audience(tenant: str | None, channel: str, kind: ChannelClass) -> tuple[str, ...]:
    """Whom a message reaches: the subscribers, and all connections of an owner or of a group's members, subscribed or
    not."""
    subscribed = room(tenant, channel)
    name = kind.owner(channel)
    if name is not None and kind.personal:
        return (rooms.user_room(tenant, name), subscribed)
    if name is not None and kind.group:
        return (group_room(tenant, channel), subscribed)
    if kind.wildcard:
        return (subscribed, wildcard_room(tenant, kind))
    return (subscribed,)


class ChannelLog:
    """The messages held are always the newest in a row: whatever is dropped, the oldest goes first. Of a conflated
    class they are the newest of each value: once there are several, who saw a message may yet miss one before it.

    The epoch is this log's alone. A channel that is forgotten and returns has another, so that a `since` from before
    can never pass for one of now.
    """

    def __init__(self, tenant: str | None, channel: str, kind: ChannelClass, seq: int = 0) -> None:
        """`seq` of the message before its first."""
        self.tenant = tenant
        self.channel = channel
        self.kind = kind
        self.epoch = new_epoch()
        self.seq = seq
        self.bytes = 0
        self.used_at = 0.0
        self._value: str | None = None  # of its first message
        self._is_mixed = False  # others had another
        self._held: dict[int, Message] = {}  # by seq, oldest first
        self._seqs: dict[str, deque[int]] = {}  # of those, by value

    def append(self, event: str, body: Mapping[str, object], now: float) -> Message:
        self.seq += 1
        payload = {"channel": self.channel, "seq": self.seq, "timestamp": iso_utc(), **body}
        size = len(orjson.dumps(payload)) if self.kind.history_count else 0
        value = value_of(self.kind, body)
        self._is_mixed = self._is_mixed or self._value not in (None, value)
        self._value = value
        message = Message(self.seq, event, payload, now, size, value)
        self._held[self.seq] = message
        seqs = self._seqs.setdefault(value, deque())
        seqs.append(self.seq)
        self.bytes += size
        if len(seqs) > self.kind.history_count:
            self._drop(seqs[0])
        self._trim(now)
        return message

    def held(self, now: float) -> list[Message]:
        """Oldest first."""
        self._trim(now)
        return list(self._held.values())

    def after(self, since: Since, now: float) -> list[Message] | None:
        """Every message after `since`, oldest first; None if one of them is not held any more, or never was."""
        missed = self.seq - since.seq
        held = self.held(now)
        if self._is_mixed or since.epoch != self.epoch or not 0 <= missed <= len(held):
            return None
        return held[len(held) - missed :]

    def copy(self, tenant: str) -> Self:
        copy = type(self)(tenant, self.channel, self.kind)
        copy.seq, copy.bytes, copy._held = self.seq, self.bytes, self._held.copy()
        copy._seqs = {value: seqs.copy() for value, seqs in self._seqs.items()}
        copy._value, copy._is_mixed = self._value, self._is_mixed
        return copy

    def clear(self) -> None:
        self._held.clear()
        self._seqs.clear()
        self.bytes = 0

    def _trim(self, now: float) -> None:
        oldest = now - self.kind.history_seconds
        while self._held:
            first = next(iter(self._held.values()))
            is_crowded = self.kind.conflate_key is not None and len(self._held) > MAX_VALUES
            if not is_crowded and self.bytes <= MAX_LOG_BYTES and first.at > oldest:
                return
            self._drop(first.seq)

    def _drop(self, seq: int) -> None:
        """The oldest of its value."""
        message = self._held.pop(seq)
        self.bytes -= message.size
        seqs = self._seqs[message.value]
        seqs.popleft()
        if not seqs:
            del self._seqs[message.value]


@dataclass(frozen=True, slots=True)
class ChannelState:
    """`held` messages of history, the newest of which was published `last_published` in seconds since the epoch;
    `subscribers` of the channel by its own name, on all nodes."""

    channel: str
    seq: int
    epoch: str
    subscribers: int
    held: int
    last_published: float | None


class ChannelLogs:
    """All logs, bounded in number and bytes. Those that nobody uses go first; one with subscribers never goes, though
    it may lose its history. `count` says how many are in a room here."""

    def __init__(
        self,
        count: Callable[[str], int],
        *,
        most: int = 10_000,
        most_bytes: int = MAX_TOTAL_BYTES,
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first`: what new logs count from."""
        self._count = count
        self._most = most
        self._most_bytes = most_bytes
        self._first = first
        self._clock = clock
        self._bytes = 0
        self._logs: OrderedDict[tuple[str | None, str], ChannelLog] = OrderedDict()  # least recently used first
        self._copies: dict[str, dict[str, ChannelLog]] = {}  # of shared channels: name -> tenant -> log
        self._followers: dict[str, set[str]] = {}  # tenants with subscribers of a whole shared class, by its pattern

    def __len__(self) -> int:
        return len(self._logs)

    def __contains__(self, log: ChannelLog) -> bool:
        return self._logs.get((log.tenant, log.channel)) is log

    @property
    def bytes(self) -> int:
        return self._bytes

    def open(self, tenant: str | None, channel: str, kind: ChannelClass) -> ChannelLog:
        """The channel's log, a new one if it has none. Raises LimitExceeded if every channel held has subscribers."""
        key = (tenant, channel)
        log = self._logs.get(key)
        if log is None:
            log = self._new(tenant, channel, kind)
            self._logs[key] = log
            self._bytes += log.bytes
            if kind.shared and tenant is not None:
                self._copies.setdefault(channel, {})[tenant] = log
        self._logs.move_to_end(key)
        log.used_at = self._clock()
        return log

    def append(self, log: ChannelLog, event: str, body: Mapping[str, object]) -> Message:
        with _Counted(self, log):
            message = log.append(event, body, self._clock())
        if self._bytes > self._most_bytes:
            self._free()
        return message

    def held(self, log: ChannelLog) -> list[Message]:
        with _Counted(self, log):
            return log.held(self._clock())

    def after(self, log: ChannelLog, since: Since) -> list[Message] | None:
        with _Counted(self, log):
            return log.after(since, self._clock())

    def copies(self, log: ChannelLog) -> list[ChannelLog]:
        """The tenants' logs that follow this one. To be asked before it gets a message: a new one begins as it is."""
        if log.tenant is not None:
            return []
        for tenant in list(self._followers.get(log.kind.pattern.text, ())):
            if self._count(wildcard_room(tenant, log.kind)):
                self.open(tenant, log.channel, log.kind)
            else:
                self._followers[log.kind.pattern.text].discard(tenant)
        if log.channel not in self._copies:
            return []
        stale = self._clock() - COPY_IDLE_SECONDS
        for copy in list(self._copies[log.channel].values()):
            if copy.used_at <= stale and not self._in_use(copy):
                self._forget(copy)
        return list(self._copies.get(log.channel, {}).values())

    def follow(self, tenant: str | None, kind: ChannelClass) -> list[ChannelLog]:
        """All channels of a class, those used last first; of a shared one also those to come."""
        if kind.shared and tenant is not None:
            self._followers.setdefault(kind.pattern.text, set()).add(tenant)
            for original in self._of(None, kind)[:MAX_FOLLOWED]:
                self.open(tenant, original.channel, kind)
        return self._of(tenant, kind)[:MAX_FOLLOWED]

    def states(self, tenant: str | None, visible: Container[str], after: str, limit: int) -> list[ChannelState]:
        """By name."""
        names = sorted(name for of, name in self._logs if of == tenant and name > after and name in visible)
        return [state for name in names[:limit] if (state := self.state(tenant, name)) is not None]

    def state(self, tenant: str | None, channel: str) -> ChannelState | None:
        log = self._logs.get((tenant, channel))
        if log is None:
            return None
        held = self.held(log)
        ago = self._clock() - held[-1].at if held else None
        subscribers = self._count(room(tenant, channel))
        return ChannelState(
            channel, log.seq, log.epoch, subscribers, len(held), None if ago is None else time.time() - ago
        )

    def _of(self, tenant: str | None, kind: ChannelClass) -> list[ChannelLog]:
        return [each for each in reversed(self._logs.values()) if each.tenant == tenant and each.kind is kind]

    def _in_use(self, log: ChannelLog) -> bool:
        return any(map(self._count, audience(log.tenant, log.channel, log.kind)))

    def _new(self, tenant: str | None, channel: str, kind: ChannelClass) -> ChannelLog:
        if len(self._logs) >= self._most:
            self._evict()
        original = self._logs.get((None, channel)) if kind.shared else None
        if original is None or tenant is None:
            return ChannelLog(tenant, channel, kind, self._first)
        return original.copy(tenant)

    def _evict(self) -> None:
        for _ in range(min(EVICTION_TRIES, len(self._logs))):
            log = next(iter(self._logs.values()))
            if not self._in_use(log):
                self._forget(log)
                return
            # So that the next search does not begin with it again.
            self._logs.move_to_end((log.tenant, log.channel))
        raise LimitExceeded("There are too many channels")

    def _forget(self, log: ChannelLog) -> None:
        del self._logs[log.tenant, log.channel]
        self._bytes -= log.bytes
        if log.tenant is not None and (copies := self._copies.get(log.channel)) is not None:
            copies.pop(log.tenant, None)
            if not copies:
                del self._copies[log.channel]

    def _free(self) -> None:
        """Well below the bound, so that it is not done for every message."""
        for log in self._logs.values():
            if self._bytes <= self._most_bytes * 3 // 4:
                return
            self._bytes -= log.bytes
            log.clear()


class _Counted:
    """Keeps the total in step with what happens to one log."""

    def __init__(self, logs: ChannelLogs, log: ChannelLog) -> None:
        self._logs = logs
        self._log = log

    def __enter__(self) -> None:
        self._before = self._log.bytes

    def __exit__(self, *_: object) -> None:
        self._logs._bytes += self._log.bytes - self._before
