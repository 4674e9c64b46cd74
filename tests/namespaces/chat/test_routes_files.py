from __future__ import annotations

import asyncio
import io
import os
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from server.errors import AtriumError, Conflict, RateLimited, TokenMissing
from server.http import middleware
from server.identity import Identity
from server.namespaces.chat.files import FILES
from server.namespaces.chat.routes_files import Unsatisfiable, byte_range, routes
from tests.namespaces.chat.test_files import ALICE, BOB, MAX_BYTES, OUTSIDERS, Desk, desk, each_desk, opened
from tests.support.files import pdf, picture, s3_store

__all__ = ["desk", "each_desk"]

PATH = "/api/chat/sessions/s1/files"
USERS = {"alice": ALICE, "bob": BOB, **{f"outsider {number}": each for number, each in enumerate(OUTSIDERS)}}


@dataclass
class Door:
    """The routes of a desk on a real port, and a client of them."""

    desk: Desk
    url: str = ""
    refusal: AtriumError | None = None
    too_many: AtriumError | None = None
    said: list[tuple[str, str]] = field(default_factory=list)

    async def attach(self, identity: Identity, session_id: str, file_id: str, message: str = "") -> dict[str, object]:
        if self.refusal is not None:
            raise self.refusal
        self.said.append((identity.user_id, message))
        await self.desk.say(await self.desk.files.open(identity, file_id), f"m{len(self.said)}")
        return {"message_id": f"m{len(self.said)}"}

    async def identify(self, request: web.Request) -> Identity:
        user = USERS.get(request.headers.get("Authorization", ""))
        if user is None:
            raise TokenMissing
        return user

    async def count(self, identity: Identity) -> None:
        if self.too_many is not None:
            raise self.too_many

    async def call(self, method: str, path: str, user: str = "alice", **options: Any) -> tuple[int, Any, Any]:
        """Status, headers, and the JSON or the bytes of the body."""
        headers = {"Authorization": user} | options.pop("headers", {})
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.url + path, headers=headers, **options) as response,
        ):
            is_json = response.content_type == "application/json"
            return response.status, response.headers, await (response.json() if is_json else response.read())

    async def send(self, content: bytes, name: str = "a.txt", *, user: str = "alice", **fields: str) -> Any:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("file", io.BytesIO(content), filename=name, content_type="image/svg+xml")
        for each, value in fields.items():
            form.add_field(each, value)
        status, _, body = await self.call("POST", PATH, user, data=form)
        return body if status == 201 else (status, body["error"]["code"])


@asynccontextmanager
async def listening(desk: Desk, **options: float) -> AsyncIterator[Door]:
    door = Door(desk)
    app = web.Application(middlewares=[middleware.errors])
    app.add_routes(routes(desk.files, door.attach, door.identify, count=door.count, **options))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield door
    await runner.cleanup()


@pytest_asyncio.fixture
async def door(desk: Desk) -> AsyncIterator[Door]:
    async with listening(desk) as door:
        yield door


async def test_a_file_is_sent_said_and_read(door: Door) -> None:
    content = picture("PNG")
    sent = await door.send(content, "화면.png", message="이 이미지를 분석해주세요.")
    file_id = sent["file_id"]
    assert sent == {
        "file_id": file_id,
        "file_url": f"/files/{file_id}",
        "thumbnail_url": f"/files/{file_id}/thumb",
        "message_id": "m1",
        "file_info": {"name": "화면.png", "type": "image/png", "size": len(content)},
    }
    assert door.said == [("alice", "이 이미지를 분석해주세요.")]
    status, headers, body = await door.call("GET", sent["file_url"], "bob")
    assert (status, body, headers["Content-Type"]) == (200, content, "image/png")
    assert headers["Content-Disposition"].startswith('inline; filename="__.png"; filename*=UTF-8')
    status, headers, body = await door.call("GET", sent["thumbnail_url"], "bob")
    assert (status, headers["Content-Type"], body[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('filename="신분증.txt"', "신분증.txt"),
        ("filename=\"x.txt\"; filename*=UTF-8''%EA%B0%80.txt", "가.txt"),
        ('filename="%EA%B0%80%22.txt"', "가_.txt"),
        ('filename="50%\xff.txt"', "50%ÿ.txt"),
        ('filename="50%ff.txt"', "50%ff.txt"),
        ('filename="..%2F..%2fetc%2Fpasswd"', "passwd.txt"),
        ('filename=""', "file.txt"),
    ],
)
async def test_names_as_clients_write_them(door: Door, written: str, name: str) -> None:
    body = f'--x\r\nContent-Disposition: form-data; name="file"; {written}\r\n\r\ntext\r\n--x--\r\n'.encode()
    status, _, sent = await door.call("POST", PATH, data=body, headers=MULTIPART)
    assert (status, sent.get("file_info", sent)) == (201, {"name": name, "type": "text/plain", "size": 4})


