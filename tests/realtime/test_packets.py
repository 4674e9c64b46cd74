from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as wire

from server.realtime.packets import MAX_ATTACHMENTS, MalformedPacket, Packet, UnusablePacket


@pytest.mark.parametrize(
    ("text", "kind", "namespace", "ack_id", "data"),
    [
        ("0", wire.CONNECT, None, None, None),
        ('0/chat,{"token":"x"}', wire.CONNECT, "/chat", None, {"token": "x"}),
        ("0/chat?a=b,", wire.CONNECT, "/chat", None, None),
        ("1/chat,", wire.DISCONNECT, "/chat", None, None),
        ('2["a"]', wire.EVENT, None, None, ["a"]),
        ('2/chat,12["a",{"b":1}]', wire.EVENT, "/chat", 12, ["a", {"b": 1}]),
        ('3/chat,0["x"]', wire.ACK, "/chat", 0, ["x"]),
    ],
)
def test_packets_of_the_protocol(text: str, kind: int, namespace: str | None, ack_id: int | None, data: object) -> None:
    packet = Packet(encoded_packet=text)
    assert (packet.packet_type, packet.namespace, packet.id, packet.data) == (kind, namespace, ack_id, data)


def test_attachments_take_their_places() -> None:
    packet = Packet(encoded_packet='52-/chat,1["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    assert packet.attachment_count == 2
    assert not packet.add_attachment(b"x")
    assert packet.add_attachment(b"y")
    assert packet.data == ["a", b"x", b"y"]


@pytest.mark.parametrize(
    "text",
    [
        "4/chat,{}",  # CONNECT_ERROR is the server's
        "7",
        "x",
        "2",
        "2{}",
        "2[]",
        "2[5]",
        "2[null]",
        '2["a"',
        "2/chat",
        "0[]",
        '0"x"',
        "1{}",
        '3["x"]',
        "312{}",
        "2" + "9" * 17 + '["a"]',
        '2²["a"]',
        '5["a"]',
        '50-["a"]',
        f'5{MAX_ATTACHMENTS + 1}-["a"]',
        '5999999999-["a"]',
        "0" + "[" * 1000,
        b"2",
    ],
)
def test_malformed(text: object) -> None:
    with pytest.raises(MalformedPacket):
        Packet(encoded_packet=text)


@pytest.mark.parametrize("placeholder", ['{"_placeholder":true,"num":1}', '{"_placeholder":true,"num":"x"}'])
def test_placeholders_without_an_attachment(placeholder: str) -> None:
    packet = Packet(encoded_packet=f'51-["a",{placeholder}]')
    with pytest.raises(MalformedPacket):
        packet.add_attachment(b"x")


def test_text_where_an_attachment_belongs() -> None:
    with pytest.raises(MalformedPacket):
        Packet(encoded_packet='51-["a",{"_placeholder":true,"num":0}]').add_attachment("2[]")


@pytest.mark.parametrize("payload", ["[" * 100_000, '["\\ud800"]'])
def test_an_event_with_a_refused_payload_says_whose_it_is(payload: str) -> None:
    with pytest.raises(UnusablePacket) as caught:
        Packet(encoded_packet=f"2/chat,7{payload}")
    assert (caught.value.namespace, caught.value.ack_id) == ("/chat", 7)


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str) -> None:
    if not text:
        return
    with contextlib.suppress(MalformedPacket, UnusablePacket):
        Packet(encoded_packet=text)
