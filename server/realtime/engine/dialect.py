"""How plain WebSocket clients say and hear events: `{"type": T, ...}`. Pure; what the types mean is their namespaces'.

Source: SPEC §1, the mapping of plain WebSocket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.timestamps import iso_utc

_PACKET = re.compile(r"42(?:/[^,?]*,)?[0-9]*(?=\[)")
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """Names of one kind of client where they are not the events' own: what it sends as `events`, what it hears as
    `types`, and how an event's ack is called in `replies` (None: it has its answer another way). With `pings` it is
    pinged, and answers, by messages; else by control frames, which every WebSocket library answers by itself."""

    events: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    types: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    replies: Mapping[str, str | None] = field(default_factory=lambda: {"ping": None})
    pings: bool = False

    def told(self, packet: str) -> str | None:
        """An encoded Socket.IO event as a client hears it; None for what has no meaning here."""
        head = _PACKET.match(packet)
        if head is None:
            return None
        event, *arguments = orjson.loads(packet[head.end() :])
        payload = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        return self.say(event, payload)

    def say(self, event: str, payload: Mapping[str, Any]) -> str:
        message = {"type": self.types.get(event, event), **payload}
        if "timestamp" not in message:
            message["timestamp"] = iso_utc()
        return orjson.dumps(message).decode()

    def reply(self, event: str, result: Mapping[str, Any]) -> str | None:
        """An ack."""
        if result.get("ok") is False:
            return self.say("error", {"event": event, **result["error"]})
        kind = self.replies.get(event, "ack")
        if kind is None:
            return None
        rest = {name: value for name, value in result.items() if name != "ok"}
        return self.say(kind, {"event": event, "ok": True, **rest} if kind == "ack" else rest)
