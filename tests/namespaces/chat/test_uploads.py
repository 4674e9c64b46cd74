from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from server.errors import Conflict, Forbidden, InvalidMessage, LimitExceeded, NotFound, UnsupportedType
from server.identity import Identity
from server.namespaces.chat import sessions
from server.namespaces.chat.files import UPLOADS
from server.namespaces.chat.models import ChatSession, ChatUpload
from server.namespaces.chat.uploads import CHUNK_BYTES, IDLE, MAX_OPEN_PER_USER, MIN_CHUNK_BYTES, Uploads
from tests.namespaces.chat.test_files import ALICE, BOB, MAX_BYTES, OLGA, OUTSIDERS, Desk, desk, each_desk
from tests.support.files import picture

__all__ = ["desk", "each_desk"]

CHUNK = 10_000
CONTENT = (picture("PNG") + os.urandom(65_000))[:65_000]


class Sender:
    """A client's part, on whichever node."""

    def __init__(self, upload_id: str, content: bytes = CONTENT, identity: Identity = ALICE) -> None:
        self.upload_id = upload_id
        self.content = content
        self.identity = identity

    async def send(self, node: Uploads, start: int, end: int | None = None) -> int:
        received = start
        end = len(self.content) if end is None else end
        while received < end:
            told = await node.chunk(
                self.identity, self.upload_id, received, self.content[received : min(end, received + CHUNK)]
            )
            assert isinstance(told["received"], int)
            received = told["received"]
        return received


def _nodes(desk: Desk) -> list[Uploads]:
    return [
        Uploads(desk.database, desk.store, files, chunk_bytes=CHUNK, now=lambda: desk.now)
        for files in (desk.files, desk.others)
    ]


@pytest.fixture
def nodes(desk: Desk) -> list[Uploads]:
    return _nodes(desk)


async def start(node: Uploads, content: bytes = CONTENT, name: str = "a.png", identity: Identity = ALICE) -> Sender:
    told = await node.start(identity, "s1", name, len(content), "image/png")
    assert told["chunk_size"] == CHUNK
    return Sender(str(told["upload_id"]), content, identity)


async def open_uploads(desk: Desk) -> int:
    async with desk.database.reading() as db:
        return await db.scalar(select(func.count()).select_from(ChatUpload)) or 0


