"""How plain WebSocket clients say and hear events: `{"type": T, ...}`. Pure; what the types mean is their namespaces'.

Source: SPEC §1, the mapping of plain WebSocket.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.timestamps import iso_utc

MOST_ECHOED = 100  # characters of an event's name

_PACKET = re.compile(r"42(?:/[^,?]*,)?[0-9]*(?=\[)")
_NOTHING: Mapping[str, Any] = {}

Fields = Mapping[str, Any]
Message = tuple[str, Fields]  # its type, and the rest
Telling = Callable[[Fields], Message | None]
Replying = Callable[[Fields, Fields], Message | None]


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """Names of one kind of client where they are not the events' own: what it sends as `events` and their `fields`,
    what it hears as `types`, and how an event's ack is called in `replies` (None: it has its answer another way).

    Where a name is not enough there is a pure function: of an event's payload, or of an event's fields and its ack. It
    returns None for what such clients do not hear. With `pings` they are pinged, and answer, by messages; else by
    control frames, which every WebSocket library answers by itself. With `control_pongs` too they are pinged both ways,
    and either answer will do.
    """

    events: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    fields: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    types: Mapping[str, str | Telling] = field(default_factory=lambda: _NOTHING)
    replies: Mapping[str, str | Replying | None] = field(default_factory=lambda: _NOTHING)
    pings: bool = False
    control_pongs: bool = False

    def heard(self, kind: str, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The event that such a client means."""
        return self.events.get(kind, kind), {self.fields.get(name, name): value for name, value in payload.items()}

    def told(self, packet: str) -> str | None:
        """An encoded Socket.IO event as a client hears it; None for what has no meaning here."""
        head = _PACKET.match(packet)
        if head is None:
            return None
        event, *arguments = orjson.loads(packet[head.end() :])
        payload = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        kind = self.types.get(event, event)
        if isinstance(kind, str):
            return _encode(kind, payload)
        message = kind(payload)
        return None if message is None else _encode(*message)

    def say(self, event: str, payload: Mapping[str, Any]) -> str:
        """What is this client's alone, and never but a name away from an event."""
        kind = self.types.get(event)
        return _encode(kind if isinstance(kind, str) else event, payload)

    def reply(self, event: str, said: Mapping[str, Any], result: Mapping[str, Any]) -> str | None:
        """An ack to what was `said`. A pong is an event besides, so it needs none."""
        kind = self.replies.get(event, None if event == "ping" else "ack")
        if kind is not None and not isinstance(kind, str):
            message = kind(said, result)
            return None if message is None else _encode(*message)
        if result.get("ok") is False:
            return _encode(*failure(event, result))
        if kind is None:
            return None
        rest = {name: value for name, value in result.items() if name != "ok"}
        return _encode(kind, {"event": event[:MOST_ECHOED], "ok": True, **rest} if kind == "ack" else rest)


def failure(event: str, result: Mapping[str, Any]) -> Message:
    """An ack that is none."""
    return "error", {"event": event[:MOST_ECHOED], **result["error"]}


def _encode(kind: str, payload: Mapping[str, Any]) -> str:
    """A payload's own `type` would make it another message."""
    message = {"type": kind, **payload}
    message["type"] = kind
    if "timestamp" not in message:
        message["timestamp"] = iso_utc()
    return orjson.dumps(message).decode()
