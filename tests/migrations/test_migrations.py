"""The schema as migrations make it, with data in it, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Column, Connection, Integer, insert, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from server.migrations import configuration, downgrade, upgrade
from server.migrations.tables import METADATA
from server.namespaces.chat.search import bigrams
from server.storage.database import Moment, create_engine
from tests.support import running

SESSION = "INSERT INTO chat_sessions (session_id, user_id) VALUES ('s1', 'alice')"
MESSAGE = (
    "INSERT INTO chat_messages (session_id, seq, message_id, sender_type, sender_id, message_type, content) "
    "VALUES ('s1', 1, 'm1', 'user', 'alice', 'text', '안녕하세요')"
)
PARTICIPANT = "INSERT INTO chat_participants (session_id, user_id) VALUES ('s1', 'alice')"
FILE = "INSERT INTO chat_files (message_id, file_id, file_name) VALUES ('m1', 'f1', 'a.png')"

# As in the seed (names, and what a tool that reads these tables relies on), and what SPEC §4 adds.
COLUMNS = {
    "chat_sessions": {
        "id", "session_id", "trace_id", "user_id", "agent_id", "title", "status", "metadata", "created_at",
        "updated_at", "ended_at", "tenant", "last_seq", "operator_id", "handover",
    },
    "chat_messages": {
        "id", "session_id", "message_id", "sender_type", "sender_id", "message_type", "content", "metadata",
        "tokens_used", "latency_ms", "is_edited", "edited_at", "created_at", "seq", "client_message_id", "bigrams",
    },
    "chat_files": {
        "id", "message_id", "file_id", "file_name", "file_type", "file_size", "file_url", "thumbnail_url",
        "uploaded_by", "uploaded_at", "session_id",
    },
    "chat_uploads": {
        "id", "upload_id", "session_id", "user_id", "file_name", "file_type", "file_size", "received", "created_at",
        "updated_at",
    },
    "chat_participants": {"id", "session_id", "user_id", "last_read_seq", "joined_at"},
}  # fmt: skip
INDEXES = {
    "chat_sessions": {
        "idx_chat_sessions_user_id",
        "idx_chat_sessions_agent_id",
        "idx_chat_sessions_trace_id",
        "idx_chat_sessions_status",
        "idx_chat_sessions_activity",
    },
    "chat_messages": {
        "idx_chat_messages_session_id",
        "idx_chat_messages_sender_id",
        "idx_chat_messages_created_at",
    },
    "chat_files": {"idx_chat_files_message_id", "idx_chat_files_uploaded_by", "idx_chat_files_uploaded_at"},
    "chat_uploads": {"idx_chat_uploads_updated_at"},
    "chat_participants": {"idx_chat_participants_user_id"},
}


@pytest.fixture
def url(database_url: str) -> str:
    return running.settings(DATABASE_URL=database_url).database_url


@pytest_asyncio.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = await asyncio.to_thread(create_engine, url)
    yield engine
    await engine.dispose()


async def run(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def scalar(engine: AsyncEngine, statement: str) -> object:
    async with engine.begin() as connection:
        return (await connection.execute(text(statement))).scalar()


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names())) - {"alembic_version"}


def revisions() -> list[str]:
    """The newest first."""
    return [each.revision for each in ScriptDirectory.from_config(configuration("")).walk_revisions()]


async def fill(engine: AsyncEngine) -> None:
    """A row in every table, with a value in every column."""
    async with engine.begin() as connection:
        for table in METADATA.sorted_tables:
            columns = [each for each in table.columns if not each.primary_key]
            await connection.execute(insert(table).values({each.name: value(each) for each in columns}))


def value(column: Column[Any]) -> object:
    known = {
        "status": "archived",
        "sender_type": "user",
        "message_type": "file",
        "content": "안녕하세요",
        "bigrams": bigrams("안녕하세요"),
    }
    if column.name in known:
        return known[column.name]
    match column.type:
        case Boolean():
            return True
        case Integer():
            return 7
        case JSON():
            return {"이름": ["값", 1.5, None]}
        case Moment():
            return datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    return f"{column.name} 🙂"


async def stored(engine: AsyncEngine) -> dict[str, dict[str, object]]:
    """The one row of each table."""
    found: dict[str, dict[str, object]] = {}
    for table in await tables(engine) & METADATA.tables.keys():
        async with engine.connect() as connection:
            row = (await connection.execute(text(f"SELECT * FROM {table}"))).mappings().one_or_none()  # noqa: S608
        if row is not None:
            found[table] = dict(row)
    return found


#: What 0001 has no place for. All else is there again when it comes back.
LOST = {
    "chat_sessions": {"operator_id", "handover"},
    "chat_uploads": None,
    "trading_group_members": None,
    "equipment_changes": None,
    "equipment_alarms": None,
    "equipment_watch": None,
}


async def test_down_and_up_again_step_by_step_with_data_in_all_of_them(url: str, engine: AsyncEngine) -> None:
    await fill(engine)
    await asyncio.to_thread(upgrade, url)  # again, at the newest: nothing happens
    before = await stored(engine)
    assert before.keys() == METADATA.tables.keys()
    for move, way in ((downgrade, revisions()[1:]), (upgrade, revisions()[-2::-1])):
        for revision in way:
            await asyncio.to_thread(move, url, revision)
            await engine.dispose()  # what it prepared is of other columns
            for table, row in (await stored(engine)).items():
                there = {name: row[name] for name in row.keys() - (LOST.get(table) or set())}
                assert there.items() <= before[table].items(), (revision, table)
    after = await stored(engine)
    assert after.keys() == before.keys() - {table for table, columns in LOST.items() if columns is None}
    for table, row in after.items():
        assert {name for name in row if row[name] != before[table][name]} == (LOST.get(table) or set())
    await asyncio.to_thread(command.check, configuration(url))
    await run(engine, SESSION, PARTICIPANT, MESSAGE, FILE)


async def shape(engine: AsyncEngine) -> list[str]:
    """All there is in the schema, but for the order of columns."""

    def look(sync: Connection) -> list[str]:
        inspector = inspect(sync)
        parts = [
            repr((table, kind, sorted(each.items(), key=str)))
            for table in inspector.get_table_names()
            for kind in ("columns", "indexes", "unique_constraints", "check_constraints", "foreign_keys")
            for each in getattr(inspector, f"get_{kind}")(table)
        ]
        if sync.dialect.name == "sqlite":
            parts += sync.scalars(
                text("SELECT sql FROM sqlite_master WHERE type = 'trigger' OR sql LIKE '% VIRTUAL %'")
            )
        else:
            parts += sync.scalars(text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"))
        return sorted(parts)

    async with engine.connect() as connection:
        return await connection.run_sync(look)


async def test_each_step_down_undoes_all_of_the_step_up(url: str, engine: AsyncEngine) -> None:
    ways: list[list[list[str]]] = []
    for move, way in ((downgrade, [*revisions(), "base"]), (upgrade, ["base", *revisions()[::-1]])):
        seen = []
        for revision in way:
            await asyncio.to_thread(move, url, revision)
            await engine.dispose()
            seen.append(await shape(engine))
        ways.append(seen)
    down, up = ways
    assert await tables(engine) >= METADATA.tables.keys()
    assert [len(each) for each in down] == sorted({len(each) for each in down}, reverse=True)
    assert down == up[::-1]


async def test_the_models_are_what_the_migrations_make(url: str) -> None:
    await asyncio.to_thread(command.check, configuration(url))


async def test_drift_is_noticed(url: str, engine: AsyncEngine) -> None:
    await run(engine, "DROP INDEX idx_chat_messages_sender_id")
    with pytest.raises(Exception, match="idx_chat_messages_sender_id"):
        await asyncio.to_thread(command.check, configuration(url))


async def test_tables_columns_and_indexes_are_the_seeds(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        found = await connection.run_sync(
            lambda sync: {
                table: (
                    {column["name"] for column in inspect(sync).get_columns(table)},
                    {index["name"] for index in inspect(sync).get_indexes(table) if not index["unique"]},
                )
                for table in COLUMNS
            }
        )
    assert {table: columns for table, (columns, _) in found.items()} == COLUMNS
    found["chat_messages"][1].discard("idx_chat_messages_bigrams")  # PostgreSQL's alone: test_search_index.py
    assert {table: indexes for table, (_, indexes) in found.items()} == INDEXES


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_metadata_is_jsonb_on_postgresql(engine: AsyncEngine) -> None:
    kinds = "SELECT string_agg(DISTINCT data_type, ',') FROM information_schema.columns WHERE column_name = 'metadata' AND table_name LIKE 'chat_%'"  # noqa: E501
    assert await scalar(engine, kinds) == "jsonb"
    zones = "SELECT string_agg(DISTINCT data_type, ',') FROM information_schema.columns WHERE column_name LIKE '%_at' AND table_name LIKE 'chat_%'"  # noqa: E501
    assert await scalar(engine, zones) == "timestamp without time zone"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO chat_sessions (session_id, user_id, status) VALUES ('s2', 'bob', 'closed')",
        "INSERT INTO chat_sessions (session_id, user_id) VALUES ('s1', 'bob')",
        "INSERT INTO chat_participants (session_id, user_id) VALUES ('s1', 'alice')",
        MESSAGE.replace("'m1'", "'m2'"),
        MESSAGE.replace(" 1,", " 2,"),
        MESSAGE.replace(" 1, 'm1', 'user'", " 2, 'm2', 'robot'"),
        MESSAGE.replace(" 1, 'm1'", " 2, 'm2'").replace("'text'", "'audio'"),
        FILE,
        "INSERT INTO chat_files (message_id, file_id, file_name) VALUES ('no such message', 'f2', 'a.png')",
    ],
)
async def test_what_the_seeds_checks_and_keys_refuse(engine: AsyncEngine, statement: str) -> None:
    await run(engine, SESSION, PARTICIPANT, MESSAGE, FILE)
    with pytest.raises(IntegrityError):
        await run(engine, statement)


async def test_a_deleted_session_takes_everything_with_it(engine: AsyncEngine) -> None:
    await run(engine, SESSION, PARTICIPANT, MESSAGE, FILE, "DELETE FROM chat_sessions")
    for table in COLUMNS:
        assert await scalar(engine, f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_two_nodes_migrate_at_once(url: str, engine: AsyncEngine) -> None:
    await asyncio.to_thread(downgrade, url, "base")
    # Alembic keeps what it works on in module globals: two nodes are two processes.
    nodes = [
        await asyncio.create_subprocess_exec(
            ".venv/bin/python", "-m", "server", "migrate",
            env={"DATABASE_URL": url, "DEBUG": "true", "JWT_SECRET_KEY": running.SECRET},
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for node in nodes:
        _, complaints = await node.communicate()
        assert node.returncode == 0, complaints.decode()
    await run(engine, SESSION)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_rebuilding_a_table_does_not_cascade(url: str, engine: AsyncEngine, tmp_path: Path) -> None:
    """SQLite changes a table by making it anew and dropping the old one, which deletes its rows."""
    head = ScriptDirectory.from_config(configuration(url)).get_current_head()
    (tmp_path / "9999_next.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\n"
        f"revision, down_revision, branch_labels, depends_on = '9999', '{head}', None, None\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('chat_sessions', recreate='always') as batch:\n"
        "        batch.add_column(sa.Column('extra', sa.Integer()))\n"
        "def downgrade():\n    pass\n"
    )
    config = configuration(url)
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", f"server/migrations/versions:{tmp_path}")
    await run(engine, SESSION, PARTICIPANT, MESSAGE, FILE)
    await asyncio.to_thread(command.upgrade, config, "9999")
    assert await scalar(engine, "SELECT count(extra) + count(*) FROM chat_sessions") == 1
    for table in COLUMNS.keys() - {"chat_uploads"}:
        assert await scalar(engine, f"SELECT count(*) FROM {table}") == 1  # noqa: S608


async def test_a_new_migration_is_written_ready_to_run(url: str, tmp_path: Path) -> None:
    """`make migration`: what autogenerate writes of our types needs no mending."""
    await asyncio.to_thread(downgrade, url, "base")
    config = configuration(url)
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(tmp_path))
    await asyncio.to_thread(command.revision, config, "all of it", autogenerate=True, rev_id="0001")
    written = (tmp_path / "0001_all_of_it.py").read_text()
    compile(written, "0001_all_of_it.py", "exec")
    assert 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")' in written
    assert "import postgresql" in written
    assert "Moment" not in written
    await asyncio.to_thread(command.upgrade, config, "head")
    await asyncio.to_thread(command.check, config)
