from __future__ import annotations

import asyncio

import pytest

from server.errors import Forbidden
from server.identity import Identity
from server.namespaces.chat import sessions
from server.namespaces.chat.access import access
from server.storage.database import Database
from tests.namespaces.chat.test_messages import session
from tests.support import running


async def test_staff_and_participants_of_the_tenant_and_nobody_else(sqlite_url: str) -> None:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=sqlite_url).database_url)
    async with database.transaction() as db:
        await sessions.create_session(db, session())
        for identity, is_participant in (
            (Identity("alice"), True),
            (Identity("olga", roles=frozenset({"operator"})), False),
            (Identity("ada", roles=frozenset({"admin"})), False),
        ):
            found = await access(db, identity, "s1")
            assert (found.session.session_id, found.is_participant) == ("s1", is_participant)
        refusals = set()
        for identity, session_id in (
            (Identity("bob"), "s1"),
            (Identity("alice", tenant="other"), "s1"),
            (Identity("olga", tenant="other", roles=frozenset({"operator"})), "s1"),
            (Identity("bob"), "unknown"),
            (Identity("olga", roles=frozenset({"operator"})), "unknown"),
        ):
            with pytest.raises(Forbidden) as refused:
                await access(db, identity, session_id)
            refusals.add(str(refused.value))
        assert len(refusals) == 1
    await database.close()
