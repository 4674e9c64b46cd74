"""The wire shapes of /trading: what clients send, and what a tick looks like. Who may send them is not checked here.

A published message arrives as the event that its `type` names: `{channel, seq, timestamp, data}`. What was published
stays under `data`, whatever its kind, so that no field of it can pass for the server's `seq` or `channel`. In
`snapshot` and `messages` of a subscription's ack each message has its `type` beside these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from marshmallow import ValidationError, fields, post_load, validate

from server.realtime import json_codec
from server.realtime.schema import Count, Identifier, Payload, Text

MAX_MESSAGE_CHARS = 4000

#: Events that mean something else to clients, here or in Socket.IO or on a plain WebSocket.
RESERVED_TYPES = frozenset(
    {
        "ack",
        "authenticate",
        "channel_info",
        "chat_message",
        "client_info",
        "connect",
        "connect_error",
        "connected",
        "disconnect",
        "disconnecting",
        "disconnecting_reason",
        "error",
        "ping",
        "pong",
        "presence",
        "publish",
        "request_expired",
        "server_draining",
        "stats",
        "subscribe",
        "subscription_result",
        "token_expiring",
        "unsubscribe",
        "unsubscribed",
    }
)
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Since(NamedTuple):
    """The last message a client saw of a channel."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Tick:
    """One trade. Prices in the market's currency; `change` is against the previous close, `volume` this trade's
    shares, `time` as `timestamps.iso_utc`."""

    symbol: str
    name: str
    price: int | float
    change: int | float
    volume: int
    time: str

    def to_wire(self) -> dict[str, object]:
        return {
            "symbol": self.symbol,
            "name": self.name,
            "price": self.price,
            "change": self.change,
            "volume": self.volume,
            "time": self.time,
        }


WILDCARD = "*"
NO_WILDCARD = f"May not contain `{WILDCARD}`."


class Subscribed(Identifier):
    """A channel's name, or a pattern that stands for all channels of a class. An empty one is as good as none."""

    def deserialize(
        self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        return super().deserialize(None if value == "" and self.allow_none else value, attr, data, **kwargs)


class ChannelName(Subscribed):
    """`*` belongs to patterns, not to names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators.append(validate.ContainsNoneOf(WILDCARD, error=NO_WILDCARD))


class _Since(Payload):
    epoch = Text(most=100, required=True)
    seq = Count(required=True)

    @post_load
    def _value(self, loaded: dict[str, Any], **_: Any) -> Since:
        return Since(**loaded)


class Subscribe(Payload):
    channel = Subscribed(allow_none=True, load_default=None)
    since = fields.Nested(_Since, allow_none=True, load_default=None)


class Unsubscribe(Payload):
    channel = Subscribed(allow_none=True, load_default=None)


def _event_name(value: str) -> None:
    if _TYPE.fullmatch(value) is None:
        raise ValidationError("Must be lower-case letters, digits and `_`, at most 64, a letter first.")
    if value in RESERVED_TYPES:
        raise ValidationError("This name is reserved.")


class Message(Payload):
    """`idempotency_key`: what has the same again, of one user on one channel, is not published again."""

    type = fields.String(load_default="message", validate=_event_name, metadata={"pattern": f"^{_TYPE.pattern}$"})
    data = fields.Raw(required=True, allow_none=True)
    idempotency_key = Identifier(allow_none=True, load_default=None)


class Publish(Message):
    channel = ChannelName(required=True)


class ChatMessage(Payload):
    """`client_id`: what the client calls itself; who says it is not taken from there."""

    channel = ChannelName(load_default="general")
    message = Text(most=MAX_MESSAGE_CHARS, required=True)
    client_id = Identifier(allow_none=True, load_default=None)


class Channel(Payload):
    channel = ChannelName(required=True)


class Client(Payload):
    client_id = Identifier(required=True)


def published(channel: str, message: bytes) -> tuple[str, object]:
    """Event and data of what was published on Redis: `{type?, data}`, or an object that is itself the data. Raises
    ValueError, TypeError and ValidationError."""
    told = json_codec.loads(message)
    if not isinstance(told, dict):
        raise TypeError("no object")
    data = told.get("data", told)
    loaded = Publish().load({"channel": channel, "type": told.get("type", "message"), "data": data})
    return loaded["type"], data
