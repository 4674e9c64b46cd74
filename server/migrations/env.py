"""Runs migrations on the async engine; executed by Alembic, not imported."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from server.migrations.tables import METADATA
from server.storage.database import Moment, create_engine

INDEXES_OF_SEARCH = ("chat_search", "idx_chat_messages_bigrams")  # one database's each: no model can have them
LOCK = 0x41747269756D  # "Atrium": nodes that are deployed together migrate one after the other


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render,
        include_name=_is_in_models,
        compare_server_default=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _is_in_models(name: str | None, _kind: str, _parents: object) -> bool:
    return name is None or not name.startswith(INDEXES_OF_SEARCH)


def _render(kind: str, item: Any, rendering: AutogenContext) -> str | Literal[False]:
    """Our types as plain SQLAlchemy: a migration must not change when the code does."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.TIMESTAMP()"
    if kind == "type" and isinstance(item, JSON):
        rendering.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


async def _migrate(engine: AsyncEngine) -> None:
    try:
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            await connection.run_sync(_run)
            if engine.dialect.name == "sqlite":
                broken = (await connection.execute(text("PRAGMA foreign_key_check"))).first()
                if broken is not None:
                    raise RuntimeError(f"the migration leaves a row of {broken[0]} without its parent in {broken[2]}")
    finally:
        await engine.dispose()


asyncio.run(_migrate(create_engine(context.config.attributes["database_url"], enforce_foreign_keys=False)))
