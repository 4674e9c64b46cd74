from __future__ import annotations

import pytest

from clients.python.errors import Lost
from clients.python.streams import MOST_OPEN, Stream, Streams


def tell(streams: Streams, event: str, **fields: object) -> None:
    streams.hear(event, {"message_id": "m", "session_id": "s", **fields})


async def pieces(stream: Stream) -> list[str]:
    return [piece async for piece in stream]


async def test_a_text_as_it_comes() -> None:
    streams = Streams()
    tell(streams, "stream_start", sender_id="1")
    tell(streams, "stream_chunk", content="Hel", index=0)
    tell(streams, "stream_chunk", content="lo", index=1)
    tell(streams, "stream_end", content="Hello", seq=2)
    stream = await anext(streams.feed)
    assert (await pieces(stream), stream.text, stream.sender_id) == (["Hel", "lo"], "Hello", "1")
    assert stream.end is not None
    assert stream.end["seq"] == 2


async def test_what_is_said_again_after_a_drop_is_not_heard_twice() -> None:
    streams = Streams()
    tell(streams, "stream_start")
    tell(streams, "stream_chunk", content="Hel")
    tell(streams, "stream_start")
    tell(streams, "stream_chunk", content="He")
    tell(streams, "stream_chunk", content="llo w")
    tell(streams, "stream_chunk", content="orl")
    tell(streams, "stream_end", content="Hello world")
    assert await pieces(await anext(streams.feed)) == ["Hel", "lo w", "orl", "d"]


async def test_chunks_without_a_beginning_are_no_stream() -> None:
    streams = Streams()
    tell(streams, "stream_chunk", content="lo")
    tell(streams, "stream_end", content="Hello")
    assert len(streams.feed) == 0


async def test_those_that_never_end_are_given_up() -> None:
    streams = Streams()
    for number in range(MOST_OPEN + 1):
        streams.hear("stream_start", {"message_id": str(number)})
    assert streams.feed.dropped == 1
    first = await anext(streams.feed)
    streams.end(Lost("GOING_AWAY", "bye"))
    with pytest.raises(Lost):
        await pieces(first)
