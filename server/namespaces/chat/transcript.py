"""A session's messages in their one order: stored under `seq`, and sent in the order they were stored."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from server.errors import Forbidden
from server.namespaces.chat import messages
from server.namespaces.chat.locks import Locks
from server.namespaces.chat.models import ChatMessage, Draft
from server.storage.database import Database
from server.timestamps import utc_now


def new_message_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def now() -> datetime:
    """To the millisecond, as it goes over the wire: what a client was told compares equal to what is stored."""
    moment = utc_now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Transcript:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks = Locks()

    @asynccontextmanager
    async def still(self, session_id: str) -> AsyncIterator[None]:
        """While the block runs, no message is stored in the session by this node, nor sent."""
        async with self._locks.hold(session_id):
            yield

    @asynccontextmanager
    async def append(self, draft: Draft) -> AsyncIterator[tuple[ChatMessage, bool]]:
        """Stores a message and yields it with whether it is new (`messages.append`). It is committed when the block
        begins, and the next one of the session waits until the block ends: what is sent in it goes in `seq` order.

        Raises Forbidden when the session is gone.
        """
        async with self._locks.hold(draft.session_id):
            async with self._database.transaction() as db:
                appended = await messages.append(db, draft, now)
                if appended is None:
                    raise Forbidden
            yield appended
