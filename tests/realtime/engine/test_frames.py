from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine import frames
from server.realtime.engine.dialect import Dialect


def read(data: bytes) -> tuple[int, bytes]:
    """An unmasked frame, read as RFC 6455 §5.2 writes it."""
    opcode, size = data[0], data[1]
    start = 2
    if size in (126, 127):
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    assert len(data) == start + size
    return opcode, data[start:]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_text_goes_as_text(text: str) -> None:
    assert read(frames.frame(text)) == (0x81, text.encode())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_every_form_of_length(size: int) -> None:
    assert read(frames.frame(b"x" * size)) == (0x82, b"x" * size)


def test_a_packet_is_encoded_once_for_each_kind() -> None:
    packet = frames.message("hello")
    assert packet.frame is packet.frame
    assert (packet.frame, packet.polled) == (b"\x81\x064hello", "4hello")
    binary = frames.message(b"\x01\x02\x03\x04")
    assert (binary.frame, binary.polled) == (b"\x82\x04\x01\x02\x03\x04", "bAQIDBA==")


def test_a_message_and_its_attachments_are_one_packet() -> None:
    packet = frames.message("51-", b"\x01")
    assert packet.frame == frames.frame("451-") + frames.frame(b"\x01")
    assert packet.polled == "451-\x1ebAQ=="


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1024, max_size=3000))
def test_what_is_deflated_needs_no_earlier_message(text: str) -> None:
    opcode, body = read(frames.Packet(text).deflated)
    assert opcode == 0xC1
    for _ in range(2):
        assert zlib.decompressobj(-15).decompress(body + b"\x00\x00\xff\xff") == text.encode()


@pytest.mark.parametrize("size", [10, frames.DEFLATE_TO_BYTES + 1])
def test_what_is_too_short_or_too_long_is_not_deflated(size: int) -> None:
    packet = frames.Packet("x" * size)
    assert packet.deflated == packet.frame


def counted(seq: int) -> frames.Packet:
    return frames.message(f'2/x,["tick",{{"seq":{seq}}}]', volatile=True, key="A", counts=True)


def test_a_packet_counts_what_it_replaced_and_what_that_had() -> None:
    third = counted(3).after(counted(2).after(counted(1)))
    assert (third.parts, third.replaced) == (('42/x,["tick",{"seq":3,"conflated":2}]',), 2)
    assert (third.key, third.volatile) == ("A", True)
    again = counted(5).after(third).after(counted(9))
    assert again.parts == ('42/x,["tick",{"seq":5,"conflated":4}]',)


@pytest.mark.parametrize("text", ['["status",{}]', '["status"]', '["status",{},"offset"]'])
def test_what_does_not_count_stays_as_it_is(text: str) -> None:
    plain = frames.message(text, volatile=True, key="A")
    assert plain.after(counted(1)) is plain


# -- as plain WebSockets hear it ------------------------------------------------------------------------------------


def test_an_event_is_told_once_for_each_dialect() -> None:
    one, other = Dialect(), Dialect(types={"tick": "price"})
    packet = counted(1)
    told = packet.told(one)
    assert told is not None
    assert told is packet.told(one)
    assert told is not packet.told(other)
    assert (told.volatile, told.key, told.counts) == (True, "A", True)


@pytest.mark.parametrize("packet", [frames.PING, frames.NOOP, frames.message('0/x,{"sid":"1"}'), frames.message("51-")])
def test_what_is_no_event_is_not_told(packet: frames.Packet) -> None:
    assert packet.told(Dialect()) is None


def test_an_event_with_attachments_is_not_told() -> None:
    assert frames.message('51-/x,["a",{"_placeholder":true,"num":0}]', b"\x01").told(Dialect()) is None


def test_what_was_counted_before_it_was_told_is_counted_once() -> None:
    """For all, as a channel's class has it, and then for one that does not read."""
    dialect = Dialect()

    def stamped(seq: int) -> frames.Packet:
        return frames.message(f'2/x,["tick",{{"seq":{seq},"timestamp":"t"}}]', volatile=True, key="A", counts=True)

    older, newer = stamped(2).after(stamped(1)).told(dialect), stamped(4).after(stamped(3)).told(dialect)
    assert older is not None
    assert newer is not None
    assert json.loads(str(newer.parts[0])) == {"type": "tick", "seq": 4, "timestamp": "t", "conflated": 1}
    assert newer.after(older).replaced == 3
    assert str(newer.after(older).parts[0]).count("conflated") == 1
    assert json.loads(str(newer.after(older).parts[0]))["conflated"] == 3


def test_a_ping_is_a_control_frame_for_every_client() -> None:
    assert frames.CONTROL_PING.frame == frames.CONTROL_PING.deflated == b"\x89\x00"
