"""Which sessions there are for a user; over HTTP the same is tried in `test_routes`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from server.errors import Conflict, Forbidden, InvalidMessage, LimitExceeded, NotFound
from server.identity import Identity
from server.namespaces.chat import directory, messages
from server.namespaces.chat.agents.roster import Agent
from server.namespaces.chat.directory import Directory
from server.namespaces.chat.messages import Arrival, SessionState
from server.namespaces.chat.models import Draft
from server.namespaces.chat.transcript import new_message_id, now
from server.storage.database import Database
from tests.support import running

ALICE, BOB, CAROL = (Identity(name, tenant="acme") for name in ("alice", "bob", "carol"))
OLGA = Identity("olga", tenant="acme", roles=frozenset({"operator"}))
FOREIGN = Identity("olga", tenant="other", roles=frozenset({"operator", "admin"}))
AGENTS = {1: Agent(1, "Support Bot", "/bot.png", None), 2: Agent(2, "People", None, None)}


class Told:
    """What was emitted, and who is no part of which session any more."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.ended: list[str] = []
        self.removed: list[tuple[str | None, str, str]] = []

    async def emit(self, event: str, payload: Mapping[str, Any], *, room: str, **_: object) -> None:
        self.events.append((room, payload["event"], payload["user_id"]))

    async def leave(self, tenant: str | None, session_id: str, user_id: str) -> None:
        self.removed.append((tenant, session_id, user_id))


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
    yield database
    await database.close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sessions(database: Database, told: Told) -> Directory:
    return Directory(
        database,
        told,  # type: ignore[arg-type]
        AGENTS,
        default_agent=1,
        auto_create=True,
        ended=told.ended.append,
        removed=told.leave,
    )


def anybody(_: SessionState) -> None:
    pass


async def say(database: Database, session_id: str, sender_id: str, *texts: str) -> None:
    for text in texts:
        draft = Draft(session_id, new_message_id(), "user", sender_id, "text", text)
        async with database.transaction() as db:
            await messages.append(db, [Arrival(draft, anybody)], now)


async def made(sessions: Directory, identity: Identity = ALICE, **fields: Any) -> str:
    return str((await sessions.create(identity, **fields))["session_id"])


async def test_a_session_as_the_seed_has_it(sessions: Directory) -> None:
    created = await sessions.create(ALICE, agent_id=2, title="문의", metadata={"priority": "high"})
    assert {name: created[name] for name in ("user_id", "agent_id", "title", "status", "metadata")} == {
        "user_id": "alice",
        "agent_id": 2,
        "title": "문의",
        "status": "active",
        "metadata": {"priority": "high"},
    }
    found = await sessions.get(ALICE, str(created["session_id"]))
    assert found["agent"] == {"id": 2, "name": "People", "avatar_url": None}
    assert (found["participants"], found["message_count"], found["unread_count"]) == (["alice"], 0, 0)
    assert found["trace_id"] == created["trace_id"]
    assert (await sessions.create(ALICE))["agent_id"] == 1
    with pytest.raises(InvalidMessage):
        await sessions.create(ALICE, agent_id=3)


async def test_the_list_says_what_is_new(sessions: Directory, database: Database) -> None:
    older, newer = await made(sessions, title="older"), await made(sessions)
    await sessions.invite(ALICE, older, "bob")
    await say(database, newer, "alice", "mine")
    await say(database, older, "bob", "one", "two")
    (first, second) = listed = (await sessions.list(ALICE))["sessions"]
    assert [(each["session_id"], each["unread_count"], each["last_message"]) for each in listed] == [
        (older, 2, "two"),
        (newer, 0, "mine"),
    ]
    assert (first["agent_name"], first["title"], first["status"]) == ("Support Bot", "older", "active")
    assert second["last_message_at"] < first["last_message_at"]
    (theirs,) = (await sessions.list(BOB))["sessions"]
    assert (theirs["session_id"], theirs["unread_count"]) == (older, 0)
    assert (await sessions.list(CAROL))["sessions"] == []


async def test_filters_and_who_may_see_everyones(sessions: Directory) -> None:
    mine = await made(sessions, agent_id=2)
    await made(sessions, BOB)
    await made(sessions, FOREIGN)
    await sessions.archive(ALICE, mine)
    for wanted, count in (
        ({"status": "archived"}, 1),
        ({"status": "active"}, 0),
        ({"agent_id": 2}, 1),
        ({"agent_id": 1}, 0),
    ):
        page = await sessions.list(ALICE, **wanted)  # type: ignore[arg-type]
        assert (len(page["sessions"]), page["total"]) == (count, count)  # type: ignore[arg-type]
    assert (await sessions.list(OLGA))["total"] == 0
    assert (await sessions.list(OLGA, everyone=True))["total"] == 2
    assert (await sessions.list(FOREIGN, everyone=True))["total"] == 1
    with pytest.raises(Forbidden):
        await sessions.list(ALICE, everyone=True)


async def test_no_page_misses_or_repeats_one_while_others_come(sessions: Directory) -> None:
    made_before = [await made(sessions) for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await sessions.list(ALICE, limit=3, cursor=cursor)
        seen += [each["session_id"] for each in page["sessions"]]  # type: ignore[attr-defined]
        await made(sessions)
        if not page["has_more"]:
            break
        cursor = str(page["next_cursor"])
    assert seen == made_before[::-1]
    assert len((await sessions.list(ALICE, limit=5, offset=8))["sessions"]) == 2  # type: ignore[arg-type]
    for nonsense in ("", "x", "1", "1-", "9" * 30 + "-1", "-", "0-2147483648", "0--1", "٣-٣"):
        with pytest.raises(InvalidMessage):
            await sessions.list(ALICE, cursor=nonsense)


async def test_an_archived_session_is_read_only_and_told_once(sessions: Directory, told: Told) -> None:
    session_id = await made(sessions)
    for identity in (BOB, FOREIGN):
        with pytest.raises(Forbidden):
            await sessions.archive(identity, session_id)
    for identity in (ALICE, OLGA):
        assert (await sessions.archive(identity, session_id))["session_id"] == session_id
    assert (await sessions.get(ALICE, session_id))["status"] == "archived"
    assert told.events == [(f"session:4:acme:{session_id}", "session_archived", "alice")]
    assert told.ended == [session_id]


async def test_participants(sessions: Directory, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await made(sessions)
    with pytest.raises(Forbidden):
        await sessions.get(BOB, session_id)
    for _ in range(2):
        answer = await sessions.invite(ALICE, session_id, "bob")
        assert [each["user_id"] for each in answer["participants"]] == ["alice", "bob"]  # type: ignore[attr-defined]
    assert told.events == [
        (f"session:4:acme:{session_id}", "participant_added", "bob"),
        ("user:4:acme:bob", "invited", "alice"),
    ]
    await sessions.get(BOB, session_id)
    for refused in (sessions.invite(BOB, session_id, "carol"), sessions.remove(BOB, session_id, "alice")):
        with pytest.raises(Forbidden):
            await refused
    with pytest.raises(Conflict):
        await sessions.remove(ALICE, session_id, "alice")
    with pytest.raises(NotFound):
        await sessions.remove(OLGA, session_id, "carol")
    await sessions.remove(BOB, session_id, "bob")  # goes
    assert told.removed == [("acme", session_id, "bob")]
    with pytest.raises(Forbidden):
        await sessions.participants(BOB, session_id)
    monkeypatch.setattr(directory, "MAX_PARTICIPANTS", 1)
    with pytest.raises(LimitExceeded):
        await sessions.invite(ALICE, session_id, "bob")
