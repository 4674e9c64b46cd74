from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from server.namespaces.chat import messages, replies, sessions
from server.namespaces.chat.agents.backend import Backend, Question, Verdict
from server.namespaces.chat.models import ChatMessage, ChatSession
from server.namespaces.chat.replies import MAX_WAITING, Asked, Pace, Replies
from server.namespaces.chat.transcript import Transcript, now
from server.realtime.tasks import Tasks
from server.storage.database import Database
from tests.support import running
from tests.support.agents import Dying, Echo, Stuck


class Room:
    """Keeps what was emitted into it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Mapping[str, object]]] = []
        self._changed = asyncio.Condition()

    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str,
        skip: str | None = None,
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        assert (room, skip, volatile) == ("the room", None, False)
        async with self._changed:
            self.heard.append((event, payload))
            self._changed.notify_all()

    async def hears(self, event: str) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: any(name == event for name, _ in self.heard))

    def contents(self) -> list[object]:
        return [payload["content"] for event, payload in self.heard if event == "stream_chunk"]

    def ends(self) -> list[Mapping[str, object]]:
        return [payload for event, payload in self.heard if event == "stream_end"]


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


def asked(text: str, backend: type[Echo] = Echo, session_id: str = "s1") -> Asked:
    return Asked(1, backend(Path(), {}), Question(session_id, "alice", text), "the room")


async def finish(tasks: Tasks) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks._tasks)


async def stored(database: Database) -> list[ChatMessage]:
    async with database.reading() as db:
        return (await messages.newest_messages(db, "s1", 100))[0]


async def test_chunks_are_paced(database: Database, tasks: Tasks) -> None:
    room, slept, time = Room(), [], [100.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        time[0] += seconds

    pace = Pace(chunk=4, delay=0.05)
    replies = Replies(room, Transcript(database), tasks.start, pace=pace, sleep=sleep, clock=lambda: time[0])
    replies.ask(asked("01|2345|678|9"))
    await finish(tasks)
    assert room.contents() == ["0123", "4567", "89"]
    assert slept == [0.05, 0.05]
    (end,) = room.ends()
    assert (end["seq"], end["latency_ms"], end["tokens_used"]) == (1, 100, 13)
    (message,) = await stored(database)
    assert (message.content, message.latency_ms, message.tokens_used) == ("0123456789", 100, 13)


async def test_questions_beyond_the_bound_push_the_oldest_out(database: Database, tasks: Tasks) -> None:
    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(100, 0))
    replies.ask(asked("being answered"))
    await asyncio.sleep(0)
    for number in range(MAX_WAITING + 3):
        replies.ask(asked(str(number)))
    await finish(tasks)
    assert room.contents() == ["being answered", *map(str, range(3, MAX_WAITING + 3))]


async def test_sessions_do_not_wait_for_each_other(database: Database, tasks: Tasks) -> None:
    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(100, 0))
    replies.ask(asked("", Stuck, "another"))
    replies.ask(asked("hello"))
    await room.hears("stream_end")
    assert len(replies) == 1


async def test_a_backend_that_dies_is_followed_by_the_next_question(database: Database, tasks: Tasks) -> None:
    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(10, 0))
    replies.ask(asked("", Dying))
    replies.ask(asked("hello"))
    await finish(tasks)
    dead, well = room.ends()
    assert isinstance(dead["error"], dict)
    assert dead["error"]["code"] == "INTERNAL"
    assert "seq" not in dead
    assert well["seq"] == 1
    assert [message.content for message in await stored(database)] == ["hello"]


async def test_a_backend_that_is_silent_for_too_long_is_closed(database: Database, tasks: Tasks) -> None:
    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(10, 0), patience=0.01)
    question = asked("", Stuck)
    replies.ask(question)
    await finish(tasks)
    (end,) = room.ends()
    assert isinstance(end["error"], dict)
    assert end["error"]["code"] == "TIMEOUT"
    assert isinstance(question.backend, Stuck)
    assert question.backend.closed.is_set()
    assert await stored(database) == []


async def test_a_session_that_goes_while_it_is_answered(database: Database, tasks: Tasks) -> None:
    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(10, 0))
    async with database.transaction() as db:
        await db.execute(text("DELETE FROM chat_sessions"))
    replies.ask(asked("hello"))
    await finish(tasks)
    (end,) = room.ends()
    assert isinstance(end["error"], dict)
    assert end["error"]["code"] == "FORBIDDEN"


async def test_stopping_closes_the_backend_and_stores_nothing(database: Database, tasks: Tasks) -> None:
    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(10, 0))
    question = asked("", Stuck)
    replies.ask(question)
    await room.hears("stream_chunk")
    await tasks.close()
    assert isinstance(question.backend, Stuck)
    assert question.backend.closed.is_set()
    assert len(replies) == 0
    assert await stored(database) == []
    with pytest.raises(RuntimeError):
        replies.ask(question)
    assert len(replies) == 0


async def test_stopping_between_two_chunks_closes_the_backend(database: Database, tasks: Tasks) -> None:
    closed = asyncio.Event()

    class Talkative:
        async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
            try:
                while True:
                    yield "0123456789"
            finally:
                closed.set()

    async def sleep(seconds: float) -> None:
        await asyncio.Event().wait()

    room = Room()
    replies = Replies(room, Transcript(database), tasks.start, pace=Pace(10, 1), sleep=sleep)
    backend = Talkative()
    replies.ask(Asked(1, backend, Question("s1", "alice", "?"), "the room"))
    await room.hears("stream_chunk")
    await tasks.close()
    assert closed.is_set()


async def test_what_cannot_be_stored_and_what_never_ends(
    database: Database, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless:
        async def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
            yield "a\0b"
            for _ in range(100):
                yield "x" * 10

    monkeypatch.setattr(replies, "MAX_ANSWER_CHARS", 50)
    room = Room()
    backend: Backend = Endless()
    running_replies = Replies(room, Transcript(database), tasks.start, pace=Pace(1000, 0))
    running_replies.ask(Asked(1, backend, Question("s1", "alice", "?"), "the room"))
    await finish(tasks)
    (message,) = await stored(database)
    assert message.content == "ab" + "x" * 48
    assert room.contents() == [message.content]
