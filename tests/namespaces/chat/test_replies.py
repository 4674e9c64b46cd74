from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, text

from server.namespaces.chat import sessions, upstream
from server.namespaces.chat.agents.backend import HANDOVER, Backend, Question, Verdict
from server.namespaces.chat.models import ChatMessage, ChatSession
from server.namespaces.chat.replies import LAG_SECONDS, MAX_WAITING, Asked, Pace, Replies
from server.namespaces.chat.transcript import Transcript, now
from server.realtime.tasks import Tasks
from server.storage.database import Database
from tests.support import running
from tests.support.agents import Dying, Echo, Mute, Stuck
from tests.support.client import PATIENCE
from tests.support.streaming import Neighbour, Rooms, Scripted

ROOM = "the room"
AT_ONCE = Pace(chunk=100, delay=0)
Make = Callable[..., Replies]


@pytest.fixture
def rooms() -> Rooms:
    rooms = Rooms()
    rooms.enter("alice", ROOM)
    return rooms


@pytest_asyncio.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=sqlite_url).database_url)
    async with database.transaction() as db:
        moment = now()
        session = ChatSession(session_id="s1", user_id="alice", created_at=moment, updated_at=moment)
        await sessions.create_session(db, session)
    yield database
    await database.close()


@pytest_asyncio.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.close()


@pytest.fixture
def make(rooms: Rooms, database: Database, tasks: Tasks) -> Make:
    def make(pace: Pace = AT_ONCE, **options: Any) -> Replies:
        return Replies(rooms, Transcript(database, tasks.start), tasks.start, pace=pace, **options)

    return make