@pytest.mark.parametrize(
    ("content", "media_type", "inline"),
    [
        (picture("JPEG"), "image/jpeg", True),
        (pdf(), "application/pdf", False),
        (b"text <script>alert(1)</script>", "text/plain; charset=utf-8", False),
    ],
)
async def test_a_browser_can_do_nothing_with_it_but_show_a_picture(
    door: Door, content: bytes, media_type: str, inline: bool
) -> None:
    sent = await door.send(content)
    for path in (sent["file_url"], *([sent["thumbnail_url"]] if sent["thumbnail_url"] else [])):
        for more in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
            status, headers, _ = await door.call("GET", path, headers=more)
            assert status in (200, 206, 304)
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
            assert headers["Cache-Control"] == "private, no-cache"
    _, headers, _ = await door.call("GET", sent["file_url"])
    assert headers["Content-Type"] == media_type
    assert headers["Content-Disposition"].startswith("inline; " if inline else "attachment; ")


async def test_the_message_may_come_first_or_not_at_all(door: Door) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("message", "first")
    form.add_field("file", b"text", filename="a.txt")
    assert (await door.call("POST", PATH, data=form))[0] == 201
    await door.send(b"text")
    assert [message for _, message in door.said] == ["first", ""]


def form(*fields: tuple[str, bytes | str]) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields:
        data.add_field(name, io.BytesIO(value) if isinstance(value, bytes) else value, filename=None)
    return data


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ntext'


