"""A plain WebSocket held to RFC 6455 and 7692, case by case as the Autobahn test suite has them."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterable

import pytest

from tests.realtime.inherited.client_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked
from tests.support.client import PATIENCE
from tests.support.plain import Plain, plain, serving

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
NOTE = masked('{"type":"note","number":1}')


def echo(text: str) -> bytes:
    return json.dumps({"type": "any", "value": text}, ensure_ascii=False).encode()


def fragments(body: bytes, size: int, between: bytes = b"", opcode: int = TEXT) -> bytes:
    """A message in pieces of that size, the last one empty."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    first, *others = (masked(piece, opcode=CONTINUATION, final=False) for piece in pieces)
    return bytes([opcode]) + first[1:] + between + b"".join(each + between for each in others) + masked(b"", opcode=0)


def marked(frame: bytes, bits: int) -> bytes:
    """With these reserved bits."""
    return bytes([frame[0] | bits]) + frame[1:]


def squeezed(body: bytes) -> bytes:
    """As RFC 7692 §7.2.1 writes it."""
    deflate = zlib.compressobj(wbits=-15)
    deflated = deflate.compress(body) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return marked(masked(deflated.removesuffix(b"\0\0\xff\xff"), opcode=TEXT), 0x40)


async def frames_until(one: Plain, opcode: int) -> list[tuple[int, bytes]]:
    """What comes, to the first of that kind."""
    found: list[tuple[int, bytes]] = []
    async with asyncio.timeout(PATIENCE):
        while not found or found[-1][0] != opcode:
            found.append(await one.wire._frame())
    return found


# -- what is right --------------------------------------------------------------------------------------------------


async def test_text_of_every_length_and_script_comes_back() -> None:
    texts = ["", *("x" * size for size in (93, 94, 95, 96, 97, 65_450)), "안녕하세요 κόσμε 🙂", "\0\uffff\U0010ffff"]
    async with serving() as (server, _), plain(server) as one:
        for text in texts:
            one.wire.writer.write(masked(json.dumps({"type": "any", "value": text})))
            assert (await one.hear("ack"))["value"] == text


@pytest.mark.parametrize("between", [b"", masked(b"x", opcode=PONG), masked(b"", opcode=CONTINUATION, final=False)])
async def test_fragments_are_a_message_wherever_they_are_cut(between: bytes) -> None:
    """Within a character too."""
    async with serving() as (server, _), plain(server) as one:
        for size in (1, 2, 3, 7, 64):
            one.wire.writer.write(fragments(echo("안녕 🙂"), size, between))
            assert (await one.hear("ack"))["value"] == "안녕 🙂"


async def test_bytes_that_come_one_by_one_are_a_message() -> None:
    async with serving() as (server, _), plain(server) as one:
        for byte in masked(echo("안녕"), opcode=TEXT):
            one.wire.writer.write(bytes([byte]))
            await one.wire.writer.drain()
            await asyncio.sleep(0)
        assert (await one.hear("ack"))["value"] == "안녕"


async def test_a_ping_is_answered_by_its_own_body() -> None:
    async with serving() as (server, _), plain(server) as one:
        for body in (b"", b"Hello", bytes(range(125)), b"\xff" * 125):
            one.wire.writer.write(masked(body, opcode=PING))
            assert await frames_until(one, PONG) == [(PONG, body)]


async def test_pings_between_fragments_are_answered_before_the_message_and_in_order() -> None:
    async with serving() as (server, _), plain(server) as one:
        body = echo("in pieces")
        pings = [masked(b"%d" % number, opcode=PING) for number in range(10)]
        first, rest = body[:5], body[5:]
        one.wire.writer.write(
            masked(first, opcode=TEXT, final=False) + b"".join(pings) + masked(rest, opcode=CONTINUATION)
        )
        *pongs, last = await frames_until(one, TEXT)
        assert pongs == [(PONG, b"%d" % number) for number in range(10)]
        assert json.loads(last[1])["value"] == "in pieces"


async def test_pongs_that_nobody_asked_for_change_nothing() -> None:
    async with serving() as (server, _), plain(server) as one:
        one.wire.writer.write(masked(b"", opcode=PONG) + masked(b"x" * 125, opcode=PONG))
        await one.settle()


async def test_a_close_is_answered_by_its_own_code_and_what_follows_is_not_read() -> None:
    """Who says so properly has said goodbye."""
    codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
    bodies = [*(code.to_bytes(2, "big") + "안녕".encode() for code in codes), b"", b"\x03\xe8" + b"x" * 123]
    async with serving() as (server, namespace):
        for body in bodies:
            namespace.gone_event.clear()
            async with plain(server) as one:
                one.wire.writer.write(masked(body, opcode=CLOSE) + NOTE + masked(b"", opcode=PING))
                assert await frames_until(one, CLOSE) == [(CLOSE, body[:2] or b"\x03\xe8")]
                assert await one.wire.reader.read() == b""
                await namespace.gone_event.wait()
        assert namespace.order == []
        goodbye, other = "client disconnect", "transport close"
        assert namespace.gone_reasons == [goodbye, *[other] * 12, goodbye, goodbye]


# -- what is wrong --------------------------------------------------------------------------------------------------

