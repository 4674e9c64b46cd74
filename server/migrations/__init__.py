"""Schema changes, by Alembic only; top level because it sees every namespace's tables."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from server.storage.database import Database


class NotMigrated(Exception):
    """The database is not at the newest schema."""


def configuration(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    command.upgrade(configuration(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    command.downgrade(configuration(database_url), revision)


@functools.cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(configuration("")).get_current_head()


async def check(database: Database) -> None:
    """Raises NotMigrated, or what the database raises, unless it is at this code's newest schema."""
    newest = await asyncio.to_thread(_newest)
    async with database.reading() as session:
        found = await session.scalar(text("SELECT version_num FROM alembic_version"))
    if found != newest:
        raise NotMigrated(f"the database is at {found}, this code at {newest}: python -m server migrate")
