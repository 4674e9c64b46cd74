from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine import reader as module
from server.realtime.engine.protocol import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG
from server.realtime.engine.reader import Broken, Closing, Passed, Ping, Pong, Reader

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"  # RFC 6455 §5.7
MOST = 100_000


def frame(
    opcode: int,
    body: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    form: int | None = None,
) -> bytes:
    """As RFC 6455 §5.2 draws it. `form`: the bytes of the length, the shortest unless told otherwise."""
    form = form or (1 if len(body) < 126 else 3 if len(body) < 65_536 else 9)
    size = {1: len(body), 3: 126, 9: 127}[form]
    head = bytes((final << 7 | reserved << 4 | opcode, masked << 7 | size))
    if form > 1:
        head += len(body).to_bytes(form - 1, "big")
    if not masked:
        return head + body
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(body))


def deflated(body: bytes) -> bytes:
    """A message's body, as RFC 7692 §7.2.1 writes it."""
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(body) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def squeezed(opcode: int, body: bytes, *cuts: int) -> bytes:
    """A deflated message, in fragments cut there."""
    body = deflated(body)
    edges = [0, *cuts, len(body)]
    last = len(edges) - 2
    return b"".join(
        frame(CONTINUATION if index else opcode, body[start:end], final=index == last, reserved=0 if index else 4)
        for index, (start, end) in enumerate(pairwise(edges))
    )


def read(data: bytes | Iterable[bytes], *, most: int = MOST, deflate: bool = False) -> list[Any]:
    """Every message but those that say nothing, and the close code at last if it broke."""
    reader, messages = Reader(most, deflate=deflate), []
    try:
        for each in [data] if isinstance(data, bytes) else data:
            reader.feed(each)
            while (message := reader.next()) is not None:
                if not isinstance(message, Passed):
                    messages.append(message)
    except Broken as broken:
        messages.append(broken.code)
    return messages


def singly(data: bytes) -> Iterable[bytes]:
    return (data[index : index + 1] for index in range(len(data)))


# -- lengths ----------------------------------------------------------------------------------------------------


def test_the_example_of_the_rfc() -> None:
    assert read(bytes.fromhex("818537fa213d7f9f4d5158")) == ["Hello"]
    assert read(frame(TEXT, bytes.fromhex("f248cdc9c90700"), reserved=4), deflate=True) == [
        "Hello"
    ]  # RFC 7692 §7.2.3.1


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 127, 65_535, 65_536, 70_000])
def test_every_length(size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    assert read(frame(BINARY, body)) == [body]


@pytest.mark.parametrize("form", [1, 3, 9])
def test_every_form_of_length(form: int) -> None:
    assert read(frame(TEXT, b"as long as others", form=form) + frame(TEXT, b"next")) == ["as long as others", "next"]


@pytest.mark.parametrize("size", [MOST + 1, 2**32, 2**63, 2**64 - 1])
def test_a_length_over_the_limit_breaks_before_any_of_it_came(size: int) -> None:
    assert read(bytes((0x82, 0xFF)) + size.to_bytes(8, "big")) == [TOO_BIG]


def test_the_limit_is_of_the_message_not_of_its_frames() -> None:
    exactly = frame(BINARY, b"x" * 60, final=False) + frame(CONTINUATION, b"x" * 40)
    assert read(exactly * 3, most=100) == [b"x" * 100] * 3
    assert read(frame(BINARY, b"x" * 60, final=False) + frame(CONTINUATION, b"x" * 41), most=100) == [TOO_BIG]


def test_a_ping_within_a_message_does_not_count_for_its_limit() -> None:
    whole = frame(BINARY, b"x" * 60, final=False) + frame(PING, b"p" * 100) + frame(CONTINUATION, b"x" * 40)
    assert read(whole, most=100) == [Ping(b"p" * 100), b"x" * 100]


# -- fragments --------------------------------------------------------------------------------------------------


def test_fragments_are_one_message_and_control_frames_come_between() -> None:
    assert read(
        frame(TEXT, b"one ", final=False)
        + frame(PING, b"now")
        + frame(CONTINUATION, b"", final=False)
        + frame(PONG, b"unasked")
        + frame(CONTINUATION, b"two")
        + frame(BINARY, b"three")
    ) == [Ping(b"now"), Pong(), "one two", b"three"]


@pytest.mark.parametrize("count", [63, 64, 65, 200])
def test_any_number_of_fragments(count: int) -> None:
    pieces = [bytes([65 + index % 26]) for index in range(count)]
    data = frame(TEXT, final=False) + b"".join(frame(CONTINUATION, piece, final=False) for piece in pieces)
    assert read(data + frame(CONTINUATION, b".")) == [b"".join(pieces).decode() + "."]


def test_a_close_ends_a_message_that_is_not_whole() -> None:
    assert read(frame(TEXT, b"one", final=False) + frame(CLOSE, b"\x03\xe8")) == [Closing(1000)]


@pytest.mark.parametrize(
    "data",
    [
        frame(CONTINUATION, b"of nothing"),
        frame(CONTINUATION, b"of nothing", final=False),
        frame(TEXT, b"a", final=False) + frame(TEXT, b"b"),
        frame(TEXT, b"a", final=False) + frame(BINARY, b"b", final=False),
        frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"c"),
    ],
)
def test_fragments_out_of_place(data: bytes) -> None:
    assert read(data)[-1] == PROTOCOL_ERROR


