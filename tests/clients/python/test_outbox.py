from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clients.python.errors import OutboxFull
from clients.python.outbox import _TABLE, FileOutbox, MemoryOutbox, Outbox, Waiting

URL = "http://localhost:8000"
Make = Callable[[], Outbox]


def waiting(number: int) -> Waiting:
    return Waiting("alice", f"s{number % 2}", f"m{number}", {"content": f"안녕 {number}"})


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return lambda: MemoryOutbox(most=5)
    return lambda: FileOutbox(tmp_path / "sub" / "outbox.db", URL, most=5)


async def test_in_the_order_they_came_until_they_are_removed(make: Make) -> None:
    outbox = make()
    for number in range(4):
        await outbox.add(waiting(number))
    await outbox.add(waiting(2))
    await outbox.remove("m1")
    await outbox.remove("another")
    assert await outbox.pending() == [waiting(0), waiting(2), waiting(3)]
    await outbox.close()


async def test_it_has_a_bound(make: Make) -> None:
    outbox = make()
    for number in range(5):
        await outbox.add(waiting(number))
    with pytest.raises(OutboxFull):
        await outbox.add(waiting(5))
    await outbox.add(waiting(2))
    assert await outbox.pending() == [waiting(number) for number in range(5)]
    await outbox.close()


async def test_what_went_a_way_without_ids_is_marked(make: Make) -> None:
    outbox = make()
    for number in range(2):
        await outbox.add(waiting(number))
    await outbox.mark_unkeyed("m1")
    await outbox.mark_unkeyed("another")
    first, second = await outbox.pending()
    assert (first.unkeyed, second.unkeyed) == (False, True)
    assert second.created_at >= first.created_at > 0
    await outbox.close()


async def test_a_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(_TABLE.replace(",\n    unkeyed INTEGER NOT NULL DEFAULT 0", ""))
        row = (URL, "alice", "s1", "m1", '{"content": "안녕 1"}', 5.0)
        columns = "url, user_id, session_id, client_message_id, payload, created_at"
        database.execute(f"INSERT INTO outbox ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        database.commit()
    outbox = FileOutbox(path, URL)
    (found,) = await outbox.pending()
    assert (found, found.created_at) == (waiting(1), 5.0)
    await outbox.close()


async def test_a_file_outlives_its_process_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    first = FileOutbox(path, URL)
    await first.add(waiting(1))
    second = FileOutbox(path, URL)  # the first one was killed
    assert await second.pending() == [waiting(1)]
    assert await FileOutbox(path, "http://another").pending() == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await first.close()
    await second.close()


async def test_who_is_cancelled_leaves_it_whole(tmp_path: Path) -> None:
    outbox = FileOutbox(tmp_path / "outbox.db", URL)
    adding = asyncio.create_task(outbox.add(waiting(1)))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    await outbox.add(waiting(2))
    assert [each.client_message_id for each in await outbox.pending()] == ["m1", "m2"]
    await outbox.close()
