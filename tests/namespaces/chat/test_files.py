from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import func, select, update

from server.errors import Forbidden, InvalidMessage, LimitExceeded, MessageTooBig, NotFound, UnsupportedType
from server.identity import Identity
from server.namespaces.chat import files as files_module
from server.namespaces.chat import sessions
from server.namespaces.chat.files import FILES, KEPT, MAX_AT_ONCE_PER_USER, THUMBNAILS, UPLOADS, Files
from server.namespaces.chat.models import ChatFile, ChatMessage, ChatParticipant, ChatSession, ChatUpload
from server.namespaces.chat.thumbnails import Thumbnails
from server.storage.database import Database
from server.storage.files import FileStore, local
from tests.support import running
from tests.support.files import chunks, claiming_png, pdf, picture

MOMENT = datetime(2025, 11, 3, 10, 30, 45, tzinfo=UTC)
MAX_BYTES = 200_000
TYPES = ("image/jpeg", "image/png", "application/pdf", "text/plain")
STAFF = frozenset({"operator"})

ALICE, BOB = Identity("alice", "acme"), Identity("bob", "acme")
OLGA = Identity("olga", "acme", STAFF)
OUTSIDERS = (
    Identity("eve", "acme"),
    Identity("alice"),
    Identity("alice", "other"),
    Identity("olga", "other", STAFF),
    Identity("root", None, frozenset({"admin"})),
)


class Desk:
    """Two nodes' files of the session s1, of alice and bob."""

    def __init__(self, database: Database, store: FileStore, directory: Path) -> None:
        self.now = MOMENT
        self.database = database
        self.store = store
        self.directory = directory
        self.thumbnails = Thumbnails(seconds=20)
        self.files, self.others = (
            Files(
                database,
                store,
                self.thumbnails,
                max_bytes=MAX_BYTES,
                allowed_types=TYPES,
                now=lambda: self.now,
            )
            for _ in range(2)
        )

    async def open(self) -> None:
        async with self.database.transaction() as db:
            for session_id in ("s1", "s2"):
                await sessions.create_session(
                    db,
                    ChatSession(
                        session_id=session_id, user_id="alice", tenant="acme", created_at=MOMENT, updated_at=MOMENT
                    ),
                )
            db.add(ChatParticipant(session_id="s1", user_id="bob", joined_at=MOMENT))

    async def say(self, file: ChatFile, message_id: str = "m1", client_message_id: str | None = None) -> None:
        async with self.database.transaction() as db:
            db.add(
                ChatMessage(
                    session_id="s1",
                    message_id=message_id,
                    client_message_id=client_message_id,
                    seq=int(message_id[1:]),
                    sender_type="user",
                    sender_id="alice",
                    message_type="file",
                    created_at=MOMENT,
                )
            )
            await db.flush()
            await self.files.claim(db, ALICE, "s1", file.file_id, message_id)

    async def left(self) -> tuple[int, list[str]]:
        """Rows and objects there are."""
        async with self.database.reading() as db:
            rows = await db.scalar(select(func.count()).select_from(ChatFile)) or 0
        return rows, sorted(
            [key for prefix in (FILES, THUMBNAILS, UPLOADS) async for keys in self.store.keys(prefix) for key in keys]
        )


@asynccontextmanager
async def opened(database_url: str, directory: Path) -> AsyncIterator[Desk]:
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
    desk = Desk(database, await asyncio.to_thread(local, directory), directory)
    await desk.open()
    yield desk
    desk.files.close()
    await database.close()


