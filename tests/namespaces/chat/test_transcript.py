from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession

from server.errors import Forbidden, GoingAway
from server.namespaces.chat import messages, sessions
from server.namespaces.chat.messages import Arrival, SessionState
from server.namespaces.chat.models import ChatMessage, ChatSession, Draft
from server.namespaces.chat.transcript import MAX_TOGETHER, Transcript, new_message_id, now
from server.realtime.tasks import Tasks
from server.storage.database import Database
from server.timestamps import iso_utc
from tests.support import running


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
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
def transcript(database: Database, tasks: Tasks) -> Transcript:
    return Transcript(database, tasks.start)


def draft(content: str = "hi", session_id: str = "s1") -> Draft:
    return Draft(session_id, new_message_id(), "user", "alice", "text", content)


async def silence(_: ChatMessage) -> None:
    pass


async def test_a_message_is_committed_before_it_is_told(database: Database, transcript: Transcript) -> None:
    told = []

    async def tell(message: ChatMessage) -> None:
        async with database.reading() as db:
            (stored,), _ = await messages.page(db, "s1", limit=10)
            told.append((stored.message_id, message.message_id))

    message, is_new = await transcript.append(draft(), tell)
    assert is_new
    assert told == [(message.message_id, message.message_id)]


async def test_messages_are_told_in_the_order_they_were_stored(transcript: Transcript) -> None:
    told = []

    async def tell(message: ChatMessage) -> None:
        if message.seq % 3 == 0:  # some are slow to tell
            await asyncio.sleep(0.001)
        told.append(message.seq)

    count = 2 * MAX_TOGETHER + 10
    stored = await asyncio.gather(*(transcript.append(draft(str(number)), tell) for number in range(count)))
    assert told == [message.seq for message, _ in stored] == list(range(1, count + 1))
    assert [message.content for message, _ in stored] == [str(number) for number in range(count)]
    assert len(transcript) == len(transcript._locks) == 0


async def test_what_is_wrong_with_one_is_not_the_others_fault(database: Database, transcript: Transcript) -> None:
    async def fail(_: AsyncSession) -> None:
        raise ZeroDivisionError

    def anybody(_: SessionState) -> None:
        pass

    async def tell(_: object) -> None:
        pass

    results = await asyncio.gather(
        transcript.append(draft("1"), silence),
        transcript.post(Arrival(draft("2"), anybody, fail), tell),
        transcript.append(draft("3", session_id="gone"), silence),
        transcript.append(draft("4"), silence),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [tuple, ZeroDivisionError, Forbidden, tuple]
    async with database.reading() as db:
        stored, _ = await messages.page(db, "s1", limit=10)
    assert [(each.seq, each.content) for each in stored] == [(1, "1"), (2, "4")]


async def test_one_that_cannot_be_told_is_stored_all_the_same(database: Database, transcript: Transcript) -> None:
    async def fail(_: ChatMessage) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await transcript.append(draft(), fail)
    message, _ = await transcript.append(draft(), silence)
    assert message.seq == 2


async def test_nothing_is_stored_while_it_is_still(transcript: Transcript) -> None:
    async with transcript.still("s1"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await transcript.append(draft(), silence)
    message, _ = await transcript.append(draft(), silence)
    assert message.seq == 1


async def test_it_is_not_still_before_what_came_earlier_was_told(transcript: Transcript) -> None:
    telling, go_on, order = asyncio.Event(), asyncio.Event(), []

    async def tell(message: ChatMessage) -> None:
        telling.set()
        await go_on.wait()
        order.append(message.seq)

    async def still() -> None:
        async with transcript.still("s1"):
            order.append(0)

    one = asyncio.create_task(transcript.append(draft(), tell))
    await telling.wait()
    one.cancel()  # its sender is gone; it is stored
    waiting = asyncio.create_task(still())
    another = asyncio.create_task(transcript.append(draft(), tell))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(waiting, another)
    assert order == [1, 0, 2]


async def test_what_waits_when_the_server_stops_is_refused(transcript: Transcript, tasks: Tasks) -> None:
    telling = asyncio.Event()

    async def tell(_: ChatMessage) -> None:
        telling.set()
        await asyncio.Event().wait()

    sending = [asyncio.create_task(transcript.append(draft(), tell))]
    await telling.wait()
    sending.append(asyncio.create_task(transcript.append(draft(), tell)))
    await asyncio.sleep(0)
    await tasks.close()
    assert [type(each) for each in await asyncio.gather(*sending, return_exceptions=True)] == [GoingAway, GoingAway]
    assert len(transcript) == len(transcript._locks) == 0


def test_time_is_stored_as_exactly_as_it_is_told() -> None:
    moment = now()
    assert moment.microsecond % 1000 == 0
    assert iso_utc(moment).endswith(f".{moment.microsecond // 1000:03}Z")
