from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as wire

from server.realtime.packets import (
    MAX_ATTACHMENTS,
    MalformedPacket,
    Packet,
    UnusablePacket,
    encode,
    plain_event,
    with_offset,
)


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


@pytest.mark.parametrize(
    "placeholder",
    [
        '{"_placeholder":true,"num":1}',
        '{"_placeholder":true,"num":"x"}',
        '{"_placeholder":true,"num":-1}',
        '{"_placeholder":true,"num":true}',
        '{"_placeholder":true,"num":false}',
        '{"_placeholder":true,"num":0.0}',
        '{"_placeholder":true,"num":null}',
        '{"_placeholder":true}',
        '{"deep":[0,{"er":{"_placeholder":true,"num":1}}]}',
    ],
)
def test_placeholders_without_an_attachment(placeholder: str) -> None:
    packet = Packet(encoded_packet=f'51-["a",{placeholder}]')
    with pytest.raises(MalformedPacket):
        packet.add_attachment(b"x")


def test_what_only_looks_like_a_placeholder_stays() -> None:
    data = '["a",{"_placeholder":false,"num":7},{"num":7},{"_placeholder":true,"num":0}]'
    packet = Packet(encoded_packet=f"51-{data}")
    assert packet.add_attachment(b"x")
    assert packet.data == ["a", {"_placeholder": False, "num": 7}, {"num": 7}, b"x"]


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


# -- what goes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((wire.CONNECT, "/", {"sid": "x"}), ('0{"sid":"x"}',)),
        ((wire.CONNECT, "/chat", {"sid": "x"}), ('0/chat,{"sid":"x"}',)),
        ((wire.DISCONNECT, "/chat"), ("1/chat,",)),
        ((wire.DISCONNECT, "/"), ("1",)),
        ((wire.EVENT, "/", ["a", {"b": "안녕"}]), ('2["a",{"b":"안녕"}]',)),
        ((wire.EVENT, "/chat", ["a"], 0), ('2/chat,0["a"]',)),
        ((wire.ACK, "/", [], 12), ("312[]",)),
        ((wire.ACK, "/chat", [None], 1), ("3/chat,1[null]",)),
        ((wire.CONNECT_ERROR, "/chat", {"message": "no"}), ('4/chat,{"message":"no"}',)),
        ((wire.EVENT, "/", ["a", b"x"]), ('51-["a",{"_placeholder":true,"num":0}]', b"x")),
        (
            (wire.ACK, "/chat", [{"b": bytearray(b"x")}, b""], 7),
            ('62-/chat,7[{"b":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]', b"x", b""),
        ),
    ],
)
def test_encoded(arguments: Any, parts: tuple[str | bytes, ...]) -> None:
    assert encode(*arguments) == parts


@pytest.mark.parametrize("value", [object(), {1, 2}, "\ud800", 2**64, {b"x": 1}])
def test_what_is_not_json_is_not_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        encode(wire.EVENT, "/", ["a", value])
    with pytest.raises(TypeError):
        encode(wire.EVENT, "/", ["a", b"x", value])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=MAX_ATTACHMENTS,
)
events = st.tuples(
    st.sampled_from(["/", "/chat"]),
    st.lists(values, max_size=3).map(lambda rest: ["event", *rest]),
    st.none() | st.integers(0, 10**15),
)


def decoded(parts: tuple[str | bytes, ...]) -> Packet:
    packet = Packet(encoded_packet=parts[0])
    for attachment in parts[1:]:
        packet.add_attachment(attachment)
    return packet


@given(events)
def test_what_is_encoded_is_decoded(event: tuple[str, list[object], int | None]) -> None:
    namespace, data, id = event
    parts = encode(wire.EVENT, namespace, data, id)
    if len(parts) <= MAX_ATTACHMENTS + 1:
        packet = decoded(parts)
        assert (packet.namespace or "/", packet.data, packet.id) == event


@given(events)
def test_an_offset_is_one_argument_more(event: tuple[str, list[object], int | None]) -> None:
    namespace, data, id = event
    parts = encode(wire.EVENT, namespace, data, id)
    numbered = with_offset(parts, "42")
    assert numbered[1:] == parts[1:]
    if len(parts) <= MAX_ATTACHMENTS + 1:
        packet = decoded(numbered)
        assert (packet.namespace or "/", packet.data, packet.id) == (namespace, [*data, "42"], id)


def test_bytes_alone_have_no_offset() -> None:
    with pytest.raises(TypeError):
        with_offset((b"x",), "42")


@given(
    st.one_of(
        st.text(),
        st.builds(
            "2{}{}{}".format,
            st.sampled_from(["", "/x,", "/x?q=1,", "/x", ","]),
            st.sampled_from(["", "0", "17", "9" * 17, "٣", "-1"]),
            st.sampled_from(['["e"]', '["e",{"a":[1]}]', "[]", "[1]", '["e"', '{"e":1}', '["e"]x', '["e",NaN]', ""]),
        ),
    )
)
def test_a_plain_event_is_what_a_packet_is(text: str) -> None:
    event = plain_event(text)
    try:
        packet = Packet(encoded_packet=text)
    except (MalformedPacket, UnusablePacket):
        assert event is None
    else:
        if event is not None:
            assert packet.packet_type == 2
            assert event == (packet.namespace or "/", packet.id, packet.data)


def test_most_events_are_plain() -> None:
    assert plain_event('2/chat,17["message",{"content":"a,[b]"}]') == ("/chat", 17, ["message", {"content": "a,[b]"}])
    assert plain_event('2["e"]') == ("/", None, ["e"])