async def test_what_is_no_form_of_ours(door: Door) -> None:
    for options in (
        {},
        {"json": {"file": "a"}},
        {"data": PART, "headers": MULTIPART},
        {"data": PART + b"\r\n--x\r\n", "headers": MULTIPART},
        {"data": PART.replace(b'name="file"; ', b"") + b"\r\n--x--\r\n", "headers": MULTIPART},
        {"data": b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n", "headers": MULTIPART},
        {"data": b"--x\r\nno header\r\n\r\n--x--\r\n", "headers": MULTIPART},
        {"data": b"not deflated", "headers": MULTIPART | {"Content-Encoding": "deflate"}},
        {"data": form(("message", "only"))},
        {"data": form(("file", b"text"), ("file", b"text"))},
        {"data": form(("file", b"text"), ("other", "x"))},
        {"data": form(("message", "a"), ("message", "b"), ("file", b"text"))},
        {"data": form(("file", b"text"), ("message", "x" * 65_537))},
        {"data": form(("file", b"text"), ("message", "x" * 300_000))},
        {"data": form(("file", b"text"), ("message", "a\0b"))},
        {"data": form(("file", b"text"), ("message", b"\xed\xa0\x80"))},
        {"data": form(("file", b""))},
    ):
        status, _, body = await door.call("POST", PATH, **options)
        assert (options, status, body["error"]["code"]) == (options, 422, "INVALID_MESSAGE")
    assert await door.desk.left() == (0, [])
    assert not door.said


async def test_what_is_refused_leaves_nothing(door: Door) -> None:
    assert await door.send(b"x" * (MAX_BYTES + 1)) == (413, "MESSAGE_TOO_BIG")
    assert await door.send(b"<svg/>", "a.png") == (415, "UNSUPPORTED_TYPE")
    assert await door.send(b"<html>") == (415, "UNSUPPORTED_TYPE")
    door.refusal = Conflict("archived")
    assert await door.send(b"text") == (409, "CONFLICT")
    door.too_many = RateLimited(retry_after=1, limit=1)
    assert await door.send(b"text") == (429, "RATE_LIMITED")
    assert await door.desk.left() == (0, [])


async def test_who_may_not_use_the_session_sends_nothing(door: Door) -> None:
    assert await door.send(b"text", user="nobody") == (401, "TOKEN_MISSING")
    refusals = set()
    for number in range(len(OUTSIDERS)):
        for session_id in ("s1", "unknown"):
            path = f"/api/chat/sessions/{session_id}/files"
            status, _, body = await door.call("POST", path, f"outsider {number}", data=form(("file", b"text")))
            refusals.add((status, str(body)))
    assert len(refusals) == 1
    assert refusals.pop()[0] == 403
    for session_id in ("%00", "%E2%80%AE", "a" * 101):
        status, _, _ = await door.call("POST", f"/api/chat/sessions/{session_id}/files", data=form(("file", b"text")))
        assert (session_id, status) == (session_id, 422)
    assert await door.desk.left() == (0, [])


async def test_a_file_of_others_is_none(each_desk: Desk) -> None:
    unknown = (f"/files/file_{'0' * 32}", "/files/x", "/files/%00")
    refusals = set()
    async with listening(each_desk) as door:
        sent = await door.send(picture("PNG"))
        for path in ("", "/thumb"):
            for user in USERS:
                for file in unknown if user in ("alice", "bob") else (sent["file_url"], *unknown):
                    status, _, body = await door.call("GET", file + path, user)
                    refusals.add((status, str(body)))
            assert (await door.call("GET", sent["file_url"] + path, "nobody"))[0] == 401
    assert refusals == {(404, "{'error': {'code': 'NOT_FOUND', 'message': 'No such file'}}")}


async def test_a_large_body_that_is_small_on_the_wire(door: Door) -> None:
    """It is counted as it unpacks."""
    step = zlib.compressobj(9)
    body = step.compress(PART) + b"".join(step.compress(b"x" * 1_000_000) for _ in range(50)) + step.flush()
    status, _, answer = await door.call("POST", PATH, data=body, headers=MULTIPART | {"Content-Encoding": "deflate"})
    assert (status, answer["error"]["code"]) == (413, "MESSAGE_TOO_BIG")


async def test_a_client_that_vanishes_leaves_nothing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, spooling, ended = door.desk.files._spool, asyncio.Event(), asyncio.Event()

    async def watched(chunks: AsyncIterator[bytes], file: BinaryIO) -> int:
        async def told() -> AsyncGenerator[bytes]:
            async for chunk in chunks:
                spooling.set()
                yield chunk

        try:
            return await spool(told(), file)
        finally:
            ended.set()

    monkeypatch.setattr(door.desk.files, "_spool", watched)
    _, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\nContent-Length: 1000000\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + PART + b"x" * 100_000)
    await asyncio.wait_for(spooling.wait(), 5)
    writer.transport.abort()
    await asyncio.wait_for(ended.wait(), 5)
    assert await door.desk.left() == (0, [])


async def test_a_client_that_falls_silent_is_not_waited_for(desk: Desk) -> None:
    message = PART + b'\r\n--x\r\nContent-Disposition: form-data; name="message"\r\n\r\nhi'

    async def silent(beginning: bytes) -> AsyncGenerator[bytes]:
        yield beginning
        await asyncio.Event().wait()

    for options in ({"silence_seconds": 0.3}, {"upload_seconds": 0.3}):
        async with listening(desk, **options) as door:
            for beginning in (PART, message):
                status, _, body = await door.call("POST", PATH, data=silent(beginning), headers=MULTIPART)
                assert (status, body["error"]["code"]) == (504, "TIMEOUT")
    assert not desk.files._storing
    assert await desk.left() == (0, [])


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=2-", 10, (2, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=10-", 10, Unsatisfiable),
        ("bytes=-0", 10, Unsatisfiable),
        ("bytes=999999999999999999-", 10, Unsatisfiable),
        ("bytes=5-2", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=٣-", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=" + "9" * 5000 + "-", 10, None),
    ],
)
def test_byte_range(header: str | None, size: int, expected: object) -> None:
    if expected is Unsatisfiable:
        with pytest.raises(Unsatisfiable):
            byte_range(header, size)
    else:
        assert byte_range(header, size) == expected


