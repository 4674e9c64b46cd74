from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import JSON, Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from server.storage.database import Database, Moment, create_engine
from tests.support import running

TABLES = MetaData()
PARENTS = Table("parents", TABLES, Column("id", Integer, primary_key=True))
THINGS = Table(
    "things",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("moment", Moment),
    Column("value", JSON().with_variant(JSONB(), "postgresql")),
)


async def open_database(url: str) -> Database:
    """As the app does it, before there is a loop to block: it may make a folder."""
    return await asyncio.to_thread(Database, running.settings(DATABASE_URL=url).database_url)


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url)
    async with database.engine.begin() as connection:
        await connection.run_sync(TABLES.create_all)
    yield database
    await database.close()


async def count(database: Database) -> int:
    async with database.reading() as db:
        return len((await db.execute(select(THINGS.c.id))).all())


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction() as db:
        await db.execute(insert(THINGS).values(id=1))
    assert await count(database) == 1


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as db:
            await db.execute(insert(THINGS).values(id=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(database) == 0


async def test_a_cancelled_transaction_leaves_nothing_and_lets_the_next_one_in(database: Database) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as db:
            await db.execute(insert(THINGS).values(id=1))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with database.transaction() as db:
        await db.execute(insert(THINGS).values(id=1))
    assert await count(database) == 1


async def test_what_is_written_while_reading_is_dropped(database: Database) -> None:
    async with database.reading() as db:
        await db.execute(insert(THINGS).values(id=1))
    assert await count(database) == 0


async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    async with database.transaction() as db:
        await db.execute(insert(THINGS).values(id=1))
        async with asyncio.timeout(5):
            assert await count(database) == 0
            await database.check()
    assert await count(database) == 1


async def test_many_writers_at_once_all_get_in(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.transaction() as db:
            found = (await db.execute(select(THINGS.c.id))).all()  # a reader that turns writer
            assert number not in {row.id for row in found}
            await db.execute(insert(THINGS).values(id=number))

    await asyncio.gather(*(write(number) for number in range(100)))
    assert await count(database) == 100


async def test_two_processes_write_to_one_sqlite_file(sqlite_url: str) -> None:
    databases = [await open_database(sqlite_url), await open_database(sqlite_url)]
    async with databases[0].engine.begin() as connection:
        await connection.run_sync(TABLES.create_all)

    async def write(database: Database, number: int) -> None:
        async with database.transaction() as db:
            await db.execute(select(THINGS.c.id))  # a reader that turns writer
            await db.execute(insert(THINGS).values(id=number))

    await asyncio.gather(*(write(databases[number % 2], number) for number in range(40)))
    assert await count(databases[0]) == 40
    for database in databases:
        await database.close()


async def test_moments_are_utc_and_aware(database: Database) -> None:
    noon = datetime(2025, 11, 3, 12, 0, 0, 123000, tzinfo=UTC)
    seoul = noon.astimezone(timezone(timedelta(hours=9)))
    async with database.transaction() as db:
        await db.execute(insert(THINGS).values(id=1, moment=seoul))
        await db.execute(insert(THINGS).values(id=2, moment=None))
    async with database.reading() as db:
        rows = (await db.execute(select(THINGS.c.moment).order_by(THINGS.c.id))).scalars().all()
    assert rows == [noon, None]
    assert rows[0].tzinfo is UTC


async def test_a_moment_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="time zone"):
        async with database.transaction() as db:
            await db.execute(insert(THINGS).values(id=1, moment=datetime(2025, 11, 3, 12)))  # noqa: DTZ001


async def test_the_databases_own_clock_is_in_utc(database: Database) -> None:
    async with database.reading() as db:
        found = (await db.execute(text("SELECT CAST(CURRENT_TIMESTAMP AS VARCHAR)"))).scalar_one()
    now = datetime.now(UTC)
    assert abs(datetime.fromisoformat(found[:19]).replace(tzinfo=UTC) - now) < timedelta(minutes=30)


async def test_json_keeps_what_it_was_given(database: Database) -> None:
    value = {"한국어": "🙂 עברית", "list": [1, 2.5, None, True, {"deep": {}}], "large": 2**53}
    async with database.transaction() as db:
        await db.execute(insert(THINGS).values(id=1, value=value))
    async with database.reading() as db:
        assert (await db.execute(select(THINGS.c.value))).scalar_one() == value


async def test_foreign_keys_hold(database_url: str) -> None:
    database = await open_database(database_url)
    with pytest.raises(IntegrityError):
        async with database.transaction() as db:
            await db.execute(
                text("INSERT INTO chat_participants (session_id, user_id) VALUES ('no such session', 'alice')")
            )
    await database.close()


async def test_foreign_keys_are_off_where_asked(sqlite_url: str) -> None:
    url = running.settings(DATABASE_URL=sqlite_url).database_url
    engine = await asyncio.to_thread(create_engine, url, enforce_foreign_keys=False)
    async with engine.begin() as connection:
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one() == 0
    await engine.dispose()


async def test_check_raises_when_nobody_answers() -> None:
    database = await open_database("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(ConnectionError):
        await database.check()
    await database.close()


async def test_a_folder_is_made_for_a_sqlite_file(tmp_path: Path) -> None:
    database = await open_database(f"sqlite:///{tmp_path / 'new' / 'atrium.db'}")
    await database.check()
    await database.close()
    assert (tmp_path / "new" / "atrium.db").exists()


def test_herokus_sslmode_becomes_what_the_driver_knows() -> None:
    engine = create_engine("postgresql+asyncpg://user@host/name?sslmode=require&application_name=atrium")
    arguments = engine.sync_engine.dialect.create_connect_args(engine.url)[1]
    assert "sslmode" not in arguments
    assert arguments["application_name"] == "atrium"
