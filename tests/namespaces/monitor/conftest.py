from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.storage.database import Database
from tests.support.equipment import opened


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Of a migrated, empty SQLite database; `tests.support.equipment.BOTH` tests on PostgreSQL, too."""
    found: str = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    return found


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as database:
        yield database
