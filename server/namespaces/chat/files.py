"""The files of a session: what may become one, who may read it, and what is cleared away.

A file is its uploader's alone until a message says it; from then on it is open to whom the session is. Where its bytes
lie is `storage.files`' business.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from mmap import ACCESS_READ, mmap
from typing import BinaryIO
from uuid import uuid4

from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from server.errors import (
    Forbidden,
    InvalidMessage,
    LimitExceeded,
    MessageTooBig,
    NotFound,
    UnsupportedType,
)
from server.identity import Identity
from server.namespaces.chat.access import access, open_access
from server.namespaces.chat.filenames import named_after
from server.namespaces.chat.models import ChatFile, ChatMessage, ChatUpload
from server.namespaces.chat.sniffing import sniff
from server.namespaces.chat.thumbnails import Thumbnails
from server.storage.database import Database
from server.storage.files import FileStore
from server.timestamps import utc_now

KEPT = timedelta(hours=24)  # what no message says
MAX_AT_ONCE_PER_USER = 4
MAX_AT_ONCE = 64  # times the size of a file: what may lie in the temporary folder
NO_FILE = "No such file"  # whether it never was or is another's

FILES = "files"
THUMBNAILS = "thumbnails"
UPLOADS = "uploads"


class Files:
    def __init__(
        self,
        database: Database,
        store: FileStore,
        thumbnails: Thumbnails,
        *,
        max_bytes: int,
        allowed_types: Collection[str],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`allowed_types`: what a file must be by its content."""
        self.max_bytes = max_bytes
        self._database = database
        self._store = store
        self._thumbnails = thumbnails
        self._allowed_types = frozenset(allowed_types)
        self._now = now
        self._storing: Counter[tuple[str | None, str]] = Counter()

    async def store(
        self,
        identity: Identity,
        session_id: str,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        file_id: str | None = None,
    ) -> ChatFile:
        """Takes the chunks to their end, then keeps them as a file that no message says yet. With the `file_id` of one
        that is stored already, gives that one.

        They go through a nameless temporary file: whatever ends this early, the system takes it back. Raises Forbidden
        and LimitExceeded before the first chunk; MessageTooBig, InvalidMessage or UnsupportedType.
        """
        async with self._database.reading() as db:
            await open_access(db, identity, session_id)
        with self._place(identity):
            spool: BinaryIO = await asyncio.to_thread(tempfile.TemporaryFile)
            try:
                size = await self._spool(chunks, spool)
                content = mmap(spool.fileno(), 0, access=ACCESS_READ)
                media_type = await asyncio.to_thread(sniff, content)
                if media_type is None or media_type not in self._allowed_types:
                    raise UnsupportedType(details={"type": media_type, "allowed": sorted(self._allowed_types)})
                file_id = file_id or f"file_{uuid4().hex}"
                thumbnail = await self._thumbnails.draw(content, media_type)
                if thumbnail is not None:
                    await self._store.put(f"{THUMBNAILS}/{file_id}", thumbnail)
                await self._store.put(f"{FILES}/{file_id}", spool)
            finally:
                await asyncio.to_thread(spool.close)
        file = ChatFile(
            session_id=session_id,
            file_id=file_id,
            file_name=named_after(name, media_type),
            file_type=media_type,
            file_size=size,
            file_url=f"/files/{file_id}",
            thumbnail_url=None if thumbnail is None else f"/files/{file_id}/thumb",
            uploaded_by=identity.user_id,
            uploaded_at=self._now(),
        )
        try:
            async with self._database.transaction() as db:
                db.add(file)
        except IntegrityError:
            return await self.open(identity, file_id)
        return file

    async def open(self, identity: Identity, file_id: str) -> ChatFile:
        """Raises NotFound, in one wording for all that may not be read."""
        async with self._database.reading() as db:
            file: ChatFile | None = await db.scalar(select(ChatFile).where(ChatFile.file_id == file_id))
            if file is None or file.session_id is None:
                raise NotFound(NO_FILE)
            try:
                await access(db, identity, file.session_id)
            except Forbidden:
                raise NotFound(NO_FILE) from None
        if file.message_id is None and file.uploaded_by != identity.user_id:
            raise NotFound(NO_FILE)
        return file

    async def read(self, file: ChatFile, start: int, end: int) -> bytes:
        """Of a file that `open` gave: the bytes from `start` to before `end`. Raises NotFound."""
        try:
            return await self._store.read(f"{FILES}/{file.file_id}", start, end)
        except FileNotFoundError:
            raise NotFound(NO_FILE) from None

    async def thumbnail(self, file: ChatFile) -> bytes:
        """Of a file that `open` gave. Raises NotFound."""
        if file.thumbnail_url is None:
            raise NotFound(NO_FILE)
        try:
            return await self._store.get(f"{THUMBNAILS}/{file.file_id}")
        except FileNotFoundError:
            raise NotFound(NO_FILE) from None

    @staticmethod
    def describe(file: ChatFile) -> dict[str, object]:
        """The file object: in the metadata of its message, and as the ack of `upload_end`."""
        return {
            "file_id": file.file_id,
            "name": file.file_name,
            "type": file.file_type,
            "size": file.file_size,
            "url": file.file_url,
            "thumbnail_url": file.thumbnail_url,
        }

    @staticmethod
    async def find(
        db: AsyncSession, identity: Identity, session_id: str, file_id: str, client_message_id: str | None = None
    ) -> ChatFile:
        """This user's file that no message says yet, or the one with this `client_message_id`; whether the session is
        open to them is the caller's to check. Raises NotFound."""
        unsaid = ChatFile.message_id.is_(None)
        said = ChatMessage.client_message_id == client_message_id
        file: ChatFile | None = await db.scalar(
            select(ChatFile)
            .outerjoin(ChatMessage, ChatMessage.message_id == ChatFile.message_id)
            .where(
                ChatFile.file_id == file_id,
                ChatFile.session_id == session_id,
                ChatFile.uploaded_by == identity.user_id,
                unsaid if client_message_id is None else or_(unsaid, said),
            )
        )
        if file is None:
            raise NotFound(NO_FILE)
        return file

    @staticmethod
    async def claim(db: AsyncSession, identity: Identity, session_id: str, file_id: str, message_id: str) -> None:
        """The file is what this message says, which is stored; of two, one wins. Raises NotFound."""
        claimed = await db.scalar(
            update(ChatFile)
            .where(
                ChatFile.file_id == file_id,
                ChatFile.session_id == session_id,
                ChatFile.uploaded_by == identity.user_id,
                ChatFile.message_id.is_(None),
            )
            .values(message_id=message_id)
            .returning(ChatFile.id)
        )
        if claimed is None:
            raise NotFound(NO_FILE)

    @staticmethod
    async def revoke(db: AsyncSession, message_id: str) -> None:
        """The message is deleted: nobody reads its file from here on, and `clean` clears it away."""
        await db.execute(
            update(ChatFile).where(ChatFile.message_id == message_id).values(message_id=None, uploaded_by=None)
        )

    async def discard(self, file: ChatFile) -> None:
        """Clears a file away at once, unless a message says it."""
        async with self._database.transaction() as db:
            discarded = await db.scalar(
                delete(ChatFile)
                .where(ChatFile.file_id == file.file_id, ChatFile.message_id.is_(None))
                .returning(ChatFile.id)
            )
        if discarded is not None:
            await self._store.delete([f"{FILES}/{file.file_id}", f"{THUMBNAILS}/{file.file_id}"])

    async def clean(self, now: datetime) -> int:
        """Clears away what no message has said within KEPT, uploads nobody went on with, and objects that a crash left
        without a row. One node at a time; how many objects it were."""
        before = now - KEPT
        async with self._database.transaction() as db:
            await db.execute(delete(ChatFile).where(ChatFile.message_id.is_(None), ChatFile.uploaded_at < before))
            await db.execute(delete(ChatUpload).where(ChatUpload.updated_at < before))
        cleaned = await self._store.delete_unfinished(before)
        for prefix, column in (
            (FILES, ChatFile.file_id),
            (THUMBNAILS, ChatFile.file_id),
            (UPLOADS, ChatUpload.upload_id),
        ):
            async for keys in self._store.keys(prefix, before=before):
                owners = {key: key.split("/")[1] for key in keys}
                async with self._database.reading() as db:
                    owned = set(await db.scalars(select(column).where(column.in_(set(owners.values())))))
                orphans = [key for key, owner in owners.items() if owner not in owned]
                await self._store.delete(orphans)
                cleaned += len(orphans)
        return cleaned

    def close(self) -> None:
        self._thumbnails.close()

    async def _spool(self, chunks: AsyncIterator[bytes], spool: BinaryIO) -> int:
        """The size; `spool` stands at its beginning again."""
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self.max_bytes:
                raise MessageTooBig(f"A file may have {self.max_bytes} bytes")
            await asyncio.to_thread(spool.write, chunk)
        if not size:
            raise InvalidMessage("The file is empty")
        await asyncio.to_thread(spool.seek, 0)  # and writes what is buffered
        return size

    @contextmanager
    def _place(self, identity: Identity) -> Iterator[None]:
        if self._storing[identity.scope] >= MAX_AT_ONCE_PER_USER or self._storing.total() >= MAX_AT_ONCE:
            raise LimitExceeded("Too many uploads at once")
        self._storing[identity.scope] += 1
        try:
            yield
        finally:
            self._storing[identity.scope] -= 1
            if not self._storing[identity.scope]:
                del self._storing[identity.scope]
