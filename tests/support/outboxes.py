"""Outboxes whose socket writes nowhere."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from server.realtime.engine import frames
from server.realtime.engine.frames import Packet
from server.realtime.engine.outbox import Outbox
from server.realtime.engine.outlet import Outlet


class Reader:
    def __init__(self) -> None:
        self.full: list[str] = []

    def on_overflow(self) -> None:
        self.full.append("full")


class Wire(asyncio.WriteTransport):
    """What a socket was told to send; `stuck` keeps it all in the buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stuck = False
        self.closing = False

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.writes)) if self.stuck else 0

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)


def outbox(outlet: Outlet | None = None, *, most: int = 100, most_bytes: int = 10_000) -> tuple[Outbox, list[str]]:
    reader = Reader()
    return Outbox(outlet or Outlet(most=most, most_bytes=most_bytes), reader), reader.full


def framed(*texts: str) -> bytes:
    return b"".join(frames.message(text).frame for text in texts)


def tick(seq: int, key: str = "A") -> Packet:
    """One that counts what it replaced."""
    return frames.message(f'2/x,["tick",{{"seq":{seq}}}]', volatile=True, key=key, counts=True)


def told(packet: Packet) -> dict[str, Any]:
    """An event's payload."""
    text = packet.parts[0]
    assert isinstance(text, str)
    payload: dict[str, Any] = json.loads(text[text.index("[") :])[1]
    return payload
