"""Socket.IO packets. What comes in is held to protocol v5: what is not one raises before anything acts on it.

Source: the Socket.IO protocol, https://socket.io/docs/v4/socket-io-protocol/
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from socketio import packet as wire

from server.realtime import json_codec
from server.realtime.json_codec import PayloadRefused

MAX_ATTACHMENTS = 10  # as Node's parser
MAX_ID_DIGITS = 16

_EVENT = re.compile(rf"2(?:(/[^,?]*),)?([0-9]{{0,{MAX_ID_DIGITS}}})(?=\[)")


class MalformedPacket(ValueError):
    """The peer does not speak Socket.IO: its connection is closed, as Node does."""


class UnusablePacket(Exception):
    """An EVENT whose header is right and whose payload is refused: the sender gets an error and stays."""

    def __init__(self, message: str, namespace: str, ack_id: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.namespace = namespace
        self.ack_id = ack_id


def plain_event(text: str | bytes) -> tuple[str, int | None, list[Any]] | None:
    """Namespace, ack id and payload of an EVENT, the most common packet by far, in a third of the time that `Packet`
    takes. None for everything else, and for what is wrong: `Packet` says what it is."""
    if isinstance(text, bytes) or (head := _EVENT.match(text)) is None:
        return None
    namespace, digits = head.groups()
    try:
        data = json_codec.loads(text[head.end() :])
    except ValueError:
        return None
    if not data or type(data[0]) is not str:
        return None
    return namespace or "/", int(digits) if digits else None, data


def encode(kind: int, namespace: str, data: object = None, id: int | None = None) -> tuple[str | bytes, ...]:
    """The packet's text, and its attachments. Raises TypeError for data that is not JSON and bytes."""
    try:
        body = "" if data is None else orjson.dumps(data).decode()
    except TypeError:  # there are bytes in it: python-socketio takes them apart
        encoded = Packet(kind, data=data, namespace=namespace, id=id).encode()
        return tuple(encoded) if isinstance(encoded, list) else (encoded,)
    prefix = "" if namespace == "/" else f"{namespace},"
    return (f"{kind}{prefix}{'' if id is None else id}{body}",)


def with_offset(parts: tuple[str | bytes, ...], offset: str) -> tuple[str | bytes, ...]:
    """An encoded event with one argument more, its last: for clients that asked for recovery."""
    text, *attachments = parts
    if not isinstance(text, str):
        raise TypeError("no packet")
    return (f'{text[:-1]},"{offset}"]', *attachments)


class Packet(wire.Packet):  # type: ignore[misc] # python-socketio is untyped
    json = json_codec

    def decode(self, encoded_packet: object) -> int:
        """The attachment count. Raises MalformedPacket or UnusablePacket."""
        if not isinstance(encoded_packet, str):
            raise MalformedPacket("binary data where a packet belongs")
        kind = encoded_packet[:1]
        if kind not in {"0", "1", "2", "3", "5", "6"}:
            raise MalformedPacket("no packet type a client may send")
        self.packet_type = int(kind)
        rest = encoded_packet[1:]
        attachments = 0
        if self.packet_type in (wire.BINARY_EVENT, wire.BINARY_ACK):
            count, dash, rest = rest.partition("-")
            if not dash or not _is_number(count, 2) or not 0 < int(count) <= MAX_ATTACHMENTS:
                raise MalformedPacket("attachment count")
            attachments = int(count)
        self.namespace = None
        if rest.startswith("/"):
            self.namespace, _, rest = rest.partition(",")
            self.namespace = self.namespace.partition("?")[0]
        digits = len(rest) - len(rest.lstrip("0123456789"))
        self.id = None
        if digits:
            if not _is_number(rest[:digits], MAX_ID_DIGITS):
                raise MalformedPacket("ack id")
            self.id = int(rest[:digits])
        self.data = self._load(rest[digits:])
        self._check_shape()
        return attachments

    def add_attachment(self, attachment: object) -> bool:
        if not isinstance(attachment, bytes | bytearray):
            raise MalformedPacket("text where an attachment belongs")
        if len(self.attachments) + 1 == self.attachment_count and not _placeholders_fit(
            self.data, self.attachment_count
        ):
            raise MalformedPacket("attachment placeholders")
        try:
            return bool(super().add_attachment(attachment))
        except (ValueError, LookupError, TypeError) as error:
            raise MalformedPacket("attachment placeholders") from error

    def _load(self, text: str) -> Any:
        if not text:
            return None
        try:
            return self.json.loads(text)
        except PayloadRefused as error:
            if self.packet_type in (wire.EVENT, wire.BINARY_EVENT):
                raise UnusablePacket(str(error), self.namespace or "/", self.id) from None
            raise MalformedPacket(str(error)) from None
        except ValueError as error:
            raise MalformedPacket("payload is not JSON") from error

    def _check_shape(self) -> None:
        if self.packet_type == wire.CONNECT:
            valid = self.id is None and isinstance(self.data, dict | None)
        elif self.packet_type == wire.DISCONNECT:
            valid = self.id is None and self.data is None
        elif self.packet_type in (wire.EVENT, wire.BINARY_EVENT):
            valid = isinstance(self.data, list) and bool(self.data) and isinstance(self.data[0], str)
        else:
            valid = isinstance(self.data, list) and self.id is not None
        if not valid:
            raise MalformedPacket("payload shape")


def _placeholders_fit(data: object, count: int) -> bool:
    """Python would take -1 for the last, and True for the second."""
    if isinstance(data, list):
        return all(_placeholders_fit(each, count) for each in data)
    if not isinstance(data, dict):
        return True
    if data.get("_placeholder") is True:
        number = data.get("num")
        return type(number) is int and 0 <= number < count
    return all(_placeholders_fit(each, count) for each in data.values())


def _is_number(text: str, max_digits: int) -> bool:
    return 0 < len(text) <= max_digits and text.isascii() and text.isdigit()
