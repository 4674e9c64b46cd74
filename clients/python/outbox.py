"""Messages that are not known to be stored by the server yet: in memory, or in a file that outlives the process.

The file is SQLite: a message is in it before it is sent, and gone once it was acked. Two processes may share it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from clients.python.errors import OutboxFull

MOST = 1000
BUSY_SECONDS = 5.0

T = TypeVar("T")

_TABLE = """CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,
    user_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    client_message_id TEXT NOT NULL UNIQUE,
    payload TEXT NOT NULL,
    created_at REAL NOT NULL,
    unkeyed INTEGER NOT NULL DEFAULT 0
)"""
#: Of files that are older than it.
_COLUMN = "ALTER TABLE outbox ADD COLUMN unkeyed INTEGER NOT NULL DEFAULT 0"


@dataclass(frozen=True, slots=True)
class Waiting:
    """`payload` is that of the event. `user_id` is empty where it was not known who says it. `created_at` is Unix time
    by this machine's clock. `unkeyed`: it may have been sent a way that knows no `client_message_id`."""

    user_id: str
    session_id: str
    client_message_id: str
    payload: Mapping[str, Any]
    created_at: float = field(default_factory=time.time, compare=False)
    unkeyed: bool = False


class Outbox(Protocol):
    async def add(self, waiting: Waiting) -> None:
        """Raises OutboxFull. One that is there already stays as it is."""

    async def mark_unkeyed(self, client_message_id: str) -> None:
        """Before it is sent that way."""

    async def remove(self, client_message_id: str) -> None: ...

    async def pending(self) -> list[Waiting]:
        """In the order in which they were added."""

    async def close(self) -> None: ...


class MemoryOutbox:
    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._waiting: dict[str, Waiting] = {}

    async def add(self, waiting: Waiting) -> None:
        if waiting.client_message_id not in self._waiting and len(self._waiting) >= self._most:
            raise OutboxFull(self._most)
        self._waiting.setdefault(waiting.client_message_id, waiting)

    async def mark_unkeyed(self, client_message_id: str) -> None:
        if client_message_id in self._waiting:
            self._waiting[client_message_id] = replace(self._waiting[client_message_id], unkeyed=True)

    async def remove(self, client_message_id: str) -> None:
        self._waiting.pop(client_message_id, None)

    async def pending(self) -> list[Waiting]:
        return list(self._waiting.values())

    async def close(self) -> None:
        self._waiting.clear()


class FileOutbox:
    """Of the messages to one server, `url`. A thread at a time works on the file, never the loop's."""

    def __init__(self, path: Path, url: str, most: int = MOST) -> None:
        self._path = path
        self._url = url
        self._most = most
        self._database: sqlite3.Connection | None = None
        self._lock = asyncio.Lock()

    async def add(self, waiting: Waiting) -> None:
        def add(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT OR IGNORE INTO outbox"
                " (url, user_id, session_id, client_message_id, payload, created_at, unkeyed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self._url,
                    waiting.user_id,
                    waiting.session_id,
                    waiting.client_message_id,
                    json.dumps(waiting.payload),
                    waiting.created_at,
                    waiting.unkeyed,
                ),
            )
            (count,) = database.execute("SELECT count(*) FROM outbox WHERE url = ?", (self._url,)).fetchone()
            if count > self._most:
                raise OutboxFull(self._most)

        await self._do(add)

    async def mark_unkeyed(self, client_message_id: str) -> None:
        marked = "UPDATE outbox SET unkeyed = 1 WHERE client_message_id = ?"
        await self._do(lambda db: db.execute(marked, (client_message_id,)))

    async def remove(self, client_message_id: str) -> None:
        await self._do(lambda db: db.execute("DELETE FROM outbox WHERE client_message_id = ?", (client_message_id,)))

    async def pending(self) -> list[Waiting]:
        def read(database: sqlite3.Connection) -> list[Waiting]:
            rows = database.execute(
                "SELECT user_id, session_id, client_message_id, payload, created_at, unkeyed FROM outbox"
                " WHERE url = ? ORDER BY id",
                (self._url,),
            )
            return [
                Waiting(user_id, session, id, json.loads(payload), created_at, bool(unkeyed))
                for user_id, session, id, payload, created_at, unkeyed in rows
            ]

        return await self._do(read)

    async def close(self) -> None:
        async with self._lock:
            database, self._database = self._database, None
            if database is not None:
                await asyncio.to_thread(database.close)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """In a transaction. A caller that is cancelled does not interrupt it."""
        return await asyncio.shield(asyncio.ensure_future(self._locked(work)))

    async def _locked(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._lock:
            return await asyncio.to_thread(self._run, work)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)  # it holds what people say
            self._database = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
            self._database.execute(_TABLE)
            if "unkeyed" not in [name for _, name, *_ in self._database.execute("PRAGMA table_info(outbox)")]:
                with suppress(sqlite3.OperationalError):  # another process did it just now
                    self._database.execute(_COLUMN)
        with self._database:
            return work(self._database)
