from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import func, select, text

from server.errors import AtriumError, Conflict
from server.namespaces.chat import messages, sessions
from server.namespaces.chat.messages import Arrival, SessionState, Stored
from server.namespaces.chat.models import ChatMessage, ChatSession, Draft
from server.storage.database import Database
from tests.support import running

MOMENT = datetime(2025, 11, 3, 10, 30, 45, 123000, tzinfo=UTC)
DRAFT = Draft("s1", "m1", "user", "alice", "text", "hi")


def session(session_id: str = "s1") -> ChatSession:
    return ChatSession(session_id=session_id, user_id="alice", status="active", created_at=MOMENT, updated_at=MOMENT)


@pytest_asyncio.fixture
async def databases(database_url: str) -> AsyncIterator[list[Database]]:
    """Two nodes on one database that has the session s1."""
    url = running.settings(DATABASE_URL=database_url).database_url
    databases = [await asyncio.to_thread(Database, url) for _ in range(2)]
    async with databases[0].transaction() as db:
        await sessions.create_session(db, session())
    yield databases
    for database in databases:
        await database.close()


def anybody(_: SessionState) -> None:
    pass


async def append_all(
    database: Database, *drafts: Draft, admit: Callable[[SessionState], None] = anybody
) -> list[Stored | AtriumError]:
    async with database.transaction() as db:
        return await messages.append(db, [Arrival(draft, admit) for draft in drafts], lambda: MOMENT)


async def append(database: Database, draft: Draft) -> tuple[ChatMessage, bool]:
    (stored,) = await append_all(database, draft)
    assert isinstance(stored, Stored)
    return stored.message, stored.is_new


