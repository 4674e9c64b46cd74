"""Machines of a plant, a database of their past, and time that passes when a test says so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from server.namespaces.monitor import records
from server.namespaces.monitor.catalogue import Machine
from server.namespaces.monitor.schemas import Status
from server.namespaces.monitor.watch import Change
from server.storage.database import Database
from tests.support import running
from tests.support.client import PATIENCE

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
WELDER, PRESS = Machine("KRCWO12ELOA101", "Upper 로봇 용접", "A"), Machine("KRCWO12ELOA102", "Lower 로봇 용접", "B")
MACHINES = (WELDER, PRESS)
STATUSES: tuple[Status, ...] = ("running", "idle", "stopped", "error", "disconnected")

#: Of a test that is about the database; others pass on one as on the other.
BOTH = pytest.mark.parametrize("url", ["sqlite_url", "postgres_url"], indirect=True)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class Board:
    """Keeps the alarms that were announced."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    async def announce(self, payload: Mapping[str, object]) -> None:
        self.events.append(dict(payload))
        self._more.set()

    @property
    def told(self) -> list[tuple[str, str]]:
        """Kind and state."""
        return [(event["kind"], event["state"]) for event in self.events]

    async def heard(self, count: int) -> list[tuple[str, str]]:
        async with asyncio.timeout(PATIENCE):
            while len(self.events) < count:
                self._more.clear()
                await self._more.wait()
        return self.told


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=url).database_url)
    yield database
    await database.close()


async def fill(database: Database, *changes: tuple[Machine, float, str], seen: float | None = None) -> None:
    """Changes by machine, seconds after noon and status; `seen`: until then somebody watched."""
    rows: list[Change] = []
    previous: dict[str, Status] = {}
    for machine, seconds, status in changes:
        rows.append(Change(machine.code, after(seconds), cast(Status, status), previous.get(machine.code)))
        previous[machine.code] = cast(Status, status)
    async with database.transaction() as db:
        await records.store(db, rows, (), {}, None if seen is None else after(seen))


def past(machine: Machine, count: int, seed: int, longest: float = 3600.0) -> list[tuple[Machine, float, str]]:
    """A machine's changes, from noon on."""
    chance = random.Random(seed)  # noqa: S311
    changes: list[tuple[Machine, float, str]] = []
    seconds, status = 0.0, "stopped"
    for _ in range(count):
        seconds += chance.randint(1, int(longest * 1000)) / 1000
        status = chance.choice([str(each) for each in STATUSES if each != status])
        changes.append((machine, seconds, status))
    return changes
