from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine import frames, protocol
from server.realtime.engine.protocol import Malformed, Refused, check_handshake, decode_payload

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