# -- what no client may send --------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(opcode: int) -> None:
    assert read(frame(TEXT, b"before") + frame(opcode)) == ["before", PROTOCOL_ERROR]


@pytest.mark.parametrize("reserved", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits(opcode: int, reserved: int) -> None:
    assert read(frame(opcode, reserved=reserved), deflate=True) == [PROTOCOL_ERROR]


def test_the_deflate_bit_where_it_was_not_agreed() -> None:
    assert read(squeezed(TEXT, b"hello")) == [PROTOCOL_ERROR]


@pytest.mark.parametrize("opcode", [CONTINUATION, CLOSE, PING, PONG])
def test_the_deflate_bit_belongs_to_the_first_frame_of_a_message(opcode: int) -> None:
    data = frame(TEXT, b"x", final=False, reserved=4) + frame(opcode, reserved=4)
    assert read(data, deflate=True) == [PROTOCOL_ERROR]


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING])
def test_unmasked_frames(opcode: int) -> None:
    assert read(frame(opcode, masked=False)) == [PROTOCOL_ERROR]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_short_and_whole(opcode: int) -> None:
    assert read(frame(opcode, b"\x03\xe8" + b"x" * 123)) != [PROTOCOL_ERROR]
    assert read(frame(opcode, b"\x03\xe8" + b"x" * 124)) == [PROTOCOL_ERROR]
    assert read(frame(opcode, b"\x03\xe8", form=3)) == [PROTOCOL_ERROR]
    assert read(frame(opcode, b"\x03\xe8", final=False)) == [PROTOCOL_ERROR]


def test_each_frame_is_a_step_also_where_it_says_nothing() -> None:
    """So that who counts steps gives others their turn."""
    reader = Reader(MOST)
    reader.feed(frame(PONG) * 3 + frame(TEXT, final=False) + frame(CONTINUATION, final=False) + frame(CONTINUATION))
    assert [reader.next() for _ in range(7)] == [*[Pong()] * 3, *[Passed()] * 2, "", None]


def test_two_bytes_are_enough_to_see_a_fault() -> None:
    assert read(frame(TEXT, b"x", masked=False)[:2]) == [PROTOCOL_ERROR]


# -- control frames -----------------------------------------------------------------------------------------------


def test_pings_carry_their_body_and_pongs_none() -> None:
    data = frame(PING) + frame(PONG, b"x" * 125) + frame(PING, bytes(range(125)))
    assert read(data) == [Ping(b""), Pong(), Ping(bytes(range(125)))]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