@pytest_asyncio.fixture
async def desk(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(sqlite_url, tmp_path / "files") as desk:
        yield desk


@pytest_asyncio.fixture
async def each_desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """On SQLite and on PostgreSQL: for what is the database's to get right."""
    async with opened(database_url, tmp_path / "files") as desk:
        yield desk


async def never() -> AsyncGenerator[bytes]:
    raise AssertionError("a byte was read")
    yield b""


async def test_who_may_not_use_the_session_has_no_byte_read(desk: Desk) -> None:
    for identity in OUTSIDERS:
        for session_id in ("s1", "unknown"):
            with pytest.raises(Forbidden, match="You may not use this session"):
                await desk.files.store(identity, session_id, "a.txt", never())
    assert await desk.left() == (0, [])


async def test_a_stored_file_is_what_was_sent(each_desk: Desk) -> None:
    desk = each_desk
    content = picture("PNG", (700, 500)) + os.urandom(100_000)
    file = await desk.files.store(ALICE, "s1", "../그림.png", chunks(content))
    assert desk.files.describe(file) == {
        "file_id": file.file_id,
        "name": "그림.png",
        "type": "image/png",
        "size": len(content),
        "url": f"/files/{file.file_id}",
        "thumbnail_url": f"/files/{file.file_id}/thumb",
    }
    again = await desk.others.open(ALICE, file.file_id)
    assert (again.uploaded_by, again.uploaded_at, again.session_id) == ("alice", MOMENT, "s1")
    assert await desk.others.read(again, 0, len(content)) == content
    assert await desk.others.read(again, 7, 9) == content[7:9]
    assert (await desk.others.thumbnail(again)).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("name", "content", "kept", "media_type"),
    [
        ("a.png", b"only text", "a.png.txt", "text/plain"),
        ("a.txt", picture("JPEG", (8, 8)), "a.txt.jpg", "image/jpeg"),
        ("", pdf(), "file.pdf", "application/pdf"),
        ("b.png", claiming_png(60_000, 60_000), "b.png", "image/png"),
    ],
)
async def test_a_file_that_lies_is_stored_as_what_it_is(
    desk: Desk, name: str, content: bytes, kept: str, media_type: str
) -> None:
    file = await desk.files.store(ALICE, "s1", name, chunks(content))
    assert (file.file_name, file.file_type) == (kept, media_type)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", InvalidMessage),
        (b"x" * (MAX_BYTES + 1), MessageTooBig),
        (b"<svg onload='alert(1)'/>", UnsupportedType),
        (b"<html>", UnsupportedType),
        (b"MZ\0" + bytes(300), UnsupportedType),
        (picture("GIF"), UnsupportedType),
        (picture("PNG") + b"PK\5\6" + bytes(18), UnsupportedType),
        (b"\0", UnsupportedType),
    ],
)
async def test_what_is_refused_leaves_nothing(desk: Desk, content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await desk.files.store(ALICE, "s1", "a.png", chunks(content))
    assert await desk.left() == (0, [])


async def test_the_largest_there_may_be(desk: Desk) -> None:
    file = await desk.files.store(ALICE, "s1", "a.txt", chunks(b"x" * MAX_BYTES))
    assert (file.file_size, file.thumbnail_url) == (MAX_BYTES, None)
    with pytest.raises(NotFound):
        await desk.files.thumbnail(file)


async def test_who_vanishes_midway_leaves_nothing(desk: Desk) -> None:
    async def vanishing() -> AsyncGenerator[bytes]:
        yield b"x" * 1000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await desk.files.store(ALICE, "s1", "a.txt", vanishing())

    reading = asyncio.Event()

    async def stuck() -> AsyncGenerator[bytes]:
        yield b"x" * 1000
        reading.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(desk.files.store(ALICE, "s1", "a.txt", stuck()))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await desk.left() == (0, [])
    assert not desk.files._storing


async def test_a_user_stores_a_few_at_once(desk: Desk) -> None:
    go_on = asyncio.Event()
    waiting = asyncio.Semaphore(0)

    async def slow() -> AsyncGenerator[bytes]:
        waiting.release()
        await go_on.wait()
        yield b"text"

    storing = [asyncio.create_task(desk.files.store(ALICE, "s1", "a.txt", slow())) for _ in range(MAX_AT_ONCE_PER_USER)]
    for _ in storing:
        await waiting.acquire()
    with pytest.raises(LimitExceeded):
        await desk.files.store(ALICE, "s1", "a.txt", never())
    await desk.files.store(BOB, "s1", "a.txt", chunks(b"text"))
    go_on.set()
    await asyncio.gather(*storing)
    await desk.files.store(ALICE, "s1", "a.txt", chunks(b"text"))


async def test_all_users_together_store_so_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_AT_ONCE", 0)
    with pytest.raises(LimitExceeded):
        await desk.files.store(ALICE, "s1", "a.txt", never())


async def test_a_file_is_its_uploaders_until_a_message_says_it(each_desk: Desk) -> None:
    desk = each_desk
    file = await desk.files.store(ALICE, "s1", "a.txt", chunks(b"text"))
    refusals = set()

    async def refuses(*identities: Identity) -> None:
        for identity in identities:
            with pytest.raises(NotFound) as refused:
                await desk.files.open(identity, file.file_id)
            refusals.add(str(refused.value))

    await refuses(BOB, OLGA, *OUTSIDERS)
    await desk.say(file)
    for identity in (ALICE, BOB, OLGA):
        assert (await desk.files.open(identity, file.file_id)).message_id == "m1"
    await refuses(*OUTSIDERS)
    async with desk.database.transaction() as db:
        await db.execute(update(ChatParticipant).where(ChatParticipant.user_id == "bob").values(user_id="rob"))
    await refuses(BOB)
    with pytest.raises(NotFound) as unknown:
        await desk.files.open(ALICE, "file_unknown")
    assert refusals == {str(unknown.value)}


async def test_a_file_is_said_once_by_its_uploader_in_its_session(each_desk: Desk) -> None:
    desk = each_desk
    file = await desk.files.store(ALICE, "s1", "a.txt", chunks(b"text"))
    async with desk.database.reading() as db:
        assert (await desk.files.find(db, ALICE, "s1", file.file_id)).file_id == file.file_id
        for identity, session_id, file_id in (
            (BOB, "s1", file.file_id),
            (OLGA, "s1", file.file_id),
            (ALICE, "s2", file.file_id),
            (ALICE, "s1", "unknown"),
        ):
            with pytest.raises(NotFound):
                await desk.files.find(db, identity, session_id, file_id)
    for identity, session_id in ((BOB, "s1"), (ALICE, "s2")):
        async with desk.database.transaction() as db:
            with pytest.raises(NotFound):
                await desk.files.claim(db, identity, session_id, file.file_id, "m1")

    said = await asyncio.gather(
        *(desk.say(file, f"m{number}", f"c{number}") for number in range(1, 5)), return_exceptions=True
    )
    assert [type(each) for each in said].count(NotFound) == 3
    winner = (await desk.files.open(ALICE, file.file_id)).message_id
    assert winner == f"m{said.index(None) + 1}"
    async with desk.database.reading() as db:  # who sends it again, as the ack was lost, finds it
        assert await desk.files.find(db, ALICE, "s1", file.file_id, f"c{said.index(None) + 1}")
        for client_message_id in (None, "other"):
            with pytest.raises(NotFound):
                await desk.files.find(db, ALICE, "s1", file.file_id, client_message_id)


async def test_the_file_of_a_deleted_message_is_nobodys(each_desk: Desk) -> None:
    desk = each_desk
    file = await desk.files.store(ALICE, "s1", "a.txt", chunks(b"text"))
    await desk.say(file)
    async with desk.database.transaction() as db:
        await desk.files.revoke(db, "m1")
    for identity in (ALICE, BOB, OLGA):
        with pytest.raises(NotFound):
            await desk.files.open(identity, file.file_id)
    async with desk.database.reading() as db:
        with pytest.raises(NotFound):
            await desk.files.find(db, ALICE, "s1", file.file_id)


async def test_discarding(each_desk: Desk) -> None:
    desk = each_desk
    said = await desk.files.store(ALICE, "s1", "a.txt", chunks(b"text"))
    await desk.say(said)
    file = await desk.files.store(ALICE, "s1", "a.png", chunks(picture("PNG")))
    for each in (said, file, file):
        await desk.files.discard(each)
    assert await desk.left() == (1, [f"{FILES}/{said.file_id}"])


async def test_a_row_whose_object_is_lost(desk: Desk) -> None:
    file = await desk.files.store(ALICE, "s1", "a.png", chunks(picture("PNG")))
    await desk.store.delete([f"{FILES}/{file.file_id}", f"{THUMBNAILS}/{file.file_id}"])
    with pytest.raises(NotFound):
        await desk.files.read(file, 0, 10)
    with pytest.raises(NotFound):
        await desk.files.thumbnail(file)


async def test_what_nobody_says_is_cleaned_after_a_day(each_desk: Desk) -> None:
    desk = each_desk
    desk.now = datetime.now(UTC)
    said = await desk.files.store(ALICE, "s1", "a.png", chunks(picture("PNG")))
    await desk.say(said)
    unsaid = await desk.files.store(ALICE, "s1", "b.png", chunks(picture("PNG")))
    for key in (f"{FILES}/file_crashed", f"{UPLOADS}/upload_open/0", f"{UPLOADS}/upload_gone/0"):
        await desk.store.put(key, b"x")
    await asyncio.to_thread((desk.directory / FILES / "file_half#1").write_bytes, b"x")
    async with desk.database.transaction() as db:
        for upload_id, idle in (("upload_open", 0), ("upload_gone", 2)):
            db.add(
                ChatUpload(
                    upload_id=upload_id,
                    session_id="s1",
                    user_id="alice",
                    file_name="a",
                    file_type="text/plain",
                    file_size=2,
                    created_at=desk.now,
                    updated_at=desk.now + timedelta(hours=1 - idle),
                )
            )
    before = await desk.left()
    assert await desk.files.clean(desk.now + KEPT - timedelta(minutes=1)) == 0
    assert await desk.left() == before
    assert await desk.others.clean(desk.now + KEPT + timedelta(minutes=1)) == 5
    assert await desk.left() == (
        1,
        [f"{FILES}/{said.file_id}", f"{THUMBNAILS}/{said.file_id}", f"{UPLOADS}/upload_open/0"],
    )
    with pytest.raises(NotFound):
        await desk.files.open(ALICE, unsaid.file_id)
    assert await desk.files.clean(desk.now + KEPT + timedelta(minutes=1)) == 0


async def test_a_crash_before_the_row_leaves_what_is_cleaned(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(desk.database, "transaction", crash)
    with pytest.raises(ZeroDivisionError):
        await desk.files.store(ALICE, "s1", "a.txt", chunks(b"text"))
    monkeypatch.undo()
    rows, objects = await desk.left()
    assert (rows, len(objects)) == (0, 1)
    assert await desk.files.clean(datetime.now(UTC) + KEPT + timedelta(hours=1)) == 1
    assert await desk.left() == (0, [])
