"""The database: one engine, sessions, and what SQLite and PostgreSQL need told. Tables belong to namespaces."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import TIMESTAMP, MetaData, TypeDecorator, event, text
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

BUSY_TIMEOUT_SECONDS = 10

_READING = "atrium_reading"  # an execution option: this transaction will not write


class Model(DeclarativeBase):
    """The base of every table. Names are fixed, so that migrations can drop what they made on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Moment(TypeDecorator[datetime]):
    """A TIMESTAMP without a zone that holds UTC, as the seeds' tables have it; always aware on this side."""

    impl = TIMESTAMP
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a naive time: whose clock it was would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Database:
    def __init__(self, url: str, *, pool_size: int = 20, max_overflow: int = 40) -> None:
        self.engine = create_engine(url, pool_size=pool_size, max_overflow=max_overflow)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        reading = self.engine.execution_options(**{_READING: True})
        self._reading = async_sessionmaker(reading, expire_on_commit=False)
        # SQLite has one writer, and those who wait for it poll: our own wait in a fair line instead.
        self._writing: asyncio.Lock | nullcontext[None] = (
            asyncio.Lock() if self.engine.dialect.name == "sqlite" else nullcontext()
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Commits at the end of the block, rolls back when it raises."""
        async with self._writing, self._sessions() as session, session.begin():
            yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """One snapshot on SQLite, committed data on PostgreSQL; waits for no writer. What is written is dropped."""
        async with self._reading() as session:
            yield session

    async def check(self) -> None:
        """Raises when the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execution_options(**{_READING: True})
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def create_engine(
    url: str, *, pool_size: int = 20, max_overflow: int = 40, enforce_foreign_keys: bool = True
) -> AsyncEngine:
    """`enforce_foreign_keys`: on SQLite only; migrations that rebuild a table there must not cascade."""
    parsed = make_url(url)
    json: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
    }
    if parsed.get_backend_name() != "sqlite":
        # asyncpg has no `sslmode`; Heroku's URLs carry it, with certificates that no public authority signed.
        query = dict(parsed.query)
        mode = query.pop("sslmode", None)
        connect_args: dict[str, Any] = {} if mode is None else {"ssl": mode}
        # Columns without a zone take CURRENT_TIMESTAMP in the session's zone: it must be the one we read them in.
        connect_args["server_settings"] = {"timezone": "UTC"}
        return create_async_engine(
            parsed.set(query=query),
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_pre_ping=True,
            connect_args=connect_args,
            **json,
        )
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        if Path(parsed.database).is_dir():  # aiosqlite would find out, and its thread fall over its own report of it
            raise IsADirectoryError(f"{parsed.database} is a directory, not a database")
    engine = create_async_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, **json)

    def prepare(connection: Any, _record: object) -> None:
        # Without this the driver begins transactions by itself, lazily, and a reader that turns writer fails at once.
        connection.isolation_level = None
        cursor: sqlite3.Cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if enforce_foreign_keys else 'OFF'}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Any) -> None:
    """A writer takes SQLite's lock at once: one that took it later, on a snapshot grown old, would fail."""
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