_MESSAGE = echo("x")
_HALF = masked(_MESSAGE[:5], opcode=TEXT, final=False)
_BAD_TEXT = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
    b"\xf4\x90\x80\x80",  # beyond the last character
    b"\xc0\xaf",  # longer than it need be
    b"\xe0\x80\xaf",
    b"\xf8\x88\x80\x80\x80",
    b"\x80",
    b"\xc2",  # cut off
    b"\xff",
]


BROKEN: dict[str, Iterable[tuple[bytes, int]]] = {
    "an unmasked frame": [(b"\x81\x02{}", 1002)],
    "reserved bits": [
        (marked(masked(body, opcode=opcode), bits), 1002)
        for bits in range(0x10, 0x80, 0x10)
        for opcode, body in ((TEXT, _MESSAGE), (PING, b""), (CLOSE, b""))
    ],
    "opcodes that are not used": [(masked(b"x", opcode=opcode), 1002) for opcode in (3, 4, 5, 6, 7, *range(11, 16))],
    "control frames that are long or in pieces": [
        (masked(b"x" * 126, opcode=PING), 1002),
        (masked(b"x" * 126, opcode=PONG), 1002),
        *((masked(b"", opcode=opcode, final=False), 1002) for opcode in (PING, PONG, CLOSE)),
    ],
    "fragments out of place": [
        (masked(_MESSAGE, opcode=CONTINUATION), 1002),
        (masked(_MESSAGE, opcode=CONTINUATION, final=False), 1002),
        (fragments(_MESSAGE, 3) + masked(b"x", opcode=CONTINUATION), 1002),
        (_HALF + masked(_MESSAGE, opcode=TEXT), 1002),
        (_HALF + masked(b"x", opcode=BINARY), 1002),
    ],
    "text that is no UTF-8": [
        (frame, 1007)
        for text in _BAD_TEXT
        for frame in (
            masked(b'{"type":"' + text, opcode=TEXT),
            fragments(b'{"type":"' + text, 1),
            masked(b"\x03\xe8" + text, opcode=CLOSE),
        )
    ],
    "closes": [
        (masked(b"\x03", opcode=CLOSE), 1002),
        (masked(b"\x03\xe8" + b"x" * 124, opcode=CLOSE), 1002),
        *(
            (masked(code.to_bytes(2, "big"), opcode=CLOSE), 1002)
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
        ),
    ],
    "messages too big": [
        (masked(echo("x" * 66_000), opcode=TEXT), 1009),
        (masked(echo("한" * 22_000), opcode=TEXT), 1009),
        (masked(echo("x" * 700_000), opcode=TEXT), 1009),
        (fragments(echo("x" * 700_000), 60_000), 1009),
        (b"\x81\xff" + b"\xff" * 8, 1009),
    ],
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_breaks_the_protocol_ends_it_with_a_code(what: str) -> None:
    """Of the messages around it, those behind are not read; its namespace hears that it went."""
    async with serving() as (server, namespace):
        for number, (data, code) in enumerate(BROKEN[what]):
            namespace.gone_event.clear()
            async with plain(server) as one:
                one.wire.writer.write(masked(f'{{"type":"note","number":{number}}}') + data + NOTE)
                assert await one.wire.ended() == code, data[:100]
                await namespace.gone_event.wait()
                assert (namespace.gone_reasons[number:], namespace.order[number:]) == (["transport error"], [number])
        assert not server.realtime.eio.sessions


# -- deflate --------------------------------------------------------------------------------------------------------


async def test_deflated_messages_are_read_whole_and_in_pieces() -> None:
    async with serving() as (server, _), plain(server, headers=DEFLATE) as one:
        one.wire.writer.write(squeezed(echo("안녕" * 100)))
        assert (await one.hear("ack"))["value"] == "안녕" * 100
        frame = squeezed(echo("again" * 10))
        body = frame[6:]  # whose mask is zero
        one.wire.writer.write(
            marked(masked(body[:5], opcode=TEXT, final=False), 0x40)
            + masked(b"", opcode=PING)
            + masked(body[5:], opcode=CONTINUATION)
        )
        assert (await one.hear("ack"))["value"] == "again" * 10


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (squeezed(echo("x" * 100_000_000)), 1009),  # 97 KB
        (squeezed(echo("x" * 100_000)), 1009),
        (squeezed(b"\xff\xfe"), 1007),
        (marked(masked(b"no deflate at all", opcode=TEXT), 0x40), 1007),
        (marked(masked(b"", opcode=PING), 0x40), 1002),
        (_HALF + marked(masked(b"x", opcode=CONTINUATION), 0x40), 1002),
        (marked(squeezed(_MESSAGE), 0x20), 1002),
    ],
    ids=["bomb", "too big", "no UTF-8", "no deflate", "a ping", "a continuation", "another bit"],
)
async def test_what_is_wrong_with_deflate_ends_it_with_a_code(data: bytes, code: int) -> None:
    async with serving() as (server, namespace), plain(server, headers=DEFLATE) as one:
        one.wire.writer.write(data + NOTE)
        assert await one.wire.ended() == code
        await namespace.gone_event.wait()
        assert namespace.order == []
