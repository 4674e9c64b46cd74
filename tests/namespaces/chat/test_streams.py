from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat import streams
from server.namespaces.chat.streams import MAX_NEWCOMERS, MAX_REPLAYED, Newcomers, Stream
from tests.support.streaming import Rooms

ROOM = "the room"


class Timer:
    """Of `later`: set off by hand."""

    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds = seconds
        self.fire = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Timers(list[Timer]):
    def __call__(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.append(Timer(seconds, callback))
        return self[-1]


def stream_of(rooms: Rooms, newcomers: Newcomers, listener: streams.Listener | None = None) -> Stream:
    return Stream(
        rooms, newcomers, message_id="m1", session_id="s1", sender_id="1", room=ROOM, listener=listener
    )  # fmt: skip


def test_who_enters_is_bounded_and_not_for_ever() -> None:
    timers = Timers()
    newcomers = Newcomers(timers)
    for number in range(MAX_NEWCOMERS + 1):
        newcomers.add("s1", f"c{number}")
    assert list(newcomers.of("s1")) == [f"c{number}" for number in range(1, MAX_NEWCOMERS + 1)]
    assert timers[0].cancelled
    timers[1].fire()
    assert "c1" not in newcomers.of("s1")
    for timer in timers[2:]:
        timer.fire()
    assert len(newcomers) == 0
    assert newcomers._timers == {}


def test_who_enters_again_has_its_whole_time() -> None:
    timers = Timers()
    newcomers = Newcomers(timers)
    newcomers.add("s1", "c1")
    newcomers.add("s1", "c1")
    assert [timer.cancelled for timer in timers] == [True, False]
    assert list(newcomers.of("s1")) == ["c1"]
    newcomers.remove("s1", "c1")
    newcomers.remove("s1", "c1")
    newcomers.remove("s2", "c1")
    assert timers[1].cancelled
    assert (len(newcomers), newcomers._timers) == (0, {})


async def test_what_the_room_hears_the_listener_does() -> None:
    rooms = Rooms()
    rooms.enter("alice", ROOM)
    heard: list[tuple[str, Mapping[str, object]]] = []
    stream = stream_of(rooms, Newcomers(Timers()), lambda event, payload: heard.append((event, payload)))
    await stream.start()
    await stream.send("안녕")
    await stream.send("하세요")
    await stream.end({"seq": 2})
    await stream.end({"error": "never told"})
    of = {"message_id": "m1", "session_id": "s1"}
    assert heard == rooms.heard["alice"]
    assert heard == [
        ("stream_start", {**of, "sender_type": "agent", "sender_id": "1"}),
        ("stream_chunk", {**of, "content": "안녕", "index": 0}),
        ("stream_chunk", {**of, "content": "하세요", "index": 1}),
        ("stream_end", {**of, "content": "안녕하세요", "seq": 2}),
    ]
    assert stream.text == "안녕하세요"


async def test_the_room_hears_nothing_of_one_that_did_not_start() -> None:
    rooms = Rooms()
    rooms.enter("alice", ROOM)
    heard: list[str] = []
    stream = stream_of(rooms, Newcomers(Timers()), lambda event, payload: heard.append(event))
    await stream.replay("bob")
    await stream.end({"cancelled": True})
    assert (heard, rooms.heard) == (["stream_end"], {})


async def test_nothing_is_replayed_of_one_that_ended() -> None:
    rooms = Rooms()
    stream = stream_of(rooms, Newcomers(Timers()))
    await stream.start()
    await stream.send("x")
    await stream.end({})
    await stream.replay("bob")
    assert "bob" not in rooms.heard


@pytest.mark.parametrize("count", [MAX_REPLAYED, MAX_REPLAYED + 1, 3 * MAX_REPLAYED])
async def test_a_long_text_so_far_is_replayed_in_bounds(count: int) -> None:
    rooms = Rooms()
    stream = stream_of(rooms, Newcomers(Timers()))
    await stream.start()
    for number in range(count):
        await stream.send(f"{number} ")
    await stream.replay("bob")
    assert "".join(rooms.contents("bob")) == stream.text
    indexes = [chunk["index"] for chunk in rooms.payloads("stream_chunk", "bob")]
    assert indexes == list(range(count - MAX_REPLAYED, count))


@given(data=st.data(), chunks=st.lists(st.text("ab", min_size=1), min_size=1, max_size=12))
def test_whenever_one_comes_it_hears_every_word_once(data: st.DataObject, chunks: list[str]) -> None:
    """Somebody watches, enters the room and is known to be in it, each at any time of the stream, in this order."""
    events = len(chunks) + 2
    times = sorted(data.draw(st.lists(st.integers(0, events), min_size=3, max_size=3)))
    rooms, newcomers = Rooms(), Newcomers(Timers())
    rooms.enter("alice", ROOM)
    stream = stream_of(rooms, newcomers)

    async def watch() -> None:
        newcomers.add("s1", "bob")
        await stream.replay("bob")

    async def enter() -> None:
        rooms.enter("bob", ROOM)

    async def unwatch() -> None:
        newcomers.remove("s1", "bob")

    async def tell() -> None:
        steps = [watch, enter, unwatch]
        for number in range(events + 1):
            for time, step in zip(times, steps, strict=True):
                if time == number:
                    await step()
            if number == 0:
                await stream.start()
            elif number <= len(chunks):
                await stream.send(chunks[number - 1])
            elif number < events:
                await stream.end({})

    asyncio.run(tell())
    came_after_its_end = times[0] == events
    assert rooms.heard["bob"] == ([] if came_after_its_end else rooms.heard["alice"])