async def test_a_file_is_read_in_part_or_not_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(65, 91)) * 1000
    sent = await door.send(content)
    status, headers, body = await door.call("GET", sent["file_url"], headers={"Range": "bytes=10-19"})
    assert (status, body) == (206, content[10:20])
    assert (headers["Content-Range"], headers["Content-Length"]) == (f"bytes 10-19/{len(content)}", "10")
    status, headers, body = await door.call("GET", sent["file_url"], headers={"Range": "bytes=26000-"})
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(content)}")
    assert body["error"]["code"] == "RANGE_NOT_SATISFIABLE"
    status, headers, body = await door.call("GET", sent["file_url"], headers={"Range": "bytes=0-1,5-6"})
    assert (status, body) == (200, content)
    tag = headers["ETag"]
    for condition, expected in ((tag, 206), ('"other"', 200)):
        more = {"Range": "bytes=10-19", "If-Range": condition}
        assert (await door.call("GET", sent["file_url"], headers=more))[0] == expected

    async def read(*_: object) -> bytes:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(door.desk.store, "read", read)
    for condition in (tag, f"W/{tag}", f'"a", {tag}', "*"):
        status, headers, body = await door.call("GET", sent["file_url"], headers={"If-None-Match": condition})
        assert (status, headers["ETag"], body) == (304, tag, b"")
    status, headers, body = await door.call("HEAD", sent["file_url"])
    assert (status, headers["Content-Length"], headers["ETag"], body) == (200, str(len(content)), tag, b"")
    status, headers, body = await door.call("HEAD", sent["file_url"], headers={"Range": "bytes=0-9"})
    assert (status, headers["Content-Length"], body) == (206, "10", b"")
    assert (await door.call("GET", sent["file_url"], "outsider 0", headers={"If-None-Match": tag}))[0] == 404


async def test_a_lost_object(door: Door) -> None:
    sent = await door.send(b"text")
    await door.desk.store.delete([f"{FILES}/{sent['file_id']}"])
    assert (await door.call("GET", sent["file_url"]))[0] == 404


async def test_neither_way_is_a_file_held_in_memory(sqlite_url: str, tmp_path: Path) -> None:
    size = 30_000_000
    async with opened(sqlite_url, tmp_path / "files") as desk:
        desk.files.max_bytes = size
        async with listening(desk) as door:

            async def body() -> AsyncGenerator[bytes]:
                yield PART
                for _ in range(size // 100_000 - 1):
                    yield b"x" * 100_000
                yield b"\r\n--x--\r\n"

            tracemalloc.start()
            try:
                status, _, sent = await door.call("POST", PATH, data=body(), headers=MULTIPART)
                assert status == 201
                async with (
                    aiohttp.ClientSession(headers={"Authorization": "alice"}) as http,
                    http.get(door.url + sent["file_url"]) as response,
                ):
                    received = 0
                    async for chunk in response.content.iter_chunked(65_536):
                        received += len(chunk)
                assert received == sent["file_info"]["size"]
                assert tracemalloc.get_traced_memory()[1] < 12_000_000
            finally:
                tracemalloc.stop()


async def test_the_same_in_s3(sqlite_url: str, tmp_path: Path) -> None:
    with s3_store() as store:
        async with opened(sqlite_url, tmp_path / "files") as desk:
            desk.files._store = desk.store = store
            desk.files.max_bytes = 10_000_000
            async with listening(desk) as door:
                content = picture("PNG") + os.urandom(7_000_000)
                sent = await door.send(content, "a.png")
                assert (await door.call("GET", sent["file_url"], "bob"))[2] == content
                last = await door.call("GET", sent["file_url"], headers={"Range": "bytes=-1000"})
                assert last[2] == content[-1000:]
                assert (await door.call("GET", sent["thumbnail_url"]))[0] == 200
                assert (await door.call("GET", sent["thumbnail_url"], "outsider 0"))[0] == 404
                assert await door.send(b"<html>") == (415, "UNSUPPORTED_TYPE")
                assert len((await desk.left())[1]) == 2
