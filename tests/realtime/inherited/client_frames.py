"""Websocket frames as clients send them, right and wrong (RFC 6455 §5.2). Pure."""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def masked(payload: str | bytes, *, opcode: int | None = None, final: bool = True) -> bytes:
    """A frame as clients send them (RFC 6455 §5.2)."""
    if opcode is None:
        opcode = TEXT if isinstance(payload, str) else BINARY
    body = payload.encode() if isinstance(payload, str) else payload
    head = bytes([opcode | (0x80 if final else 0)])
    if len(body) < 126:
        head += bytes([0x80 | len(body)])
    elif len(body) < 65_536:
        head += struct.pack("!BH", 0x80 | 126, len(body))
    else:
        head += struct.pack("!BQ", 0x80 | 127, len(body))
    return head + b"\0\0\0\0" + body  # masked by zeros