async def test_messages_are_numbered_from_one_in_each_session(databases: list[Database]) -> None:
    async with databases[0].transaction() as db:
        await sessions.create_session(db, session("s2"))
    for number, session_id in enumerate(("s1", "s2", "s1", "s2", "s1")):
        message, new = await append(databases[0], replace(DRAFT, session_id=session_id, message_id=f"m{number}"))
        assert (message.seq, new) == (number // 2 + 1, True)


async def test_many_at_once(databases: list[Database]) -> None:
    """Each is where it would be alone; what one is refused for is not the others' fault."""
    async with databases[0].transaction() as db:
        await sessions.create_session(db, session("s2"))
    named = replace(DRAFT, message_id="m3", client_message_id="c1")
    drafts = [
        DRAFT,
        replace(DRAFT, message_id="m2", session_id="s2"),
        named,
        replace(named, message_id="m4"),
        replace(named, message_id="m5", sender_id="bob"),
        replace(DRAFT, message_id="m6", session_id="unknown"),
        replace(DRAFT, message_id="m7"),
    ]
    found = await append_all(databases[0], *drafts)
    places = [
        (each.message.session_id, each.message.seq, each.is_new) if isinstance(each, Stored) else each.code
        for each in found
    ]
    new = True
    assert places == [
        ("s1", 1, new), ("s2", 1, new), ("s1", 2, new), ("s1", 2, not new), ("s1", 3, new), "FORBIDDEN", ("s1", 4, new),
    ]  # fmt: skip
    async with databases[1].reading() as db:
        stored, _ = await messages.page(db, "s1", limit=10)
        assert [(each.seq, each.message_id) for each in stored] == [(1, "m1"), (2, "m3"), (3, "m5"), (4, "m7")]
        assert [each.created_at - MOMENT for each in stored] == [timedelta(milliseconds=n) for n in range(1, 5)]
        assert await sessions.last_read(db, "s1", "alice") == 4


async def test_who_is_not_admitted_leaves_nothing(databases: list[Database]) -> None:
    def refuse(found: SessionState) -> None:
        assert (found.owner, found.participants) == ("alice", ["alice"])
        raise Conflict

    named = replace(DRAFT, client_message_id="c1")
    (refused,) = await append_all(databases[0], named, admit=refuse)
    assert isinstance(refused, Conflict)
    message, _ = await append(databases[0], named)
    assert message.seq == 1
    (again,) = await append_all(databases[0], replace(named, message_id="m2"), admit=refuse)
    assert isinstance(again, Stored)  # it was said before it could not be
    assert (again.message.message_id, again.is_new) == ("m1", False)


async def test_fifty_writers_on_two_nodes_leave_no_gap(databases: list[Database]) -> None:
    drafts = [replace(DRAFT, message_id=f"m{number}") for number in range(50)]
    written = await asyncio.gather(*(append(databases[n % 2], draft) for n, draft in enumerate(drafts)))
    assert sorted(message.seq for message, _ in written) == list(range(1, 51))
    async with databases[0].reading() as db:
        found = await sessions.find_session(db, "s1")
    assert found is not None
    assert found.last_seq == 50


async def test_one_message_sent_twice_at_once_on_two_nodes_is_stored_once(databases: list[Database]) -> None:
    drafts = [replace(DRAFT, message_id=f"m{number}", client_message_id="c1") for number in range(10)]
    written = await asyncio.gather(*(append(databases[n % 2], draft) for n, draft in enumerate(drafts)))
    assert len({message.message_id for message, _ in written}) == 1
    assert sum(new for _, new in written) == 1
    async with databases[0].reading() as db:
        assert await db.scalar(select(func.count()).select_from(ChatMessage)) == 1
        assert (await db.scalar(select(ChatSession.last_seq))) == 1


async def test_a_transaction_that_fails_gives_its_number_back(databases: list[Database]) -> None:
    async def fail() -> None:
        async with databases[0].transaction() as db:
            await messages.append(db, [Arrival(DRAFT, anybody)], lambda: MOMENT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    message, _ = await append(databases[0], DRAFT)
    assert message.seq == 1


async def test_a_message_keeps_all_it_was_given(databases: list[Database]) -> None:
    draft = replace(
        DRAFT, sender_type="agent", sender_id="1", metadata={"intent": "INFO_REQ"}, tokens_used=15, latency_ms=234
    )
    await append(databases[0], draft)
    async with databases[1].reading() as db:
        (found,), more = await messages.page(db, "s1", limit=10)
    assert not more
    assert found.to_wire() == {
        "message_id": "m1",
        "session_id": "s1",
        "seq": 1,
        "sender_type": "agent",
        "sender_id": "1",
        "message_type": "text",
        "content": "hi",
        "metadata": {"intent": "INFO_REQ", "tokens_used": 15, "latency_ms": 234},
        "created_at": "2025-11-03T10:30:45.124Z",
    }


async def test_a_session_is_active_until_its_last_message(databases: list[Database]) -> None:
    later = MOMENT.replace(hour=11)
    async with databases[0].transaction() as db:
        await messages.append(db, [Arrival(DRAFT, anybody)], lambda: later)
    async with databases[0].reading() as db:
        found = await sessions.find_session(db, "s1")
    assert found is not None
    assert (found.created_at, found.updated_at) == (MOMENT, later)
    assert found.to_wire()["message_count"] == 1


async def test_pages(databases: list[Database]) -> None:
    for number in range(1, 6):
        await append(databases[0], replace(DRAFT, message_id=f"m{number}"))
    async with databases[0].reading() as db:
        for after, limit, expected, more in ((0, 3, [1, 2, 3], True), (2, 3, [3, 4, 5], False), (5, 3, [], False)):
            found, has_more = await messages.page(db, "s1", after=after, limit=limit)
            assert ([message.seq for message in found], has_more) == (expected, more)
        for limit, expected, more in ((3, [3, 4, 5], True), (5, [1, 2, 3, 4, 5], False)):
            found, has_more = await messages.page(db, "s1", limit=limit)
            assert ([message.seq for message in found], has_more) == (expected, more)


async def test_a_page_is_bounded_in_bytes_too(databases: list[Database], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "PAGE_BYTES", 10)
    for number, content in enumerate(("a" * 5, "가" * 2, "b" * 4, "c" * 11)):
        await append(databases[0], replace(DRAFT, message_id=f"m{number}", content=content))
    async with databases[0].reading() as db:
        for after, expected in ((0, [1]), (1, [2, 3]), (3, [4]), (None, [4])):
            found, has_more = await messages.page(db, "s1", after=after, limit=4)
            assert ([message.seq for message in found], has_more) == (expected, after != 3)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_message_is_read_to_find_one_that_was_sent_before(databases: list[Database]) -> None:
    async with databases[0].reading() as db:
        plan = await db.execute(text(f"EXPLAIN QUERY PLAN {messages._KNOWN['sqlite']}"), {"names": "[]"})
        steps = [str(step[-1]) for step in plan]
    assert any("SEARCH said USING" in step for step in steps), steps
