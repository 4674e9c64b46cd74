from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.exc import IntegrityError

from server.namespaces.chat import sessions
from server.storage.database import Database
from tests.namespaces.chat.test_messages import session
from tests.support import running


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
    async with database.transaction() as db:
        await sessions.create_session(db, session())
    yield database
    await database.close()


async def test_a_session_id_is_taken_once(database: Database) -> None:
    async def take() -> None:
        async with database.transaction() as db:
            await sessions.create_session(db, session())

    with pytest.raises(IntegrityError):
        await take()
    async with database.reading() as db:
        assert await sessions.participants(db, "s1") == ["alice"]
        assert await sessions.is_participant(db, "s1", "alice")
        assert not await sessions.is_participant(db, "s1", "bob")
        assert await sessions.find_session(db, "unknown") is None
