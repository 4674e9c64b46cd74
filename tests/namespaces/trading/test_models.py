from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError

from server.namespaces.trading.models import GroupMember
from server.storage.database import Database
from tests.support import running

ADDED_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def member(tenant: str = "") -> GroupMember:
    return GroupMember(tenant=tenant, name="데스크", user_id="alice", added_by="root", added_at=ADDED_AT)


def test_on_the_wire() -> None:
    assert member("acme").to_wire() == {
        "name": "데스크",
        "user_id": "alice",
        "added_by": "root",
        "added_at": "2026-01-02T03:04:05.678Z",
    }


async def test_nobody_is_a_member_twice_in_or_outside_a_tenant(database_url: str) -> None:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
    for tenant in ("", "acme"):
        async with database.transaction() as db:
            db.add(member(tenant))
        with pytest.raises(IntegrityError):
            async with database.transaction() as db:
                db.add(member(tenant))
    await database.close()