def test_close_codes(code: int) -> None:
    assert read(frame(CLOSE, code.to_bytes(2, "big") + "이유".encode())) == [Closing(code)]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535])
def test_close_codes_that_are_not_used(code: int) -> None:
    assert read(frame(CLOSE, code.to_bytes(2, "big"))) == [PROTOCOL_ERROR]


def test_other_bodies_of_a_close() -> None:
    assert read(frame(CLOSE)) == [Closing(None)]
    assert read(frame(CLOSE, b"\x03")) == [PROTOCOL_ERROR]
    assert read(frame(CLOSE, b"\x03\xe8\xff")) == [INVALID_DATA]


# -- text -------------------------------------------------------------------------------------------------------

NOT_TEXT = [
    b"\xff",
    b"\xc3",  # cut short
    b"\x80",
    b"\xc0\xaf",  # longer than it need be
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\xf4\x90\x80\x80",  # beyond Unicode
    "안녕".encode() + b"\xce\xba\xe1\xbd",
]


@pytest.mark.parametrize("body", NOT_TEXT)
def test_text_that_is_not_utf8(body: bytes) -> None:
    assert read(frame(TEXT, body)) == [INVALID_DATA]
    assert read(squeezed(TEXT, body), deflate=True) == [INVALID_DATA]
    assert read(frame(BINARY, body)) == [body]


@pytest.mark.parametrize("body", NOT_TEXT)
def test_text_that_is_not_utf8_in_fragments(body: bytes) -> None:
    pieces = [frame(CONTINUATION, body[index : index + 1], final=False) for index in range(len(body))]
    assert read(frame(TEXT, final=False) + b"".join(pieces) + frame(CONTINUATION)) == [INVALID_DATA]


def test_a_character_may_be_cut_by_a_fragment() -> None:
    body = "κόσμε 🙂".encode()
    for cut in range(len(body) + 1):
        data = frame(TEXT, body[:cut], final=False) + frame(PING) + frame(CONTINUATION, body[cut:])
        assert read(data) == [Ping(b""), "κόσμε 🙂"]


# -- deflate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(), (1,), (3, 3, 9)])
def test_deflated_messages_in_fragments(cuts: tuple[int, ...]) -> None:
    body = "hello, hello, 안녕 안녕".encode()
    data = squeezed(TEXT, body, *cuts) + frame(TEXT, b"plain") + squeezed(BINARY, body, *cuts)
    assert read(data, deflate=True) == [body.decode(), "plain", body]


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x02\x00"])  # RFC 7692 §7.2.3.6: the second
def test_a_deflated_message_may_be_empty(body: bytes) -> None:
    assert read(frame(TEXT, body, reserved=4) + frame(TEXT, b"next"), deflate=True) == ["", "next"]


def test_any_deflate_block_is_taken() -> None:
    stored = bytes.fromhex("000500faff48656c6c6f00")  # RFC 7692 §7.2.3.3
    final = bytes.fromhex("f348cdc9c9070000")  # §7.2.3.4: BFINAL is set
    two = bytes.fromhex("f248050000 00ffff cac9c90700")  # §7.2.3.5
    for body in (stored, final, two):
        assert read(frame(TEXT, body, reserved=4), deflate=True) == ["Hello"]


