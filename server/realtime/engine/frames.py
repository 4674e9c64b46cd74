"""One packet, encoded at most once for each kind of transport, however many receive it. Pure."""

from __future__ import annotations

import base64

from server.realtime.engine import protocol

_TEXT, _BINARY = 0x81, 0x82  # RFC 6455 §5.2: FIN and the opcode


class Packet:
    """`data` is the packet's text with its type, or a message's bytes."""

    __slots__ = ("_frame", "_polled", "data")

    def __init__(self, data: str | bytes) -> None:
        self.data = data
        self._frame: bytes | None = None
        self._polled: str | None = None

    @property
    def frame(self) -> bytes:
        """A whole websocket frame."""
        if self._frame is None:
            self._frame = frame(self.data)
        return self._frame

    @property
    def polled(self) -> str:
        """As a part of a polling payload."""
        if self._polled is None:
            self._polled = self.data if isinstance(self.data, str) else f"b{base64.b64encode(self.data).decode()}"
        return self._polled


PING = Packet(protocol.PING)
NOOP = Packet(protocol.NOOP)
CLOSE = Packet(protocol.CLOSE)


def message(data: str | bytes) -> Packet:
    return Packet(f"{protocol.MESSAGE}{data}" if isinstance(data, str) else data)


def frame(data: str | bytes) -> bytes:
    """An unmasked frame, as servers send them: the length takes 1, 3 or 9 bytes (RFC 6455 §5.2)."""
    opcode, body = (_TEXT, data.encode()) if isinstance(data, str) else (_BINARY, data)
    size = len(body)
    if size < 126:
        return bytes((opcode, size)) + body
    if size < 65_536:
        return bytes((opcode, 126)) + size.to_bytes(2, "big") + body
    return bytes((opcode, 127)) + size.to_bytes(8, "big") + body


def payload(packets: list[Packet]) -> str:
    """The body of a poll's response."""
    return protocol.SEPARATOR.join(packet.polled for packet in packets)
