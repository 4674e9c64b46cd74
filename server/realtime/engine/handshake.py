"""The opening handshake of a websocket: what a client must send, and what is agreed. Pure.

Sources: RFC 6455 §4.2, RFC 7692 §5.1 and §7.1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from server.realtime.engine import protocol

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_DEFLATE = "permessage-deflate"
_NEVER_KEEPS = "client_no_context_takeover"
_FULL_WINDOW = "15"
_WINDOW_BITS = frozenset(map(str, range(8, 16)))


@dataclass(frozen=True, slots=True)
class Agreement:
    """`response` is the whole answer, status line and headers."""

    response: bytes
    deflate: bool


def agree(method: str, headers: Mapping[str, str], *, offer_deflate: bool = True) -> Agreement:
    """Raises Refused."""
    key = headers.get("Sec-WebSocket-Key", "")
    if (
        method != "GET"
        or headers.get("Upgrade", "").lower() != "websocket"
        or "upgrade" not in headers.get("Connection", "").lower()
        or headers.get("Sec-WebSocket-Version", "") != "13"
        or not _is_key(key)
    ):
        raise protocol.bad_request()
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    if (subprotocol := _first_subprotocol(headers.get("Sec-WebSocket-Protocol", ""))) is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    deflate = _deflate(headers.get("Sec-WebSocket-Extensions", "")) if offer_deflate else None
    if deflate is not None:
        lines.append(f"Sec-WebSocket-Extensions: {deflate}")
    return Agreement("\r\n".join((*lines, "", "")).encode(), deflate is not None)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _first_subprotocol(offered: str) -> str | None:
    """As Node's server: the client's favourite; they mean nothing here."""
    first = offered.partition(",")[0].strip()
    return first if _TOKEN.fullmatch(first) else None


def _deflate(offered: str) -> str | None:
    """What to answer to the first offer that can be met.

    Always that the client starts each message with an empty window, so that none is kept for it. This side keeps none
    either, without saying so. It writes with the full window: a client that cannot read it gets no deflate.
    """
    for offer in offered.split(",")[:10]:
        name, *parameters = [part.strip() for part in offer.split(";")]
        values = dict(parameter.replace('"', "").partition("=")[::2] for parameter in parameters)
        if name != _DEFLATE or len(values) != len(parameters):
            continue
        agreed = [_DEFLATE, _NEVER_KEEPS]
        for parameter, value in values.items():
            match parameter, value:
                case ("server_no_context_takeover", ""):
                    agreed.append(parameter)
                case ("server_max_window_bits", bits) if bits == _FULL_WINDOW:
                    agreed.append(f"{parameter}={bits}")
                case ("client_no_context_takeover", ""):
                    pass
                case ("client_max_window_bits", bits) if bits == "" or bits in _WINDOW_BITS:
                    pass
                case _:
                    break
        else:
            return "; ".join(agreed)
    return None
