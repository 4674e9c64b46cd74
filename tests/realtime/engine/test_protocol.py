from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine import frames, protocol
from server.realtime.engine.protocol import Malformed, Refused, check_handshake, decode_base64, decode_payload

GOOD = {"EIO": "4", "transport": "polling"}


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", {"EIO": "4"}, 0),
        ("GET", GOOD | {"transport": "carrier-pigeon"}, 0),
        ("GET", {"transport": "polling"}, 5),
        ("GET", GOOD | {"EIO": "3"}, 5),
        ("POST", GOOD, 2),
        ("PUT", GOOD, 2),
    ],
)
def test_handshakes_that_are_refused(method: str, query: dict[str, str], code: int) -> None:
    with pytest.raises(Refused) as caught:
        check_handshake(method, query, ("polling", "websocket"))
    assert (caught.value.code, caught.value.status) == (code, 400)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_handshakes_that_are_not(transport: str) -> None:
    check_handshake("GET", GOOD | {"transport": transport, "t": "abc"}, ("polling", "websocket"))


def test_a_transport_that_is_switched_off_is_unknown() -> None:
    with pytest.raises(Refused) as caught:
        check_handshake("GET", GOOD, ("websocket",))
    assert caught.value.code == 0


@pytest.mark.parametrize(
    ("refused", "answer"),
    [
        (protocol.transport_unknown(), (0, "Transport unknown", 400)),
        (protocol.session_unknown(), (1, "Session ID unknown", 400)),
        (protocol.bad_method(), (2, "Bad handshake method", 400)),
        (protocol.bad_request(), (3, "Bad request", 400)),
        (protocol.too_large(), (3, "Payload too large", 413)),
        (protocol.unavailable(), (4, "Server full", 503)),
        (protocol.version_unsupported(), (5, "Unsupported protocol version", 400)),
    ],
)
def test_refusals_are_numbered_as_node_numbers_them(refused: Refused, answer: tuple[int, str, int]) -> None:
    assert (refused.code, refused.message, refused.status) == answer


def test_bytes_as_text() -> None:
    assert decode_base64("bAQIDBA==") == b"\x01\x02\x03\x04"
    assert decode_base64("b") == b""


@pytest.mark.parametrize("packet", ["bAQ", "b$$$$", "bAQ==\n", "bAQ==AQ==", "b안녕", "bAQ-_"])
def test_what_is_not_base64(packet: str) -> None:
    with pytest.raises(Malformed):
        decode_base64(packet)


def test_a_payload_is_packets() -> None:
    assert decode_payload("4hello\x1e3\x1ebAQIDBA==\x1e1") == ["4hello", "3", b"\x01\x02\x03\x04", "1"]


@pytest.mark.parametrize(
    "body", ["", "abc", "0{}", "2", "5", "6", "7x", "bAQ", "b$$$$", "4a\x1e", "\x1e4a", "4a\x1e\x1e4b"]
)
def test_what_a_client_may_not_post(body: str) -> None:
    with pytest.raises(Malformed):
        decode_payload(body)


@given(st.lists(st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"])) | st.binary(), min_size=1))
def test_what_is_polled_can_be_posted(messages: list[str | bytes]) -> None:
    packets = [frames.message(each) for each in messages]
    decoded = decode_payload(frames.payload(packets))
    assert decoded == [each if isinstance(each, bytes) else protocol.MESSAGE + each for each in messages]