def test_nothing_is_kept_from_one_message_to_the_next() -> None:
    history = zlib.compressobj(wbits=-15)
    text = b"a text that is long enough to be referred to"
    first, second = (
        (history.compress(text) + history.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff") for _ in range(2)
    )
    data = frame(TEXT, first, reserved=4) + frame(TEXT, second, reserved=4)
    assert read(data, deflate=True) == [text.decode(), INVALID_DATA]


@pytest.mark.parametrize("body", [b"\xff\xff\xff\xff", b"\x07", b"\x00\x05\x00\x05\x00hello"])
def test_what_is_no_deflate(body: bytes) -> None:
    assert read(frame(BINARY, body, reserved=4), deflate=True) == [INVALID_DATA]


def test_the_limit_is_of_what_a_message_inflates_to() -> None:
    assert read(squeezed(BINARY, b"x" * MOST), deflate=True) == [b"x" * MOST]
    assert read(squeezed(BINARY, b"x" * (MOST + 1)), deflate=True) == [TOO_BIG]


def test_a_bomb_is_not_inflated_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    decompressobj = zlib.decompressobj

    class Inflate:
        def __init__(self, wbits: int) -> None:
            self.inflate = decompressobj(wbits)

        def decompress(self, data: bytes, most: int = 0) -> bytes:
            whole = self.inflate.decompress(data, most)
            made.append(len(whole))
            return whole

    monkeypatch.setattr(module.zlib, "decompressobj", Inflate)
    assert read(squeezed(BINARY, bytes(50_000_000)), deflate=True) == [TOO_BIG]
    assert sum(made) <= MOST + 1


# -- however it comes in pieces -----------------------------------------------------------------------------------

sent = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=200), st.booleans(), st.booleans()).map(
        lambda given: (
            given[1] if given[0] == TEXT else given[1].encode(),
            (frame(PING, b"p") if given[2] else b"")
            + (squeezed(given[0], given[1].encode(), 1) if given[3] else frame(given[0], given[1].encode())),
            given[2],
        )
    ),
    max_size=5,
)


@given(sent, st.binary(max_size=10))
def test_byte_by_byte_is_as_at_once(sent: list[tuple[str | bytes, bytes, bool]], rest: bytes) -> None:
    data = b"".join(frames for _, frames, _ in sent)
    expected = [each for message, _, pinged in sent for each in ([Ping(b"p"), message] if pinged else [message])]
    assert read(data, deflate=True) == read(singly(data), deflate=True) == expected
    assert read(data + rest, deflate=True) == read(singly(data + rest), deflate=True)


class Copies(bytearray):
    """Counts the bytes that are moved."""

    moved = 0

    def __iadd__(self, other: Any) -> Copies:
        Copies.moved += len(other)
        return super().__iadd__(other)  # type: ignore[return-value]

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Copies.moved += len(found) if isinstance(index, slice) else 0
        return found

    def __delitem__(self, index: Any) -> None:
        Copies.moved += len(self) if len(range(len(self))[index]) else 0
        super().__delitem__(index)

    def join(self, pieces: Any) -> Copies:
        joined = Copies(super().join(pieces))
        Copies.moved += len(joined)
        return joined


def moved(monkeypatch: pytest.MonkeyPatch, data: bytes | Iterable[bytes]) -> int:
    monkeypatch.setattr(module, "bytearray", Copies, raising=False)
    Copies.moved = 0
    read(data)
    return Copies.moved


def test_work_is_linear_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    one = frame(BINARY, bytes(20_000))
    assert moved(monkeypatch, singly(one)) < 4 * len(one)
    many = frame(BINARY, bytes(10)) * 1000
    assert moved(monkeypatch, singly(many)) < 4 * len(many)


def test_work_is_linear_in_many_messages_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    many = frame(BINARY, bytes(10)) * 5000
    assert moved(monkeypatch, many) < 4 * len(many)


@pytest.mark.parametrize("body", [b"", b"x"])
def test_work_is_linear_in_tiny_fragments(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    data = frame(BINARY, bytes(50_000), final=False) + frame(CONTINUATION, body, final=False) * 20_000
    assert moved(monkeypatch, data) < 4 * len(data)


def test_an_idle_reader_holds_no_buffer() -> None:
    readers = [Reader(MOST) for _ in range(2)]
    for reader in readers:
        reader.feed(frame(TEXT, b"x"))
        assert (reader.next(), reader.next()) == ("x", None)
    assert readers[0]._buffer is readers[1]._buffer
    assert not readers[0]._buffer
