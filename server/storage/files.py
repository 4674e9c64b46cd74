"""Objects by key, on local disk or in S3. What a key means, and who may read it, is its callers' business."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.store import LocalStore, S3Store

if TYPE_CHECKING:
    from obstore.store import S3Config

#: S3 takes no smaller part of an object, and a part is held in memory: this times MAX_PUTS is what writing costs.
PART_BYTES = 5 << 20
MAX_PUTS = 4
REQUEST_TIMEOUT = timedelta(seconds=60)
CONNECT_TIMEOUT = timedelta(seconds=5)

_UNFINISHED = re.compile(r".+#\d+")  # where obstore writes what is not whole yet; it never lists them


class FileStore:
    """What is put is there whole or not at all."""

    def __init__(self, objects: LocalStore | S3Store, directory: Path | None = None) -> None:
        """`directory`: of a local store."""
        self._objects = objects
        self._directory = directory
        self._puts = asyncio.Semaphore(MAX_PUTS)

    async def put(self, key: str, content: bytes | BinaryIO) -> None:
        """A file is read from where it stands, beside the loop."""
        async with self._puts:
            await obstore.put_async(self._objects, key, content, chunk_size=PART_BYTES, max_concurrency=1)

    async def get(self, key: str) -> bytes:
        """For what is small. Raises FileNotFoundError."""
        return bytes(await (await obstore.get_async(self._objects, key)).bytes_async())

    async def read(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`. Raises FileNotFoundError."""
        return bytes(await obstore.get_range_async(self._objects, key, start=start, end=end))

    async def delete(self, keys: Sequence[str]) -> None:
        """Those that are not there are gone already."""
        if self._directory is None:
            await obstore.delete_async(self._objects, keys)
            return
        for key in keys:  # given many, a local store stops at the first that is not there
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._objects, key)

    async def keys(self, prefix: str, *, before: datetime | None = None) -> AsyncIterator[list[str]]:
        """Up to a thousand at a time, in no order; `before`: only of objects last written earlier."""
        async for found in obstore.list(self._objects, prefix=prefix, chunk_size=1000):
            yield [each["path"] for each in found if before is None or each["last_modified"] < before]

    async def delete_unfinished(self, before: datetime) -> int:
        """What a process that died was writing to disk. S3 shows no such parts among its objects: a lifecycle rule of
        the bucket (AbortIncompleteMultipartUpload) removes them."""
        return 0 if self._directory is None else await asyncio.to_thread(_delete_unfinished, self._directory, before)


def local(directory: str | Path) -> FileStore:
    """Makes the directory. Blocks: it is called before there is a loop."""
    path = Path(directory).resolve()
    return FileStore(LocalStore(path, mkdir=True, automatic_cleanup=True), path)


def s3(
    bucket: str,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> FileStore:
    """`endpoint_url`: of a store that is not Amazon's. Without keys, those of the machine's role are used."""
    config: S3Config = {}
    if endpoint_url is not None:
        config["endpoint"] = endpoint_url
    if region is not None:
        config["region"] = region
    if access_key_id is not None and secret_access_key is not None:
        config["access_key_id"] = access_key_id
        config["secret_access_key"] = secret_access_key
    return FileStore(
        S3Store(
            bucket,
            config=config,
            client_options={
                "allow_http": endpoint_url is not None and endpoint_url.startswith("http://"),
                "connect_timeout": CONNECT_TIMEOUT,
                "timeout": REQUEST_TIMEOUT,
            },
            retry_config={"max_retries": 3, "retry_timeout": REQUEST_TIMEOUT},
        )
    )


def _delete_unfinished(directory: Path, before: datetime) -> int:
    deleted = 0
    for path in directory.rglob("*"):
        if _UNFINISHED.fullmatch(path.name):
            with suppress(FileNotFoundError):
                if datetime.fromtimestamp(path.stat().st_mtime, UTC) < before:
                    path.unlink()
                    deleted += 1
    return deleted
