from __future__ import annotations

import pytest
from aiohttp._websocket.helpers import ws_ext_gen, ws_ext_parse
from multidict import CIMultiDict
from wsproto.extensions import PerMessageDeflate

from server.realtime.engine.handshake import Agreement, agree
from server.realtime.engine.protocol import Refused

GOOD = {
    "Host": "example.org",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455 §1.3
}
NEVER_KEEPS = "permessage-deflate; client_no_context_takeover"


def asked(**changed: str | None) -> Agreement:
    """Headers by their names, `_` for `-`; None takes one away."""
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    headers = {name: value for name, value in (GOOD | named).items() if value is not None}
    return agree("GET", CIMultiDict(headers))


def lines(agreed: Agreement) -> list[str]:
    head, end, rest = agreed.response.decode().partition("\r\n\r\n")
    assert (end, rest) == ("\r\n\r\n", "")
    return head.split("\r\n")


def extensions(offered: str) -> str | None:
    agreed = asked(Sec_WebSocket_Extensions=offered)
    found = [line.partition(": ")[2] for line in lines(agreed) if line.startswith("Sec-WebSocket-Extensions: ")]
    assert agreed.deflate == bool(found)
    return found[0] if found else None


def test_the_example_of_the_rfc() -> None:
    agreed = asked()
    assert lines(agreed) == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ]
    assert not agreed.deflate


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, Upgrade"},  # Firefox
        {"Connection": "upgrade"},  # nginx
    ],
)
def test_headers_as_browsers_and_proxies_send_them(changed: dict[str, str]) -> None:
    assert lines(asked(**changed)) == lines(asked())


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": "13, 8"},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAA"},  # 15 bytes
        {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAAA="},  # 17 bytes
        {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"},
        {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==\r\nX: y"},
        {"Sec_WebSocket_Key": "키" * 8},
        {"Sec_WebSocket_Key": "\udcff" * 24},  # header bytes that are no text
    ],
)
def test_requests_that_are_refused(changed: dict[str, str | None]) -> None:
    with pytest.raises(Refused) as caught:
        asked(**changed)
    assert caught.value.status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS"])
def test_only_a_get_can_become_a_websocket(method: str) -> None:
    with pytest.raises(Refused):
        agree(method, CIMultiDict(GOOD))


# -- permessage-deflate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("permessage-deflate; client_max_window_bits", NEVER_KEEPS),  # Chrome, ws, websockets
        ("permessage-deflate", NEVER_KEEPS),  # Firefox, OkHttp
        (ws_ext_gen(15), NEVER_KEEPS),
        (f"permessage-deflate; {PerMessageDeflate().offer()}", f"{NEVER_KEEPS}; server_max_window_bits=15"),
        ("permessage-deflate; client_max_window_bits=9", NEVER_KEEPS),
        ("permessage-deflate; client_no_context_takeover", NEVER_KEEPS),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            f"{NEVER_KEEPS}; server_no_context_takeover",
        ),
        ('permessage-deflate; server_max_window_bits="15"', f"{NEVER_KEEPS}; server_max_window_bits=15"),
        ("permessage-deflate;client_max_window_bits=15", NEVER_KEEPS),
        ("x-webkit-deflate-frame, permessage-deflate", NEVER_KEEPS),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", NEVER_KEEPS),
        ("permessage-deflate; unknown, permessage-deflate; client_max_window_bits", NEVER_KEEPS),
    ],
)
def test_offers_that_are_taken(offered: str, answered: str) -> None:
    assert extensions(offered) == answered


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-bzip2",
        ws_ext_gen(12),  # it could not read what is written with the full window
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate;",
        "permessage-deflate=1",
        "; permessage-deflate",
        "," * 10_000 + "permessage-deflate",
    ],
)
def test_offers_that_are_declined(offered: str) -> None:
    assert extensions(offered) is None


@pytest.mark.parametrize("bits", ["7", "16", "99", "-1", "x", "010", "²"])
def test_window_bits_of_the_client_that_do_not_exist(bits: str) -> None:
    assert extensions(f"permessage-deflate; client_max_window_bits={bits}") is None


@pytest.mark.parametrize("offered", ["permessage-deflate", "permessage-deflate; client_max_window_bits"])
def test_others_understand_the_answer(offered: str) -> None:
    answered = extensions(offered)
    assert ws_ext_parse(answered) == (15, True)  # aiohttp: the full window, and none kept
    theirs = PerMessageDeflate()
    theirs.finalize(answered or "")
    assert theirs.client_no_context_takeover
    assert (theirs.client_max_window_bits, theirs.server_max_window_bits) == (15, 15)


def test_a_server_without_compression_agrees_to_none() -> None:
    agreed = agree("GET", GOOD | {"Sec-WebSocket-Extensions": "permessage-deflate"}, offer_deflate=False)
    assert not agreed.deflate
    assert b"Extensions" not in agreed.response


# -- what a client writes is not written back ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("chat", "chat"),
        ("chat, superchat", "chat"),
        (" bearer.a-b_c~1 ,x", "bearer.a-b_c~1"),
        ("", None),
        (", chat", None),
        ("two words", None),
        ("a/b", None),
        ("채팅", None),
        ("x" * 101, None),
        ("chat\r\nSet-Cookie: a=b", None),
        ("chat\n", "chat"),
        ("chat\x00", None),
    ],
)
def test_subprotocols(offered: str, chosen: str | None) -> None:
    found = [line for line in lines(asked(Sec_WebSocket_Protocol=offered)) if "Protocol:" in line]
    assert found == ([] if chosen is None else [f"Sec-WebSocket-Protocol: {chosen}"])


@pytest.mark.parametrize(
    "offered",
    [
        "permessage-deflate; server_max_window_bits=15\r\nSet-Cookie: a=b",
        "permessage-deflate; client_max_window_bits=15\r\nSet-Cookie: a=b",
        "permessage-deflate; server_no_context_takeover\r\nSet-Cookie: a=b",
        "permessage-deflate\r\nSet-Cookie: a=b",
    ],
)
def test_no_extension_brings_a_header_of_its_own(offered: str) -> None:
    assert b"Cookie" not in asked(Sec_WebSocket_Extensions=offered).response
