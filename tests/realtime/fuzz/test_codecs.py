"""Whatever comes, the codecs say what it is or raise what they promise; what is written can be read."""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from socketio import packet as wire

from server.realtime import json_codec
from server.realtime.engine import frames
from server.realtime.engine.protocol import MESSAGE, Malformed, decode_payload
from server.realtime.packets import MalformedPacket, Packet, UnusablePacket

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
long = st.tuples(st.sampled_from([125, 126, 1023, 1024, 65_535, 65_536, 300_000]), st.integers(-1, 1)).map(sum)
texts = words | long.map(lambda size: "가x" * (size // 2))
blobs = st.binary(max_size=200) | long.map(lambda size: b"\xff\x00" * (size // 2))
parts = st.lists(texts | blobs, min_size=1, max_size=4)

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | words | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words.filter(lambda key: key != "_placeholder"), inner),
    max_leaves=12,
)
namespaces = st.none() | st.from_regex(r"/[a-z/]{1,10}", fullmatch=True)

#: Pieces that packets are made of, put together in ways that they are not.
rubble = st.lists(
    st.sampled_from([*"0123456789", "-", "/", ",", "?", "b", "\x1e", "[", "]", "{", "}", '"', "\\", ":", "\ud800", "٣"])
    | st.sampled_from(
        ['{"_placeholder":true,"num":0}', '"num":-1', "51-", "6", "/echo,", '["a"', "null", "1e999", "NaN"]
    )
    | words,
    max_size=12,
).map("".join)


def read(data: bytes) -> list[str | bytes]:
    """Whole messages of a server's frames, by RFC 6455 §5.2 and RFC 7692 §7.2.2."""
    messages: list[str | bytes] = []
    while data:
        first, size, start = data[0], data[1], 2
        assert first & 0xB0 == 0x80
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[2:start], "big")
            assert size > (125 if start == 4 else 65_535)
        body, data = data[start : start + size], data[start + size :]
        assert len(body) == size
        if first & 0x40:
            body = zlib.decompressobj(-15).decompress(body + b"\0\0\xff\xff")
        messages.append(body.decode() if first & 0x0F == 1 else body)
    return messages


@given(parts)
def test_a_message_is_the_same_by_every_transport(parts: list[str | bytes]) -> None:
    packet = frames.message(*parts)
    sent = [MESSAGE + part if isinstance(part, str) else part for part in parts]
    assert read(packet.frame) == sent
    assert read(packet.deflated) == sent
    if not any(isinstance(part, str) and "\x1e" in part for part in parts):
        assert decode_payload(packet.polled) == sent
        assert decode_payload(frames.payload([packet, packet])) == sent * 2


@given(st.text() | rubble)
def test_a_payload_is_packets_or_malformed(body: str) -> None:
    with contextlib.suppress(Malformed):
        for packet in decode_payload(body):
            assert isinstance(packet, bytes) or packet[0] in "134"


@given(st.text() | rubble, st.lists(st.binary(max_size=4) | words, max_size=12))
@example('51-["a",{"_placeholder":true,"num":1e999}]', [b""])
@example('52-["a",{"_placeholder":true,"num":[]},{"_placeholder":{}}]', [b"", b""])
@example("2" + '[{"a":' * 40_000, [])
@example("2/" + "," * 100, [])
def test_a_packet_is_one_or_raises_what_it_says(text: str, attachments: list[str | bytes]) -> None:
    if not text:
        return
    with contextlib.suppress(MalformedPacket, UnusablePacket):
        packet = Packet(encoded_packet=text)
        assert 0 <= packet.attachment_count <= 10
        assert packet.packet_type in (0, 1, 2, 3, 5, 6)
        while packet.attachment_count:
            if packet.add_attachment(attachments.pop() if attachments else b"") and not attachments:
                break


@pytest.mark.parametrize("number", ["-1", "true", "1", "0.0", '"0"', "null"])
def test_a_placeholder_names_an_attachment_that_came(number: str) -> None:
    packet = Packet(encoded_packet=f'51-["a",{{"_placeholder":true,"num":{number}}}]')
    with pytest.raises(MalformedPacket):
        packet.add_attachment(b"x")


@given(st.sampled_from([wire.EVENT, wire.ACK]), namespaces, st.integers(0, 10**15), st.lists(values, max_size=3))
def test_what_is_encoded_is_decoded(kind: int, namespace: str | None, id: int, arguments: list[Any]) -> None:
    data = ["event", *arguments] if kind == wire.EVENT else arguments
    sent = Packet(kind, data=data, namespace=namespace, id=id)
    encoded = sent.encode()
    text, *attachments = encoded if isinstance(encoded, list) else [encoded]
    if len(attachments) > 10:  # a client may send no more, and a server is no client
        return
    packet = Packet(encoded_packet=text)
    assert packet.attachment_count == len(attachments)
    for number, attachment in enumerate(attachments, start=1):
        assert packet.add_attachment(attachment) == (number == len(attachments))
    assert (packet.packet_type, packet.namespace, packet.id, packet.data) == (
        sent.packet_type,
        namespace,
        id,
        data,
    )


@given(st.text() | st.binary() | rubble)
def test_json_is_what_the_standard_library_says_or_refused(text: str | bytes) -> None:
    try:
        value = json_codec.loads(text)
    except ValueError:
        return
    assert json.dumps(value) == json.dumps(json.loads(text))
