from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.errors import Forbidden
from server.namespaces.chat import messages, sessions
from server.namespaces.chat.models import ChatSession, Draft
from server.namespaces.chat.transcript import Transcript, new_message_id, now
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


def draft(content: str = "hi", session_id: str = "s1") -> Draft:
    return Draft(session_id, new_message_id(), "user", "alice", "text", content)


async def test_a_message_is_committed_before_it_is_sent(database: Database) -> None:
    async with Transcript(database).append(draft()) as (message, _), database.reading() as db:
        (stored,), _ = await messages.newest_messages(db, "s1", 10)
        assert stored.message_id == message.message_id


async def test_messages_are_sent_in_the_order_they_were_stored(database: Database) -> None:
    transcript, sent = Transcript(database), []

    async def send(number: int) -> None:
        async with transcript.append(draft(str(number))) as (message, _):
            if number % 3 == 0:  # some are slow to send
                await asyncio.sleep(0.001)
            sent.append(message.seq)

    await asyncio.gather(*(send(number) for number in range(20)))
    assert sent == list(range(1, 21))


async def test_nothing_is_stored_while_it_is_still(database: Database) -> None:
    transcript = Transcript(database)
    async with transcript.still("s1"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), transcript.append(draft()):
                pass
    async with transcript.append(draft()) as (message, _):
        assert message.seq == 1


async def test_a_session_that_is_gone(database: Database) -> None:
    with pytest.raises(Forbidden):
        async with Transcript(database).append(draft(session_id="gone")):
            pass


def test_time_is_stored_as_exactly_as_it_is_told() -> None:
    moment = now()
    assert moment.microsecond % 1000 == 0
    assert iso_utc(moment).endswith(f".{moment.microsecond // 1000:03}Z")
