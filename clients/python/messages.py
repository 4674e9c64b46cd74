"""Chat's messages as values, read from the wire. What the server says beside these fields is in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """`seq` is its place in the session, from 1 without gaps; `created_at` is ISO-8601, UTC."""

    session_id: str
    seq: int
    message_id: str
    sender_type: str
    sender_id: str
    content: str
    message_type: str = "text"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Message:
        return cls(
            session_id=str(wire["session_id"]),
            seq=int(wire["seq"]),
            message_id=str(wire["message_id"]),
            sender_type=str(wire.get("sender_type", "agent")),
            sender_id=str(wire.get("sender_id", "")),
            content=str(wire.get("content") or ""),
            message_type=str(wire.get("message_type", "text")),
            metadata=wire.get("metadata") or {},
            created_at=str(wire.get("created_at", "")),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message of one's own: it is stored."""

    client_message_id: str
    message_id: str
    seq: int
    created_at: str
