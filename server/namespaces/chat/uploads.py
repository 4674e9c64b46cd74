"""Files that come in chunks, each of them an object of its own until all are there: a client may go on where it was, on
whichever node it is. What becomes of the whole is `files`' business."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from server.errors import Conflict, Forbidden, InvalidMessage, LimitExceeded, NotFound, UnsupportedType
from server.identity import Identity
from server.namespaces.chat.access import access, open_access
from server.namespaces.chat.filenames import clean
from server.namespaces.chat.files import UPLOADS, Files
from server.namespaces.chat.models import ChatSession, ChatUpload
from server.storage.database import Database
from server.storage.files import FileStore
from server.timestamps import utc_now

#: Fits WS_MESSAGE_SIZE_LIMIT (64 KB) as base64 too, which is how polling carries it.
CHUNK_BYTES = 48_000
MIN_CHUNK_BYTES = 4_096  # but for the last: what a file may be in objects is bounded
MAX_OPEN_PER_USER = 4
IDLE = timedelta(minutes=10)  # after which an upload makes room for a new one
JOINED_AT_ONCE = 8

NO_UPLOAD = "No such upload"

_MEDIA_TYPE = re.compile(r"[\w.+-]{1,49}/[\w.+-]{1,50}", re.ASCII)


class Uploads:
    def __init__(
        self,
        database: Database,
        store: FileStore,
        files: Files,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._store = store
        self._files = files
        self._chunk_bytes = chunk_bytes
        self._now = now

    async def start(
        self, identity: Identity, session_id: str, name: str, size: int, media_type: str
    ) -> dict[str, object]:
        """`media_type` is noted, not believed. Raises Forbidden, InvalidMessage or LimitExceeded."""
        if not 0 < size <= self._files.max_bytes:
            raise InvalidMessage(details={"size": [f"Must be from 1 to {self._files.max_bytes} bytes."]})
        now = self._now()
        given_up = None
        upload = ChatUpload(
            upload_id=f"upload_{uuid4().hex}",
            session_id=session_id,
            user_id=identity.user_id,
            file_name=clean(name),
            file_type=media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream",
            file_size=size,
            received=0,
            created_at=now,
            updated_at=now,
        )
        async with self._database.transaction() as db:
            await open_access(db, identity, session_id)
            mine = await _open_uploads(db, identity)
            if len(mine) >= MAX_OPEN_PER_USER:
                given_up = mine[0]
                if now - given_up.updated_at < IDLE:
                    raise LimitExceeded("Too many uploads at once")
                await db.delete(given_up)
            db.add(upload)
        if given_up is not None:
            await self._delete_parts(given_up.upload_id)
        return {"upload_id": upload.upload_id, "chunk_size": self._chunk_bytes}

    async def status(self, identity: Identity, upload_id: str) -> dict[str, object]:
        """From where to go on. Raises NotFound."""
        upload = await self._find(identity, upload_id)
        return {"received": upload.received, "chunk_size": self._chunk_bytes}

    async def chunk(self, identity: Identity, upload_id: str, offset: int, data: bytes) -> dict[str, object]:
        """What was received before is not taken again. Raises NotFound, InvalidMessage, or Conflict for a gap, with
        what is `received` in its details."""
        upload = await self._find(identity, upload_id)
        if offset < upload.received:
            return {"received": upload.received}
        if offset > upload.received:
            raise Conflict("Chunks are missing before this one", details={"received": upload.received})
        end = offset + len(data)
        if end > upload.file_size:
            raise InvalidMessage("There is more than the size that was told")
        if len(data) > self._chunk_bytes or not data or (len(data) < MIN_CHUNK_BYTES and end < upload.file_size):
            raise InvalidMessage(f"A chunk has from {MIN_CHUNK_BYTES} to {self._chunk_bytes} bytes")
        await self._store.put(_key(upload_id, offset), data)
        async with self._database.transaction() as db:
            received: int | None = await db.scalar(
                update(ChatUpload)
                .where(ChatUpload.upload_id == upload_id, ChatUpload.received == offset)
                .values(received=end, updated_at=self._now())
                .returning(ChatUpload.received)
            )
        if received is None:  # the same chunk came by another way meanwhile
            return {"received": (await self._find(identity, upload_id)).received}
        return {"received": received}

    async def end(self, identity: Identity, upload_id: str) -> dict[str, object]:
        """The file object; once more when it is asked again. What cannot become a file is gone with the refusal. Raises
        NotFound, Conflict while there are chunks to come, and what `Files.store` does."""
        with suppress(NotFound):
            return await self._ended(identity, upload_id)
        upload = await self._find(identity, upload_id)
        if upload.received < upload.file_size:
            raise Conflict("The upload is not complete", details={"received": upload.received})
        try:
            async with aclosing(self._joined(upload)) as chunks:
                file = await self._files.store(
                    identity, upload.session_id, upload.file_name, chunks, file_id=_file_id(upload_id)
                )
        except UnsupportedType:
            await self._delete(upload_id)
            raise
        except (InvalidMessage, FileNotFoundError) as error:
            await self._delete(upload_id)
            with suppress(NotFound):  # another `end` was quicker, and has cleared the chunks away
                return await self._ended(identity, upload_id)
            raise InvalidMessage("The chunks do not make up the file") from error
        await self._delete(upload_id)
        return self._files.describe(file)

    async def _ended(self, identity: Identity, upload_id: str) -> dict[str, object]:
        """Raises NotFound."""
        file = await self._files.open(identity, _file_id(upload_id))
        if file.uploaded_by != identity.user_id:
            raise NotFound(NO_UPLOAD)
        return self._files.describe(file)

    async def _find(self, identity: Identity, upload_id: str) -> ChatUpload:
        """Raises NotFound."""
        async with self._database.reading() as db:
            upload: ChatUpload | None = await db.scalar(
                select(ChatUpload).where(ChatUpload.upload_id == upload_id, ChatUpload.user_id == identity.user_id)
            )
            if upload is None:
                raise NotFound(NO_UPLOAD)
            try:
                await access(db, identity, upload.session_id)
            except Forbidden:
                raise NotFound(NO_UPLOAD) from None
        return upload

    async def _joined(self, upload: ChatUpload) -> AsyncGenerator[bytes]:
        parts = await self._parts(upload.upload_id)
        size = 0
        for start in range(0, len(parts), JOINED_AT_ONCE):
            for part in await asyncio.gather(*map(self._store.get, parts[start : start + JOINED_AT_ONCE])):
                size += len(part)
                yield part
        if size != upload.file_size:  # two senders of one upload cut it differently
            raise InvalidMessage("The chunks do not make up the file")

    async def _parts(self, upload_id: str) -> list[str]:
        return sorted([key async for keys in self._store.keys(f"{UPLOADS}/{upload_id}") for key in keys])

    async def _delete(self, upload_id: str) -> None:
        async with self._database.transaction() as db:
            await db.execute(delete(ChatUpload).where(ChatUpload.upload_id == upload_id))
        await self._delete_parts(upload_id)

    async def _delete_parts(self, upload_id: str) -> None:
        await self._store.delete(await self._parts(upload_id))


async def _open_uploads(db: AsyncSession, identity: Identity) -> list[ChatUpload]:
    """This user's, longest untouched first."""
    found = await db.scalars(
        select(ChatUpload)
        .join(ChatSession, ChatSession.session_id == ChatUpload.session_id)
        .where(ChatUpload.user_id == identity.user_id, ChatSession.tenant.is_not_distinct_from(identity.tenant))
        .order_by(ChatUpload.updated_at)
    )
    return list(found)


def _file_id(upload_id: str) -> str:
    """Told from the upload's, so that its end can be asked for twice."""
    return f"file_{upload_id.removeprefix('upload_')}"


def _key(upload_id: str, offset: int) -> str:
    return f"{UPLOADS}/{upload_id}/{offset:012d}"
