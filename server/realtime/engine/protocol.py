"""Engine.IO packets and payloads as text and bytes, and the server's refusals; no I/O, no state.

Source: the Engine.IO protocol v4, https://socket.io/docs/v4/engine-io-protocol/
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"

BASE64 = "b"

SEPARATOR = "\x1e"
PROBE = "probe"
VERSION = "4"

#: Close codes of a websocket (SPEC §1, RFC 6455 §7.4.1).
NORMAL, GOING_AWAY, PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1000, 1001, 1002, 1007, 1009
POLICY = 1008
TRY_LATER, HEARTBEAT_LOST, TOO_SLOW, SESSION_REPLACED = 1013, 4003, 4008, 4009


class Malformed(ValueError):
    """What came is not Engine.IO: its session is closed."""


class TooBig(ValueError):
    """A message over its limit: its session is closed."""


class Refused(Exception):
    """An HTTP request that no session serves. `code` is the protocol's, as Node numbers them."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def transport_unknown() -> Refused:
    return Refused(0, "Transport unknown")


def session_unknown() -> Refused:
    return Refused(1, "Session ID unknown")


def bad_method() -> Refused:
    return Refused(2, "Bad handshake method")


def bad_request() -> Refused:
    return Refused(3, "Bad request")


def too_large() -> Refused:
    return Refused(3, "Payload too large", status=413)


def unavailable() -> Refused:
    return Refused(4, "Server full", status=503)


def version_unsupported() -> Refused:
    return Refused(5, "Unsupported protocol version")


def check_handshake(method: str, query: Mapping[str, str], transports: tuple[str, ...]) -> None:
    """Raises Refused unless this request may open a session."""
    if query.get("transport") not in transports:
        raise transport_unknown()
    if query.get("EIO") != VERSION:
        raise version_unsupported()
    if method != "GET":
        raise bad_method()


def decode_payload(body: str) -> list[str | bytes]:
    """The packets of a POST: text with its type, messages of bytes as they are. Raises Malformed."""
    return [_unpack(packet) for packet in body.split(SEPARATOR)]


def decode_base64(packet: str) -> bytes:
    """Bytes as text, in payloads and from clients that say everything as text. Raises Malformed."""
    try:
        return base64.b64decode(packet[1:], validate=True)
    except ValueError as error:
        raise Malformed("base64") from error


def _unpack(packet: str) -> str | bytes:
    if packet.startswith(BASE64):
        return decode_base64(packet)
    if packet[:1] not in (CLOSE, PONG, MESSAGE):
        raise Malformed("packet type")
    return packet