class Time:
    """Passes only while somebody sleeps; `meanwhile` then happens."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.meanwhile()
        for _ in range(5):  # for a backend to go on
            await asyncio.sleep(0)
        if seconds:
            self.slept.append(round(seconds, 6))
            self.now += seconds


def asked(text: str, backend: Backend | type[Echo] = Echo, session_id: str = "s1") -> Asked:
    made = backend(Path(), {}) if isinstance(backend, type) else backend
    return Asked(1, made, Question(session_id, "alice", text), ROOM)


async def finish(tasks: Tasks) -> None:
    async with asyncio.timeout(PATIENCE):
        while tasks._tasks:
            await asyncio.gather(*tasks._tasks)


async def stored(database: Database) -> list[ChatMessage]:
    async with database.reading() as db:
        return list(await db.scalars(select(ChatMessage).order_by(ChatMessage.seq)))


class Heard(list[tuple[str, Mapping[str, object]]]):
    """A listener."""

    def __call__(self, event: str, payload: Mapping[str, object]) -> None:
        self.append((event, payload))


# -- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [Dying, Mute])
async def test_a_backend_that_dies_is_followed_by_the_next_question(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks, backend: type[Echo]
) -> None:
    replies = make()
    replies.ask(asked("", backend))
    replies.ask(asked("hello"))
    await finish(tasks)
    dead, well = rooms.payloads("stream_end")
    assert dead["error"]["code"] == "INTERNAL"
    assert "seq" not in dead
    assert well["seq"] == 1
    assert [message.content for message in await stored(database)] == ["hello"]


async def test_what_a_dead_backend_said_before_is_not_stored(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    class Cut(Scripted):
        async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
            async for piece in super().answer(question):
                yield piece
            raise ConnectionError("cut")

    backend = Cut("the rate is 3.5 %, but")
    replies, heard = make(), Heard()
    replies.ask(asked("", backend), heard)
    await rooms.hears("stream_chunk")
    backend.say(None)
    await finish(tasks)
    assert rooms.contents() == ["the rate is 3.5 %, but"]
    assert rooms.payloads("stream_end")[0]["error"]["code"] == "INTERNAL"
    assert heard == rooms.heard["alice"]
    assert await stored(database) == []


async def test_a_backend_that_is_silent_for_too_long_is_closed(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    question = asked("", Stuck)
    make(patience=0.01).ask(question)
    await finish(tasks)
    assert rooms.payloads("stream_end")[0]["error"]["code"] == "TIMEOUT"
    assert isinstance(question.backend, Stuck)
    assert question.backend.closed.is_set()
    assert await stored(database) == []


async def test_a_session_that_goes_while_it_is_answered(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    async with database.transaction() as db:
        await db.execute(text("DELETE FROM chat_sessions"))
    make().ask(asked("hello"))
    await finish(tasks)
    (end,) = rooms.payloads("stream_end")
    assert end["error"]["code"] == "FORBIDDEN"


async def test_questions_beyond_the_bound_push_the_oldest_out(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    replies, pushed_out = make(), Heard()
    replies.ask(asked("being answered"))
    await asyncio.sleep(0)
    for number in range(MAX_WAITING + 3):
        replies.ask(asked(str(number)), pushed_out if number < 3 else None)
    await finish(tasks)
    assert rooms.contents() == ["being answered", *map(str, range(3, MAX_WAITING + 3))]
    assert [(event, payload["error"]["code"]) for event, payload in pushed_out] == [  # type: ignore[index]
        ("stream_end", "LIMIT_EXCEEDED")
    ] * 3


async def test_stopping_closes_the_backend_and_tells_everybody(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    replies, waiting = make(), Heard()
    question = asked("", Stuck)
    replies.ask(question)
    replies.ask(asked("too late"), waiting)
    await rooms.hears("stream_chunk")
    await tasks.close()
    assert isinstance(question.backend, Stuck)
    assert question.backend.closed.is_set()
    assert [end["error"]["code"] for end in rooms.payloads("stream_end")] == ["GOING_AWAY"]
    assert [(event, payload["error"]["code"]) for event, payload in waiting] == [  # type: ignore[index]
        ("stream_end", "GOING_AWAY")
    ]
    assert len(replies) == 0
    assert await stored(database) == []
    with pytest.raises(RuntimeError):
        replies.ask(question)
    assert len(replies) == 0


async def test_stopping_between_two_chunks_closes_the_backend(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    async def sleep(seconds: float) -> None:
        if seconds:
            await asyncio.Event().wait()

    backend = Scripted("0123456789" * 3)
    make(Pace(10, 1), sleep=sleep).ask(asked("", backend))
    await rooms.hears("stream_chunk")
    await tasks.close()
    assert backend.closed.is_set()


async def test_what_cannot_be_stored_and_what_never_ends(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_ANSWER_CHARS", 50)
    make(Pace(1000, 0)).ask(asked("", Scripted("a\0b\ud83d", *["x" * 10] * 100)))
    await finish(tasks)
    (message,) = await stored(database)
    assert message.content == "ab\ufffd" + "x" * 47
    assert "".join(rooms.contents()) == message.content


async def test_what_is_done_with_an_answer_stops_nothing_when_it_fails(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    replies = make()

    async def answered(asked: Asked, verdict: Verdict) -> None:
        raise RuntimeError("no handover")

    replies.answered = answered
    replies.ask(asked("one"))
    replies.ask(asked("two"))
    await finish(tasks)
    assert ["error" in end for end in rooms.payloads("stream_end")] == [False, False]


# -- pace -----------------------------------------------------------------------------------------------------------


async def test_a_burst_is_paced(make: Make, rooms: Rooms, database: Database, tasks: Tasks) -> None:
    time = Time()
    make(Pace(4, 0.05), sleep=time.sleep, clock=time).ask(asked("01|2345|678|9"))
    await finish(tasks)
    assert rooms.contents() == ["0123", "4567", "89"]
    assert [chunk["index"] for chunk in rooms.payloads("stream_chunk")] == [0, 1, 2]
    assert time.slept == [0.05, 0.05]
    (end,) = rooms.payloads("stream_end")
    assert (end["seq"], end["latency_ms"], end["tokens_used"]) == (1, 100, 13)
    (message,) = await stored(database)
    assert (message.content, message.latency_ms, message.tokens_used) == ("0123456789", 100, 13)


async def test_text_waits_for_no_longer_than_the_delay(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    time, backend = Time(), Scripted("ab")
    make(Pace(10, 0.05), sleep=time.sleep, clock=time).ask(asked("", backend))
    await rooms.hears("stream_chunk")
    time.now += 5  # the backend is slow
    backend.say("cd")
    await rooms.hears("stream_chunk", count=2)
    backend.say(None)
    await finish(tasks)
    assert rooms.contents() == ["ab", "cd"]
    assert time.slept == [0.05, 0.05]


async def test_what_comes_while_text_waits_is_in_the_same_chunk(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    time, backend = Time(), Scripted("ab")
    rest: list[tuple[str | None, ...]] = [("cdefghijkl",), ("mn", None)]
    time.meanwhile = lambda: backend.say(*rest.pop(0))
    make(Pace(10, 0.05), sleep=time.sleep, clock=time).ask(asked("", backend))
    await finish(tasks)
    assert rooms.contents() == ["abcdefghij", "klmn"]


async def test_a_whole_chunk_goes_at_once(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    time, backend = Time(), Scripted("0123456789", None)
    make(Pace(10, 0.05), sleep=time.sleep, clock=time).ask(asked("", backend))
    await finish(tasks)
    assert (rooms.contents(), time.slept) == (["0123456789"], [])


async def test_readers_are_not_far_behind_a_backend(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    """At the pace of the settings this would take more than five minutes."""
    time = Time()
    make(Pace(10, 0.05), sleep=time.sleep, clock=time).ask(asked("x" * 65_536))
    await finish(tasks)
    assert "".join(rooms.contents()) == "x" * 65_536
    assert sum(time.slept) < 5 * LAG_SECONDS
    assert {len(content) for content in rooms.contents()[-100:-1]} == {10}


async def test_sessions_do_not_wait_for_each_other(make: Make, rooms: Rooms) -> None:
    replies = make()
    replies.ask(asked("", Stuck, "another"))
    replies.ask(asked("hello"))
    await rooms.hears("stream_end")
    async with asyncio.timeout(PATIENCE):
        while len(replies) > 1:  # noqa: ASYNC110 - the answer was told, and is done a turn later
            await asyncio.sleep(0)


# -- cancelled, silenced --------------------------------------------------------------------------------------------


async def streaming(replies: Replies, rooms: Rooms, backend: Backend | type[Echo] = Stuck) -> str:
    """The message that begins to stream."""
    replies.ask(asked("", backend))
    await rooms.hears("stream_chunk")
    (message_id,) = replies.running("s1")
    return message_id


async def test_cancelling_stops_the_backend_and_stores_what_was_sent(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    backend = Scripted("the rate is ")
    replies = make()
    message_id = await streaming(replies, rooms, backend)
    replies.ask(asked("next"))
    assert await replies.find(message_id) == "s1"
    assert await replies.cancel(message_id, "s1") is True
    assert await replies.cancel(message_id, "s1") is False
    await finish(tasks)
    assert backend.closed.is_set()
    cancelled, following = rooms.payloads("stream_end")
    assert (cancelled["message_id"], cancelled["cancelled"], cancelled["seq"]) == (message_id, True, 1)
    assert cancelled["tokens_used"] is None
    assert "cancelled" not in following
    messages = await stored(database)
    assert [message.content for message in messages] == ["the rate is ", "next"]
    assert messages[0].to_wire()["metadata"] == {"cancelled": True, "latency_ms": cancelled["latency_ms"]}
    assert await replies.find(message_id) is None
    assert replies.running("s1") == []


async def test_what_was_not_sent_of_a_cancelled_answer_is_not_stored(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    gate = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds:
            await gate.wait()

    replies = make(Pace(4, 1), sleep=sleep)
    message_id = await streaming(replies, rooms, Scripted("0123456789", None))
    assert await replies.cancel(message_id, "s1")
    await finish(tasks)
    assert [message.content for message in await stored(database)] == rooms.contents() == ["0123"]


async def test_nothing_is_stored_of_an_answer_without_text(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    backend = Scripted()
    replies = make()
    replies.ask(asked("", backend))
    await rooms.hears("stream_start")
    assert await replies.cancel(rooms.payloads("stream_start")[0]["message_id"], "s1")
    await finish(tasks)
    (end,) = rooms.payloads("stream_end")
    assert end["cancelled"] is True
    assert "seq" not in end
    assert await stored(database) == []


async def test_only_what_streams_in_that_session_can_be_cancelled(make: Make, rooms: Rooms) -> None:
    replies = make()
    message_id = await streaming(replies, rooms)
    assert not await replies.cancel(message_id, "s2")
    assert not await replies.cancel("msg_another", "s1")
    assert await replies.find("msg_another") is None
    assert replies.running("s1") == [message_id]
    assert rooms.payloads("stream_end") == []


async def test_an_answer_that_is_being_stored_is_not_cancelled_any_more(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    replies = make()
    storing, gate = asyncio.Event(), asyncio.Event()
    append = replies._transcript.append

    async def held(*args: Any) -> tuple[ChatMessage, bool]:
        storing.set()
        await gate.wait()
        return await append(*args)

    replies._transcript.append = held  # type: ignore[method-assign, assignment]
    replies.ask(asked("hello"))
    await storing.wait()
    (message_id,) = replies.running("s1")
    assert not await replies.cancel(message_id, "s1")
    gate.set()
    await finish(tasks)
    assert rooms.payloads("stream_end")[0]["seq"] == 1


async def test_a_silenced_session_is_not_answered(make: Make, rooms: Rooms, database: Database, tasks: Tasks) -> None:
    replies, waiting = make(), Heard()
    await streaming(replies, rooms)
    replies.ask(asked("one"), waiting)
    replies.ask(asked("two"))
    replies.silence("s1")
    replies.silence("nothing is asked here")
    await finish(tasks)
    assert rooms.contents() == ["0123456789"]
    assert [end["cancelled"] for end in rooms.payloads("stream_end")] == [True]
    assert waiting == [("stream_end", {"session_id": "s1", "cancelled": True})]
    assert [message.content for message in await stored(database)] == ["0123456789"]
    replies.ask(asked("is anybody there?"))  # handed back
    await finish(tasks)
    assert rooms.contents()[1:] == ["is anybody there?"]


async def test_what_is_not_wanted_any_more_is_not_begun(
    make: Make, rooms: Rooms, database: Database, tasks: Tasks
) -> None:
    replies, heard = make(), Heard()

    async def prepare(asked: Asked) -> Question | None:
        return None if asked.question.text == "taken over" else asked.question

    replies.prepare = prepare
    replies.ask(asked("taken over"), heard)
    replies.ask(asked("hello"))
    await finish(tasks)
    assert rooms.contents() == ["hello"]
    assert len(rooms.payloads("stream_start")) == 1
    assert [(event, payload["cancelled"]) for event, payload in heard] == [("stream_end", True)]


async def test_what_is_silenced_right_before_it_begins_is_not_begun(make: Make, rooms: Rooms, tasks: Tasks) -> None:
    replies, heard, asking = make(), Heard(), asyncio.Event()

    async def prepare(asked: Asked) -> Question | None:
        asking.set()
        await asyncio.Event().wait()
        return asked.question

    replies.prepare = prepare
    replies.ask(asked("hello"), heard)
    await asking.wait()
    replies.silence("s1")
    await finish(tasks)
    assert rooms.heard["alice"] == []
    assert [(event, payload["cancelled"]) for event, payload in heard] == [("stream_end", True)]


async def test_what_follows_an_answer_is_told_once_it_is_stored(make: Make, database: Database, tasks: Tasks) -> None:
    replies = make()
    told: list[tuple[str, Verdict, int]] = []

    async def answered(asked: Asked, verdict: Verdict) -> None:
        told.append((asked.question.text, verdict, len(await stored(database))))
        replies.silence("s1")  # as a handover does

    replies.answered = answered
    verdict = Verdict(suggested_action=HANDOVER)
    replies.ask(asked("help", Scripted("Wait", verdict, None)))
    replies.ask(asked("hello?"))
    await finish(tasks)
    assert told == [("help", verdict, 1)]


# -- who comes in the middle, and other nodes -----------------------------------------------------------------------


@pytest.fixture
def nodes(make: Make) -> tuple[Replies, Replies, Neighbour]:
    """The others as the second has them."""
    neighbours: list[Neighbour] = []
    one, other = [make(others=Neighbour(neighbours)) for _ in range(2)]
    return one, other, neighbours[1]


@pytest.mark.parametrize("here", [True, False])
async def test_who_comes_in_the_middle_hears_every_word_once(
    nodes: tuple[Replies, Replies, Neighbour], rooms: Rooms, tasks: Tasks, here: bool
) -> None:
    one, other, _ = nodes
    mine = one if here else other
    backend = Scripted("so far, ")
    await streaming(one, rooms, backend)
    await mine.watch("s1", "bob")
    assert rooms.contents("bob") == ["so far, "]
    backend.say("and on ")
    await rooms.hears("stream_chunk", count=2)
    rooms.enter("bob", ROOM)
    backend.say("and on ")
    await rooms.hears("stream_chunk", count=3)
    await mine.unwatch("s1", "bob")
    backend.say("to the end", None)
    await finish(tasks)
    assert rooms.heard["bob"] == rooms.heard["alice"]
    assert len(one._newcomers) == len(other._newcomers) == 0


async def test_who_watches_hears_what_begins_before_it_is_in_the_room(
    nodes: tuple[Replies, Replies, Neighbour], rooms: Rooms, tasks: Tasks
) -> None:
    one, other, _ = nodes
    await other.watch("s1", "bob")
    one.ask(asked("hello"))
    await finish(tasks)
    assert rooms.heard["bob"] == rooms.heard["alice"]


async def test_an_answer_is_found_and_cancelled_from_another_node(
    nodes: tuple[Replies, Replies, Neighbour], rooms: Rooms, tasks: Tasks
) -> None:
    one, other, _ = nodes
    message_id = await streaming(one, rooms)
    assert await other.find(message_id) == "s1"
    assert not await other.cancel(message_id, "s2")
    assert await other.cancel(message_id, "s1")
    await finish(tasks)
    assert [end["cancelled"] for end in rooms.payloads("stream_end")] == [True]
    assert await other.find(message_id) is None


async def test_a_session_is_silenced_on_all_nodes(
    nodes: tuple[Replies, Replies, Neighbour], rooms: Rooms, tasks: Tasks
) -> None:
    one, other, others = nodes
    await streaming(one, rooms)
    one.ask(asked("waits"))
    other.silence("s1")
    await finish(tasks)
    assert rooms.contents() == ["0123456789"]
    assert [end["cancelled"] for end in rooms.payloads("stream_end")] == [True]
    assert len(others.asked) == 1  # it is not passed on
