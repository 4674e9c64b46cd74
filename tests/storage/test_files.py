from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.storage import files
from server.storage.files import PART_BYTES, FileStore
from tests.support.files import s3_store

LATER = timedelta(hours=1)


@pytest.fixture(scope="module")
def s3() -> Iterator[FileStore]:
    with s3_store() as store:
        yield store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    return files.local(tmp_path / "not" / "there yet") if request.param == "local" else request.getfixturevalue("s3")


async def listed(store: FileStore, prefix: str, before: datetime | None = None) -> list[str]:
    return sorted([key async for keys in store.keys(prefix, before=before) for key in keys])


async def test_what_is_not_there(store: FileStore) -> None:
    with pytest.raises(FileNotFoundError):
        await store.get("none/a")
    with pytest.raises(FileNotFoundError):
        await store.read("none/a", 0, 1)
    assert await listed(store, "none") == []
    await store.delete(["none/a", "none/b"])
    await store.delete([])


async def test_objects_are_written_over_read_in_part_and_deleted(store: FileStore) -> None:
    await store.put("objects/a", b"old")
    await store.put("objects/a", b"0123456789")
    assert await store.get("objects/a") == b"0123456789"
    assert await store.read("objects/a", 3, 5) == b"34"
    await store.delete(["objects/none", "objects/a", "objects/none too"])
    assert await listed(store, "objects") == []


async def test_a_file_larger_than_a_part_is_read_from_where_it_stands(store: FileStore) -> None:
    content = os.urandom(PART_BYTES + 1000)
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(file.write, content)
        file.seek(0)
        await store.put("large/a", file)
    assert await store.read("large/a", PART_BYTES - 5, PART_BYTES + 5) == content[PART_BYTES - 5 : PART_BYTES + 5]
    assert await store.get("large/a") == content
    await store.delete(["large/a"])


async def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise OSError("gone")

        def seek(self, offset: int, whence: int = 0) -> int:
            return PART_BYTES * 2

    store = await asyncio.to_thread(files.local, tmp_path)
    with pytest.raises(OSError, match="gone"):
        await store.put("broken/a", Broken())  # type: ignore[arg-type]
    assert await listed(store, "broken") == []
    assert await store.delete_unfinished(datetime.now(UTC) + LATER) == 0


async def test_a_prefix_is_a_folder_and_the_young_are_left_out(store: FileStore) -> None:
    for key in ("folder/a/1", "folder/a/2", "folder/b/1", "folders/c"):
        await store.put(key, b"x")
    assert await listed(store, "folder") == ["folder/a/1", "folder/a/2", "folder/b/1"]
    assert await listed(store, "folder/a") == ["folder/a/1", "folder/a/2"]
    now = datetime.now(UTC)
    assert await listed(store, "folder", now - LATER) == []
    assert len(await listed(store, "folder", now + LATER)) == 3


async def test_what_a_dead_process_was_writing_is_deleted_from_disk(tmp_path: Path) -> None:
    store = await asyncio.to_thread(files.local, tmp_path)
    await store.put("files/whole", b"x")
    unfinished = tmp_path / "files" / "part#1"
    await asyncio.to_thread(unfinished.write_bytes, b"x")
    now = datetime.now(UTC)
    assert await store.delete_unfinished(now - LATER) == 0
    assert await store.delete_unfinished(now + LATER) == 1
    assert not unfinished.exists()
    assert await store.get("files/whole") == b"x"


async def test_s3_has_no_unfinished_objects_to_delete(s3: FileStore) -> None:
    assert await s3.delete_unfinished(datetime.now(UTC) + LATER) == 0
