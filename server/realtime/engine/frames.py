"""One message, encoded at most once for each kind of transport, however many receive it. No I/O."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Hashable, Sequence

import structlog

from server.realtime.engine import protocol
from server.realtime.engine.dialect import Dialect

log = structlog.get_logger(__name__)

_FIN, _DEFLATED = 0x80, 0x40  # RFC 6455 §5.2, RFC 7692 §6
TEXT, BINARY = 0x1, 0x2
CLOSE_OPCODE, PING_OPCODE, PONG_OPCODE = 0x8, 0x9, 0xA

#: Below the first, deflate gains nothing worth its time; above the second, it would hold up everybody else
#: (level 1 takes some 8 ms for a megabyte).
DEFLATE_FROM_BYTES, DEFLATE_TO_BYTES = 1024, 256 * 1024
DEFLATE_LEVEL = 1
_SHORT_TEXT = [bytes((_FIN | TEXT, size)) for size in range(126)]
_DEFLATE_TAIL = b"\x00\x00\xff\xff"  # RFC 7692 §7.2.1: cut off here, put back by the receiver


class Packet:
    """`parts` are Engine.IO packets, as text with its type or a message's bytes: a message and its attachments, which
    travel together or not at all.

    A `volatile` one is worthless once a newer one exists: who cannot take it in time does not get it. Of those with
    the same `key` only the newest waits; one that counts says how many others it replaced, in the object that is its
    event's.
    """

    __slots__ = (
        "_deflated",
        "_end",
        "_plain",
        "_polled",
        "_told",
        "counts",
        "frame",
        "key",
        "parts",
        "place",
        "replaced",
        "volatile",
    )

    def __init__(
        self, *parts: str | bytes, volatile: bool = False, key: Hashable | None = None, counts: bool = False
    ) -> None:
        self.counts = counts
        self.replaced = 0
        self._plain = self
        self.parts = parts
        self.volatile = volatile
        self.key = key
        self.place: tuple[str, Sequence[str]] | None = None  # the namespace and rooms it is for
        self.frame = frame(parts[0]) if len(parts) == 1 else b"".join(map(frame, parts))
        self._end = "}]"  # of the text, behind which `after` counts
        self._told: dict[Dialect, Packet | None] | None = None
        self._deflated: bytes | None = None
        self._polled: str | None = None

    @property
    def size(self) -> int:
        return len(self.frame)

    def after(self, older: Packet) -> Packet:
        """What to send of the two: this one, which may count the other and those that it replaced."""
        text = self._plain.parts[0]
        if not self.counts or not isinstance(text, str) or not text.endswith(self._end):
            return self
        replaced = self.replaced + 1 + older.replaced
        start = text[: -len(self._end)]
        packet = Packet(f'{start},"conflated":{replaced}{self._end}', volatile=True, key=self.key, counts=True)
        packet.replaced = replaced
        packet.place = self.place
        packet._plain, packet._end = self._plain, self._end
        return packet

    def told(self, dialect: Dialect) -> Packet | None:
        """An event as plain WebSocket clients of a dialect hear it, encoded once for all of them; None for what they
        do not hear, and for what their dialect fails at: no event is worth those of others."""
        if self._told is None:
            self._told = {}
        elif dialect in self._told:
            return self._told[dialect]
        text = self.parts[0]
        said = _said(dialect, text) if len(self.parts) == 1 and isinstance(text, str) else None
        told = None if said is None else Packet(said, volatile=self.volatile, key=self.key, counts=self.counts)
        if told is not None:
            told._end = "}"
            told.place = self.place
            told.replaced = self.replaced
            if self._plain is not self:  # this one counts already; what replaces another is to count once
                told._plain = self._plain.told(dialect) or told
        self._told[dialect] = told
        return told

    @property
    def deflated(self) -> bytes:
        """The frames for a peer that negotiated permessage-deflate: without a reference to earlier messages, so the
        same bytes are valid for all of them (RFC 7692 §7.1.1.1: a server may always start with an empty window)."""
        if self._deflated is None:
            self._deflated = b"".join(map(_deflated_frame, self.parts))
        return self._deflated

    @property
    def polled(self) -> str:
        """As a part of a polling payload."""
        if self._polled is None:
            self._polled = protocol.SEPARATOR.join(
                part if isinstance(part, str) else f"b{base64.b64encode(part).decode()}" for part in self.parts
            )
        return self._polled


def message(*parts: str | bytes, volatile: bool = False, key: Hashable | None = None, counts: bool = False) -> Packet:
    if len(parts) == 1 and isinstance(parts[0], str):
        return Packet(protocol.MESSAGE + parts[0], volatile=volatile, key=key, counts=counts)
    return Packet(
        *[protocol.MESSAGE + part if isinstance(part, str) else part for part in parts], volatile=volatile, key=key
    )


def _said(dialect: Dialect, text: str) -> str | None:
    try:
        return dialect.told(text)
    except Exception:
        log.exception("event not told", start=text[:50])
        return None


def frame(data: str | bytes) -> bytes:
    """An unmasked frame, as servers send them."""
    if isinstance(data, str):
        body = data.encode()
        size = len(body)
        return (_SHORT_TEXT[size] if size < 126 else _header(_FIN | TEXT, size)) + body
    return _header(_FIN | BINARY, len(data)) + data


def control(opcode: int, body: bytes = b"") -> bytes:
    return _header(_FIN | opcode, len(body)) + body


def close(code: int) -> bytes:
    return control(CLOSE_OPCODE, code.to_bytes(2, "big"))


def payload(packets: Sequence[Packet]) -> str:
    """The body of a poll's response."""
    return protocol.SEPARATOR.join(packet.polled for packet in packets)


def _header(first: int, size: int) -> bytes:
    """The length takes 1, 3 or 9 bytes."""
    if size < 126:
        return bytes((first, size))
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


def _deflated_frame(data: str | bytes) -> bytes:
    if not DEFLATE_FROM_BYTES <= len(data) <= DEFLATE_TO_BYTES:
        return frame(data)
    opcode, body = (TEXT, data.encode()) if isinstance(data, str) else (BINARY, data)
    deflate = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = (deflate.compress(body) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_DEFLATE_TAIL)
    return _header(_FIN | _DEFLATED | opcode, len(deflated)) + deflated


def ping() -> Packet:
    """Of RFC 6455, which every WebSocket library answers by itself."""
    packet = Packet("")
    packet.frame = packet._deflated = control(PING_OPCODE)
    return packet


CONTROL_PING = ping()
PING = Packet(protocol.PING)
NOOP = Packet(protocol.NOOP)
CLOSE = Packet(protocol.CLOSE)
