"""The index of search as its migration makes it, of messages that were there before, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from server.identity import Identity
from server.migrations import configuration, downgrade, upgrade
from server.namespaces.chat.search import Search
from server.storage.database import Database
from tests.support import running

# More than one batch is filled; every hundredth is deleted, the last is as long as messages get.
MESSAGES = [(number, None if number % 100 == 0 else f"웹서버 {number}번 message") for number in range(1, 2_100)]
MESSAGES.append((2_100, "가나다" * 20_000 + " 긴글"))


@pytest.fixture
def url(database_url: str) -> str:
    return running.settings(DATABASE_URL=database_url).database_url


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Without search, and with messages."""
    await asyncio.to_thread(downgrade, url, "0002")
    database = await asyncio.to_thread(Database, url)
    async with database.transaction() as db:
        await db.execute(text("INSERT INTO chat_sessions (session_id, user_id) VALUES ('s1', 'alice')"))
        await db.execute(text("INSERT INTO chat_participants (session_id, user_id) VALUES ('s1', 'alice')"))
        await db.execute(
            text(
                "INSERT INTO chat_messages"
                " (session_id, seq, message_id, sender_type, sender_id, message_type, content)"
                " VALUES ('s1', :seq, :message_id, 'user', 'alice', 'text', :content)"
            ),
            [{"seq": number, "message_id": f"m{number}", "content": content} for number, content in MESSAGES],
        )
    yield database
    await database.close()


async def found(database: Database, query: str) -> list[object]:
    hits = (await Search(database).search(Identity("alice"), query, session_id=None, limit=50))["hits"]
    assert isinstance(hits, list)
    return [hit["message_id"] for hit in hits]


async def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    async with database.reading() as db:
        return [tuple(row) for row in await db.execute(text(query))]


async def test_up_down_and_up_again_with_messages_in_it(url: str, database: Database) -> None:
    before = await rows(database, "SELECT id, content, created_at FROM chat_messages ORDER BY id")
    for _ in range(2):
        await asyncio.to_thread(upgrade, url)
        assert await found(database, "서버 1234번") == ["m1234"]
        assert await found(database, "2099번") == ["m2099"]
        assert await found(database, "긴글") == ["m2100"]
        assert len(await found(database, "messag")) == 50
        unfilled = "SELECT id FROM chat_messages WHERE (bigrams IS NULL) <> (content IS NULL)"
        assert await rows(database, unfilled) == []
        await database.engine.dispose()
        await asyncio.to_thread(downgrade, url, "0002")
        with pytest.raises(DBAPIError):
            await found(database, "서버")
        assert await rows(database, "SELECT id, content, created_at FROM chat_messages ORDER BY id") == before
        await database.engine.dispose()


async def test_nothing_of_it_stays(url: str, database: Database) -> None:
    listing = {
        "sqlite": "SELECT name FROM sqlite_master WHERE name LIKE '%search%' OR sql LIKE '%bigrams%'",
        "postgresql": "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%bigrams%'",
    }[database.engine.dialect.name]
    await asyncio.to_thread(upgrade, url)
    assert await rows(database, listing) != []
    await database.engine.dispose()
    await asyncio.to_thread(downgrade, url, "0002")
    assert await rows(database, listing) == []


async def test_it_is_no_drift(url: str, database: Database) -> None:
    await asyncio.to_thread(upgrade, url)
    await asyncio.to_thread(command.check, configuration(url))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_index_of_sqlite_is_whole(url: str, database: Database) -> None:
    """Also after a message and then all of a session are gone: what was put in is what is taken out."""
    await asyncio.to_thread(upgrade, url)
    for change in (
        "UPDATE chat_messages SET bigrams = 'xx yy' WHERE id < 500",
        "DELETE FROM chat_messages WHERE id < 1000",
        "DELETE FROM chat_sessions",
    ):
        async with database.transaction() as db:
            await db.execute(text(change))
            await db.execute(text("INSERT INTO chat_search (chat_search) VALUES ('integrity-check')"))
    assert await rows(database, "SELECT rowid FROM chat_search WHERE chat_search MATCH 'session : 7331'") == []
    async with database.transaction() as db:
        await db.execute(text("CREATE VIRTUAL TABLE terms USING fts5vocab('chat_search', 'row')"))
        await db.execute(text("INSERT INTO chat_search (chat_search) VALUES ('optimize')"))
        assert (await db.execute(text("SELECT * FROM terms"))).all() == []
