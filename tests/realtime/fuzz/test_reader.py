"""A websocket's bytes, however they come in pieces and whatever they are, are messages or an end with a close code."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine.reader import Broken, Closing, Passed, Ping, Pong, Reader
from tests.realtime.inherited.client_frames import BINARY, CLOSE, PONG, TEXT, masked

MOST = 5000

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
blobs = st.binary(max_size=300)


@dataclass(frozen=True)
class Ended:
    code: int


def squeezed(text: str) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
    frame = bytearray(masked(body.removesuffix(b"\0\0\xff\xff"), opcode=TEXT))
    frame[0] |= 0x40
    return bytes(frame)


def fragments(message: str | bytes, cuts: list[int], between: bytes) -> bytes:
    """A message in pieces, with a control frame after each."""
    body = message.encode() if isinstance(message, str) else message
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(edges)] or [b""]
    opcodes = [TEXT if isinstance(message, str) else BINARY, *[0] * (len(pieces) - 1)]
    last = len(pieces) - 1
    return b"".join(
        masked(piece, opcode=opcode, final=index == last) + between
        for index, (piece, opcode) in enumerate(zip(pieces, opcodes, strict=True))
    )


sent = st.lists(
    words.map(lambda text: (text, masked(text)))
    | words.map(lambda text: (text, squeezed(text)))
    | blobs.map(lambda blob: (blob, masked(blob)))
    | st.tuples(words | blobs, st.lists(st.integers(0, 300), max_size=5)).map(
        lambda given: (given[0], fragments(*given, between=masked(b"beat", opcode=PONG)))
    ),
    max_size=6,
)

#: Frames that no client sends, and bytes that are none.
rubbish = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda first, second, rest: bytes((first, second)) + rest, st.integers(0, 255), st.integers(0, 255), blobs
    ),
    st.builds(lambda size: bytes((0x82, 0xFF)) + size.to_bytes(8, "big"), st.integers(0, 2**64 - 1)),
    st.builds(lambda code, rest: masked(code.to_bytes(2, "big") + rest, opcode=CLOSE), st.integers(0, 65_535), blobs),
    st.builds(
        lambda opcode, body, final: masked(body, opcode=opcode, final=final), st.integers(0, 15), blobs, st.booleans()
    ),
    blobs.map(lambda body: bytes([0xC1]) + masked(body)[1:]),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


def read(reader: Reader, chunks: list[bytes]) -> list[object]:
    """To the end, which is the last of them where the peer broke the protocol."""
    messages: list[object] = []
    try:
        for chunk in chunks:
            reader.feed(chunk)
            while (message := reader.next()) is not None:
                if not isinstance(message, Passed | Pong):  # on the way to a message
                    messages.append(message)
    except Broken as broken:
        messages.append(Ended(broken.code))
    return messages


@given(sent, st.lists(st.integers(0, 4000), max_size=20))
def test_what_was_sent_is_read_however_it_is_cut(sent: list[tuple[str | bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame for _, frame in sent)
    assert read(Reader(MOST, deflate=True), pieces(data, cuts)) == [message for message, _ in sent]


@given(sent, st.lists(rubbish, min_size=1, max_size=5), st.lists(st.integers(0, 4000), max_size=20), st.booleans())
def test_what_else_comes_is_read_the_same_however_it_is_cut(
    sent: list[tuple[str | bytes, bytes]], rest: list[bytes], cuts: list[int], deflate: bool
) -> None:
    data = b"".join(frame for _, frame in sent) + b"".join(rest)
    whole = read(Reader(MOST, deflate=deflate), [data])
    assert whole == read(Reader(MOST, deflate=deflate), pieces(data, cuts))
    for each in whole:
        assert isinstance(each, str | bytes | Ping | Closing) or each in (Ended(1002), Ended(1007), Ended(1009))
        if isinstance(each, str | bytes):
            assert len(each) <= MOST


@pytest.mark.parametrize("text", ["\x00" * 3_000_000], ids=["a bomb"])
def test_what_inflates_beyond_the_limit_is_not_inflated(text: str) -> None:
    assert read(Reader(MOST, deflate=True), [squeezed(text)]) == [Ended(1009)]
