"""The bytes of a client's websocket as messages: frames, fragments, masks, deflate. Sans-I/O.

Sources: RFC 6455 §5 (framing), RFC 7692 §7.2.2 (permessage-deflate).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from server.realtime.engine.frames import BINARY, TEXT
from server.realtime.engine.protocol import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG
from server.realtime.engine.seams import unmask

_CONTINUATION, _CLOSE, _PING, _PONG = 0x0, 0x8, 0x9, 0xA
_MOST_CONTROL = 125
_WHOLE_TEXT, _MASKED = 0x80 | TEXT, 0x80
_DEFLATE_TAIL = b"\x00\x00\xff\xff"
_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))


class Broken(Exception):
    """The peer broke the protocol, or sent too much: the websocket ends with this close code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Ping:
    body: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """Of any ping."""


@dataclass(frozen=True, slots=True)
class Closing:
    """`code` is None where the peer gave none."""

    code: int | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A frame that says nothing by itself: a piece of a message."""


Message = str | bytes | Ping | Pong | Closing | Passed

_NOTHING = bytearray()  # never written to
_PASSED = Passed()
_PONGED = Pong()


class Reader:
    """`feed` it bytes, then take messages with `next` until it has none. Nothing beyond `most_bytes` of one message is
    ever held, deflated or not."""

    __slots__ = ("_buffer", "_deflate", "_held", "_most_bytes", "_opcode", "_position", "_squeezed")

    def __init__(self, most_bytes: int, *, deflate: bool = False) -> None:
        self._most_bytes = most_bytes
        self._deflate = deflate
        self._buffer = _NOTHING
        self._position = 0
        self._opcode = 0  # of the message whose fragments are held
        self._squeezed = False
        self._held: bytearray | None = None

    def feed(self, data: bytes) -> None:
        if self._buffer is _NOTHING:
            self._buffer = bytearray(data)
        else:
            del self._buffer[: self._position]
            self._buffer += data
        self._position = 0

    def only(self, data: bytes) -> str | None:
        """The text that these bytes are, where they are one short frame and nothing is held: nearly always. Else they
        are to be fed."""
        size = len(data) - 6
        if (
            not 0 <= size < 126
            or data[0] != _WHOLE_TEXT
            or data[1] != _MASKED | size
            or size > self._most_bytes
            or self._buffer is not _NOTHING
            or self._held is not None
        ):
            return None
        body = bytearray(data)
        del body[:6]
        unmask(data[2:6], body)
        return _text(body)

    def next(self) -> Message | None:
        """None until more is fed. Raises Broken; from then on it is of no use."""
        frame = self._frame()
        if frame is None:
            if self._position == len(self._buffer):
                self._buffer, self._position = _NOTHING, 0  # an idle connection holds no buffer
            return None
        final, squeezed, opcode, body = frame
        if opcode >= _CLOSE:
            return self._control(opcode, body)
        if opcode == _CONTINUATION:
            if self._held is None:
                raise Broken(PROTOCOL_ERROR, "a continuation of nothing")
            self._held += body
        elif self._held is not None:
            raise Broken(PROTOCOL_ERROR, "a message within another")
        elif final:
            return self._message(opcode, body, squeezed)
        else:
            self._opcode, self._squeezed, self._held = opcode, squeezed, body
        if not final:
            return _PASSED
        whole, self._held = self._held, None
        return self._message(self._opcode, whole, self._squeezed)

    def _frame(self) -> tuple[bool, bool, int, bytearray] | None:
        """FIN, RSV1, opcode and unmasked payload of the next frame that is complete."""
        buffer, start = self._buffer, self._position
        have = len(buffer) - start
        if have < 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        opcode = first & 0x0F
        squeezed = self._check_header(first, second, opcode)
        size = second & 0x7F
        body = start + 6
        if size == 126:
            if have < 4:
                return None
            size = int.from_bytes(buffer[start + 2 : start + 4], "big")
            body = start + 8
        elif size == 127:
            if have < 10:
                return None
            size = int.from_bytes(buffer[start + 2 : start + 10], "big")
            body = start + 14
        held = 0 if self._held is None or opcode >= _CLOSE else len(self._held)
        if size + held > self._most_bytes:
            raise Broken(TOO_BIG, "a message over the limit")
        end = body + size
        if len(buffer) < end:
            return None
        self._position = end
        payload = buffer[body:end]
        unmask(bytes(buffer[body - 4 : body]), payload)
        return bool(first & 0x80), squeezed, opcode, payload

    def _check_header(self, first: int, second: int, opcode: int) -> bool:
        """Whether the frame begins a deflated message."""
        if not second & 0x80:
            raise Broken(PROTOCOL_ERROR, "an unmasked frame")
        if opcode > _PONG or 0x3 <= opcode < _CLOSE:
            raise Broken(PROTOCOL_ERROR, "an opcode that is not used")
        squeezed = bool(first & 0x40)
        if first & 0x30 or (squeezed and (not self._deflate or opcode not in (TEXT, BINARY))):
            raise Broken(PROTOCOL_ERROR, "a reserved bit")
        if opcode >= _CLOSE and (not first & 0x80 or second & 0x7F > _MOST_CONTROL):
            raise Broken(PROTOCOL_ERROR, "a control frame that is long or in pieces")
        return squeezed

    def _control(self, opcode: int, body: bytearray) -> Message:
        if opcode == _PING:
            return Ping(bytes(body))
        if opcode == _PONG:
            return _PONGED
        if not body:
            return Closing(None)
        code = int.from_bytes(body[:2], "big")
        if len(body) == 1 or code not in _CLOSE_CODES:
            raise Broken(PROTOCOL_ERROR, "a close code that is not used")
        _text(body[2:])
        return Closing(code)

    def _message(self, opcode: int, body: bytearray, squeezed: bool) -> str | bytes:
        if squeezed:
            body = bytearray(self._inflated(body))
        return _text(body) if opcode == TEXT else bytes(body)

    def _inflated(self, body: bytearray) -> bytes:
        """Clients agreed to start each message with an empty window: nothing is kept between messages."""
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            whole = inflate.decompress(body + _DEFLATE_TAIL, self._most_bytes + 1)
        except zlib.error:
            raise Broken(INVALID_DATA, "deflate") from None
        if len(whole) > self._most_bytes:
            raise Broken(TOO_BIG, "a message over the limit")
        return whole


def _text(body: bytearray) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Broken(INVALID_DATA, "text that is not UTF-8") from None