def test_a_chunk_fits_the_limit_of_a_message_in_base64_too() -> None:
    assert -(-CHUNK_BYTES // 3) * 4 + 100 < 65_536


async def test_who_may_not_use_the_session_starts_none(nodes: list[Uploads], desk: Desk) -> None:
    for identity in OUTSIDERS:
        for session_id in ("s1", "unknown"):
            with pytest.raises(Forbidden):
                await nodes[0].start(identity, session_id, "a", 1, "text/plain")
    assert await open_uploads(desk) == 0


@pytest.mark.parametrize("size", [-1, 0, MAX_BYTES + 1])
async def test_sizes_there_are_not(nodes: list[Uploads], size: int) -> None:
    with pytest.raises(InvalidMessage) as refused:
        await nodes[0].start(ALICE, "s1", "a", size, "text/plain")
    assert refused.value.details is not None
    assert set(refused.value.details) == {"size"}


async def test_an_upload_goes_on_where_it_was_on_another_node(each_desk: Desk) -> None:
    desk, nodes = each_desk, _nodes(each_desk)
    sender = await start(nodes[0])
    assert await nodes[1].status(ALICE, sender.upload_id) == {"received": 0, "chunk_size": CHUNK}
    assert await sender.send(nodes[0], 0, 30_000) == 30_000
    assert await nodes[1].status(ALICE, sender.upload_id) == {"received": 30_000, "chunk_size": CHUNK}
    await sender.send(nodes[1], 30_000)
    told = await nodes[1].end(ALICE, sender.upload_id)
    assert (told["name"], told["type"], told["size"]) == ("a.png", "image/png", len(CONTENT))
    file = await desk.files.open(ALICE, str(told["file_id"]))
    assert await desk.files.read(file, 0, len(CONTENT)) == CONTENT
    assert await open_uploads(desk) == 0
    assert not [key for key in (await desk.left())[1] if key.startswith(UPLOADS)]
    assert await nodes[0].end(ALICE, sender.upload_id) == told, "the ack was lost"


async def test_chunks_that_do_not_follow(nodes: list[Uploads]) -> None:
    sender = await start(nodes[0])
    with pytest.raises(Conflict) as refused:
        await nodes[0].chunk(ALICE, sender.upload_id, CHUNK, bytes(CHUNK))
    assert refused.value.details == {"received": 0}
    with pytest.raises(Conflict) as refused:
        await nodes[0].end(ALICE, sender.upload_id)
    assert refused.value.details == {"received": 0}
    await sender.send(nodes[0], 0, CHUNK)
    assert await nodes[1].chunk(ALICE, sender.upload_id, 0, CONTENT[:CHUNK]) == {"received": CHUNK}
    assert await nodes[1].chunk(ALICE, sender.upload_id, 5, b"whatever") == {"received": CHUNK}


@pytest.mark.parametrize("length", [0, 1, MIN_CHUNK_BYTES - 1, CHUNK + 1, len(CONTENT) + 1])
async def test_chunks_of_a_wrong_size(nodes: list[Uploads], length: int) -> None:
    sender = await start(nodes[0])
    with pytest.raises(InvalidMessage):
        await nodes[0].chunk(ALICE, sender.upload_id, 0, bytes(length))
    assert (await nodes[0].status(ALICE, sender.upload_id))["received"] == 0


async def test_beyond_the_size_that_was_told(nodes: list[Uploads]) -> None:
    sender = await start(nodes[0])
    received = await sender.send(nodes[0], 0, len(CONTENT) - 100)
    with pytest.raises(InvalidMessage):
        await nodes[0].chunk(ALICE, sender.upload_id, received, bytes(101))
    await sender.send(nodes[0], received)


async def test_the_same_chunk_by_two_ways_at_once(each_desk: Desk) -> None:
    nodes = _nodes(each_desk)
    sender = await start(nodes[0])
    for offset in range(0, len(CONTENT), CHUNK):
        chunk = CONTENT[offset : offset + CHUNK]
        told = await asyncio.gather(*(node.chunk(ALICE, sender.upload_id, offset, chunk) for node in nodes))
        assert told == [{"received": offset + len(chunk)}] * 2
    told = await asyncio.gather(*(node.end(ALICE, sender.upload_id) for node in nodes))
    assert told[0] == told[1]


async def test_others_uploads_are_none(each_desk: Desk) -> None:
    nodes = _nodes(each_desk)
    sender = await start(nodes[0])
    for identity in (BOB, OLGA, *OUTSIDERS):
        for upload_id in (sender.upload_id, "upload_unknown"):
            with pytest.raises(NotFound):
                await nodes[0].status(identity, upload_id)
            with pytest.raises(NotFound):
                await nodes[0].chunk(identity, upload_id, 0, bytes(CHUNK))
            with pytest.raises(NotFound):
                await nodes[0].end(identity, upload_id)
    await sender.send(nodes[0], 0)
    told = await nodes[0].end(ALICE, sender.upload_id)
    await each_desk.say(await each_desk.files.open(ALICE, str(told["file_id"])))
    for identity in (BOB, OLGA, *OUTSIDERS):
        with pytest.raises(NotFound):
            await nodes[0].end(identity, sender.upload_id)


@pytest.mark.parametrize(
    ("content", "error"), [(b"<svg/>", UnsupportedType), (b"\0" * 5000, UnsupportedType), (b"<html>", UnsupportedType)]
)
async def test_what_is_refused_leaves_nothing(
    nodes: list[Uploads], desk: Desk, content: bytes, error: type[Exception]
) -> None:
    sender = await start(nodes[0], content)
    await sender.send(nodes[0], 0)
    with pytest.raises(error):
        await nodes[0].end(ALICE, sender.upload_id)
    assert await open_uploads(desk) == 0
    assert await desk.left() == (0, [])
    with pytest.raises(NotFound):
        await nodes[0].end(ALICE, sender.upload_id)


async def test_parts_that_do_not_make_up_the_file(nodes: list[Uploads], desk: Desk) -> None:
    sender = await start(nodes[0])
    await sender.send(nodes[0], 0)
    await desk.store.put(f"{UPLOADS}/{sender.upload_id}/{0:012d}", CONTENT[:5000])
    with pytest.raises(InvalidMessage):
        await nodes[0].end(ALICE, sender.upload_id)
    assert await desk.left() == (0, [])


async def test_a_chunk_that_is_late_takes_nothing_back(
    nodes: list[Uploads], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = await start(nodes[0])
    put, putting, go_on = desk.store.put, asyncio.Event(), asyncio.Event()

    async def slow(key: str, content: bytes) -> None:
        putting.set()
        await go_on.wait()
        await put(key, content)

    monkeypatch.setattr(desk.store, "put", slow)
    late = asyncio.create_task(nodes[0].chunk(ALICE, sender.upload_id, 0, CONTENT[:CHUNK]))
    await putting.wait()
    monkeypatch.undo()
    await sender.send(nodes[1], 0, 2 * CHUNK)
    go_on.set()
    assert await late == {"received": 2 * CHUNK}


async def test_of_two_ends_the_later_finds_what_the_first_has_made(
    nodes: list[Uploads], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = await start(nodes[0])
    await sender.send(nodes[0], 0)
    get, first, ended = desk.store.get, [], asyncio.Event()

    async def overtaken(key: str) -> bytes:
        if not key.endswith(f"/{0:012d}"):
            await ended.wait()
            return await get(key)
        monkeypatch.undo()
        first.append(await nodes[0].end(ALICE, sender.upload_id))
        ended.set()
        return await get(key)

    monkeypatch.setattr(desk.store, "get", overtaken)
    assert [await nodes[1].end(ALICE, sender.upload_id)] == first


async def test_a_user_has_a_few_open_and_an_idle_one_gives_way(each_desk: Desk) -> None:
    desk, nodes = each_desk, _nodes(each_desk)
    first, *_ = [await start(nodes[number % 2]) for number in range(MAX_OPEN_PER_USER)]
    await first.send(nodes[0], 0, CHUNK)
    with pytest.raises(LimitExceeded):
        await start(nodes[0])
    await start(nodes[0], identity=BOB)
    namesake = Identity("alice", "other")
    async with desk.database.transaction() as db:
        await sessions.create_session(
            db,
            ChatSession(session_id="o1", user_id="alice", tenant="other", created_at=desk.now, updated_at=desk.now),
        )
    await nodes[0].start(namesake, "o1", "a", 1, "text/plain")
    desk.now += IDLE
    await first.send(nodes[0], CHUNK, 2 * CHUNK)  # this one goes on
    await start(nodes[0])
    await first.send(nodes[0], 2 * CHUNK)
    assert await open_uploads(desk) == MAX_OPEN_PER_USER + 2
    desk.now += IDLE + timedelta(seconds=1)
    for _ in range(MAX_OPEN_PER_USER):
        await start(nodes[0])
    assert (await desk.left())[1] == []
    with pytest.raises(NotFound):
        await nodes[0].end(ALICE, first.upload_id)


async def test_a_name_and_a_type_that_no_column_would_take(each_desk: Desk) -> None:
    desk, nodes = each_desk, _nodes(each_desk)
    told = await nodes[0].start(ALICE, "s1", "\0\udc80" + "가" * 500, 1, "\0" * 500)
    async with desk.database.reading() as db:
        upload = await db.scalar(select(ChatUpload).where(ChatUpload.upload_id == told["upload_id"]))
    assert upload is not None
    assert (upload.file_name, upload.file_type) == ("가" * 255, "application/octet-stream")
