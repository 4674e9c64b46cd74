from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from marshmallow import fields

from server.errors import Conflict, Forbidden
from server.http import middleware
from server.http.api import Api, Download, Stream, endpoint
from server.identity import Identity
from server.parts import authority  # the rules for tokens that a whole server has
from server.realtime.admission import Admission
from server.realtime.limits import Rate, RateLimits
from server.realtime.schema import Count, Payload, Text
from tests.support import running
from tests.support.client import PATIENCE
from tests.support.rest import Rest

MAX_BODY = 1_000


class Note(Payload):
    text = Text(most=100, required=True)
    number = Count(load_default=None)


class Filter(Payload):
    colour = fields.String(load_default=None)


class Notes:
    """Endpoints of every kind; `left` is set when a stream's generator is closed."""

    def __init__(self) -> None:
        self.text = "first"
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.arrived = asyncio.Event()

    @endpoint("GET", "/notes/{note_id}", query=Filter)
    async def get(self, identity: Identity, note_id: str, colour: str | None) -> Mapping[str, object]:
        if note_id == "hidden":
            raise Forbidden
        return {"note": note_id, "text": self.text, "for": identity.user_id, "colour": colour}

    @endpoint("POST", "/notes", body=Note, status=201, rate="messages")
    async def add(self, identity: Identity, text: str, number: int | None) -> Mapping[str, object]:
        return {"text": text, "number": number}

    @endpoint("POST", "/notes/touch")
    async def touch(self, identity: Identity) -> Mapping[str, object]:
        return {"touched": True}

    @endpoint("POST", "/notes/never", timeout=0.01)
    async def never(self, identity: Identity) -> Mapping[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    @endpoint("GET", "/public", public=True)
    async def public(self, identity: Identity) -> Mapping[str, object]:
        return {"anonymous": identity.anonymous}

    @endpoint("GET", "/file/{kind}")
    async def file(self, identity: Identity, kind: str) -> Download:
        return Download("notes.csv", "text/csv; charset=utf-8", b"whole" if kind == "whole" else self._parts(kind))

    async def _parts(self, kind: str) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first,"
            if kind == "broken":
                raise ZeroDivisionError
            if kind == "away":
                raise ConnectionRefusedError  # as a database does
            while kind == "endless":
                yield b"x" * 100_000
            yield b"second"
        finally:
            self.left.set()

    @endpoint("POST", "/notes/late")
    async def late(self, identity: Identity) -> Mapping[str, object]:
        raise TimeoutError("of something else")

    @endpoint("POST", "/notes/stream", body=Note)
    async def stream(self, identity: Identity, text: str, number: int | None) -> Stream:
        if text == "refused":
            raise Conflict
        self.arrived.set()
        if text == "wait first":
            await self.go_on.wait()
        return self._stream(text)

    async def _stream(self, text: str) -> Stream:
        try:
            yield {"type": "stream_start", "text": "여러\r\n줄\u2028"}
            if text == "wait":
                await self.go_on.wait()
            if text == "fails":
                raise Conflict("Stopped")
            if text == "breaks":
                raise ZeroDivisionError
            while text == "endless":
                yield {"type": "stream_chunk", "text": "x" * 10_000}
            yield {"type": "stream_end"}
        finally:
            self.left.set()


class Server:
    def __init__(self, url: str, notes: Notes, limits: RateLimits) -> None:
        self.url, self.notes, self.limits = url, notes, limits

    async def call(
        self, method: str, path: str, *, sub: str = "alice", **options: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        reply = await Rest(self.url, sub).call(method, path, **options)
        return reply.status, reply.body, reply.headers


@pytest_asyncio.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    rates = {"messages": Rate(2, 60), "events": Rate(10, 60)}
    limits = RateLimits(rates)
    admission = Admission(authority(running.settings(), None), limits, max_connections=1)
    options = {"heartbeat": 15.0} | getattr(request, "param", {})
    require_auth = options.pop("require_auth", True)
    api = Api(admission, limits, max_body=MAX_BODY, **options)
    notes = Notes()
    app = web.Application(middlewares=[middleware.errors])
    app.add_routes(api.routes("/chat", notes, require_auth=require_auth))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Server(f"http://127.0.0.1:{runner.addresses[0][1]}", notes, limits)
    await runner.cleanup()


# -- who asks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "TOKEN_MISSING"),
        ("Basic YTpi", "TOKEN_MISSING"),
        ("Bearer ", "TOKEN_MISSING"),
        ("Bearer nonsense", "TOKEN_INVALID"),
        (f"Bearer {running.token(lifetime=-31)}", "TOKEN_EXPIRED"),
    ],
)
async def test_without_a_good_token_nothing_is_read(server: Server, authorization: str | None, code: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with (
        aiohttp.ClientSession() as http,
        http.post(server.url + "/notes?token=" + running.token(), data="{", headers=headers) as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["code"] == code


async def test_a_token_is_good_for_the_leeway(server: Server) -> None:
    late = {"Authorization": f"Bearer {running.token('bob', lifetime=-25)}"}
    status, body, _ = await server.call("GET", "/notes/1", headers=late)
    assert (status, body["for"]) == (200, "bob")


# -- what they send -------------------------------------------------------------------------------------------------


async def test_a_body_a_query_and_a_path(server: Server) -> None:
    assert (await server.call("POST", "/notes", json={"text": "안녕 👋"}))[:2] == (
        201,
        {"text": "안녕 👋", "number": None, "remaining": 1},
    )
    _, body, _ = await server.call("GET", "/notes/a%2Fb%20{c}%25?colour=red")
    assert (body["note"], body["colour"]) == ("a/b {c}%", "red")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is not JSON"),
        (b"\xff\xfe", "The body is not JSON"),
        (b"[]", "The payload must be an object"),
        (b"null", "The payload must be an object"),
        (b'{"text": "\\ud800"}', "The payload holds broken Unicode, or a number such as NaN"),
        (b'{"text": "a", "number": NaN}', "The payload holds broken Unicode, or a number such as NaN"),
        (b'{"text": ' + b"[" * 40 + b"]" * 40 + b"}", "The payload nests deeper than 32 levels"),
        (b'{"text": "\\u0000"}', {"text": ["May not contain NUL."]}),
        (b'{"text": "a", "colour": "red"}', {"colour": ["Unknown field."]}),
        (b'{"text": "a", "number": "1"}', {"number": ["Not a valid integer."]}),
        (b"", {"text": ["Missing data for required field."]}),
    ],
)
async def test_bodies_that_are_refused(server: Server, body: bytes, message: object) -> None:
    status, answer, _ = await server.call("POST", "/notes", data=body, headers={"Content-Type": "application/json"})
    error = answer["error"]
    assert (status, error["code"]) == (422, "INVALID_MESSAGE")
    assert error.get("details", error["message"]) == message


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_is_not_called_json_is_none(server: Server, content_type: str) -> None:
    options: dict[str, Any] = {"headers": {"Content-Type": content_type}} if content_type else {}
    status, answer, _ = await server.call(
        "POST", "/notes", data=b'{"text": "a"}', skip_auto_headers=["Content-Type"], **options
    )
    assert (status, answer["error"]["message"]) == (422, "The body must be application/json")


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 100


@pytest.mark.parametrize("kind", ["long", "endless", "compressed"])
async def test_a_body_over_the_bound(server: Server, kind: str) -> None:
    headers = {"Content-Type": "application/json"}
    data: Any = b'{"text": "' + b"a" * MAX_BODY + b'"}'
    if kind == "endless":
        data = _endless()
    elif kind == "compressed":
        data = gzip.compress(b" " * 10_000_000)[:-20]
        headers |= {"Content-Encoding": "gzip", "Content-Length": str(MAX_BODY)}
        data = data[:MAX_BODY]
    status, answer, _ = await server.call("POST", "/notes", data=data, headers=headers)
    assert (status, answer["error"]["code"]) == (413, "MESSAGE_TOO_BIG")


async def test_a_body_that_is_badly_compressed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    status, answer, _ = await server.call("POST", "/notes", data=b"\x1f\x8bnonsense" * 9, headers=headers)
    assert (status, answer["error"]["message"]) == (422, "The body is broken")
    assert "Traceback" not in capsys.readouterr().out


async def _raw(server: Server, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace(b"$TOKEN", running.token().encode()))
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("query", [b"colour=%ff", b"%ff=1", b"colour=%ed%a0%80", b"colour=%00"])
async def test_a_query_of_any_bytes_does_no_harm(server: Server, query: bytes) -> None:
    reader, writer = await _raw(
        server, b"GET /notes/1?" + query + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $TOKEN\r\n\r\n"
    )
    assert (await reader.readline()).split()[1] in (b"200", b"422")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_vanishes_amid_its_body_leaves_no_trace(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    head = (
        b"POST /notes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $TOKEN\r\n"
        b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"text'
    )
    _, writer = await _raw(server, head)
    writer.transport.abort()
    status, _, _ = await server.call("GET", "/notes/1")
    assert status == 200
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("server", [{"timeout": 0.05}], indirect=True)
async def test_a_body_that_never_ends_is_given_up(server: Server) -> None:
    head = (
        b"POST /notes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $TOKEN\r\n"
        b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"text'
    )
    reader, writer = await _raw(server, head)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readline() == b"HTTP/1.1 504 Gateway Timeout\r\n"
    writer.transport.abort()


@pytest.mark.parametrize(
    ("path", "details"),
    [
        ("/notes/1?color=red", {"color": ["Unknown field."]}),
        ("/notes/1?colour=red&colour=blue", {"colour": ["Given twice."]}),
        ("/notes/%20a", {"note_id": ["Must be printable text without spaces at its ends."]}),
        ("/notes/" + "a" * 101, {"note_id": ["Length must be between 1 and 100."]}),
    ],
)
async def test_queries_and_paths_that_are_refused(server: Server, path: str, details: object) -> None:
    status, answer, _ = await server.call("GET", path)
    assert (status, answer["error"]["code"], answer["error"]["details"]) == (422, "INVALID_MESSAGE", details)


def test_a_handler_takes_what_its_schemas_give() -> None:
    with pytest.raises(TypeError, match=r"POST /notes/\{note_id\}"):

        class _Wrong:
            @endpoint("POST", "/notes/{note_id}", body=Note)
            async def add(self, identity: Identity, text: str) -> Mapping[str, object]:
                return {}


# -- what they are answered -----------------------------------------------------------------------------------------


async def test_errors_keep_their_status(server: Server) -> None:
    status, answer, _ = await server.call("GET", "/notes/hidden")
    assert (status, answer["error"]["code"]) == (403, "FORBIDDEN")
    status, answer, headers = await server.call("PUT", "/notes/1")
    assert (status, answer["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "GET" in headers["Allow"]


async def test_a_handler_that_takes_too_long(server: Server) -> None:
    status, answer, _ = await server.call("POST", "/notes/never")
    assert (status, answer["error"]["code"]) == (504, "TIMEOUT")
    status, answer, _ = await server.call("POST", "/notes/late")
    assert (status, answer["error"]["code"]) == (500, "INTERNAL")


async def test_who_polls_is_told_that_nothing_is_new(server: Server) -> None:
    status, _, headers = await server.call("GET", "/notes/1")
    tag = headers["ETag"]
    assert tag.startswith('W/"')
    assert (headers["Cache-Control"], headers["Vary"]) == ("private, no-cache", "Authorization")
    for known in (tag, f'"other", {tag}', "*", tag.removeprefix("W/")):
        status, body, headers = await server.call("GET", "/notes/1", headers={"If-None-Match": known})
        assert (status, body, headers["ETag"]) == (304, None, tag)
    status, _, headers = await server.call("GET", "/notes/1", sub="bob", headers={"If-None-Match": tag})
    assert (status, headers["ETag"] == tag) == (200, False)
    server.notes.text = "second"
    status, body, _ = await server.call("GET", "/notes/1", headers={"If-None-Match": tag})
    assert (status, body["text"]) == (200, "second")
    status, body, headers = await server.call("HEAD", "/notes/1", headers={"If-None-Match": "nonsense, at all"})
    assert (status, body, "ETag" in headers) == (200, None, True)


# -- how often ------------------------------------------------------------------------------------------------------


async def test_a_rate_is_counted_with_the_events_of_the_namespace(server: Server) -> None:
    await server.limits.hit("messages", "/chat", None, "alice")  # as Namespace counts a connection's
    _, answer, _ = await server.call("POST", "/notes", json={"text": "a"})
    assert answer["remaining"] == 0
    status, answer, headers = await server.call("POST", "/notes", json={"text": "a"})
    assert (status, answer["error"]["code"]) == (429, "RATE_LIMITED")
    assert 0 < int(headers["Retry-After"]) <= 61
    assert answer["error"]["retry_after"] > 0
    assert (await server.call("POST", "/notes", sub="bob", json={"text": "a"}))[0] == 201


@pytest.mark.parametrize("server", [{"share_rate_limit": False}], indirect=True)
async def test_or_alone(server: Server) -> None:
    for _ in range(2):
        await server.limits.hit("messages", "/chat", None, "alice")
    _, answer, _ = await server.call("POST", "/notes", json={"text": "a"})
    assert answer["remaining"] == 1


async def test_what_is_refused_does_not_count(server: Server) -> None:
    for _ in range(3):
        assert (await server.call("POST", "/notes", json={}))[0] == 422
    assert (await server.call("POST", "/notes", json={"text": "a"}))[1]["remaining"] == 1


async def test_any_request_counts(server: Server) -> None:
    statuses = [(await server.call("POST", "/notes/touch"))[0] for _ in range(11)]
    assert statuses == [200] * 10 + [429]


# -- streams --------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {running.token()}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


async def test_a_stream_is_lines_of_data(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.post(server.url + "/notes/stream", json={"text": "a"}) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache"
        start, end, rest = (await response.read()).split(b"\n\n")
    assert orjson.loads(start.removeprefix(b"data: ")) == {"type": "stream_start", "text": "여러\r\n줄\u2028"}
    assert (end, rest) == (b'data: {"type":"stream_end"}', b"")


@pytest.mark.parametrize(("body", "status"), [({"text": "refused"}, 409), ({}, 422)])
async def test_a_refusal_is_no_stream(server: Server, body: object, status: int) -> None:
    assert (await server.call("POST", "/notes/stream", json=body))[0] == status


@pytest.mark.parametrize(("text", "code"), [("fails", "CONFLICT"), ("breaks", "INTERNAL")])
async def test_what_goes_wrong_amid_a_stream_is_its_last_event(
    server: Server, http: aiohttp.ClientSession, text: str, code: str
) -> None:
    async with http.post(server.url + "/notes/stream", json={"text": text}) as response:
        _, error, rest = (await response.read()).split(b"\n\n")
    event = orjson.loads(error.removeprefix(b"data: "))
    assert (event["type"], event["code"], rest) == ("error", code, b"")
    assert ("error_id" in event) == (code == "INTERNAL")


@pytest.mark.parametrize("server", [{"heartbeat": 0.01}], indirect=True)
async def test_a_silent_stream_has_a_heartbeat(server: Server, http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(PATIENCE), http.post(server.url + "/notes/stream", json={"text": "wait"}) as response:
        received = b""
        while b"\n\n: ping\n\n: ping\n\n" not in received:
            received += await response.content.readany()
        server.notes.go_on.set()
        assert (await response.read()).endswith(b'data: {"type":"stream_end"}\n\n')


@pytest.mark.parametrize("server", [{"heartbeat": 0.01}], indirect=True)
@pytest.mark.parametrize("text", ["wait", "endless"])
async def test_who_leaves_ends_only_the_stream(
    server: Server, http: aiohttp.ClientSession, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with http.post(server.url + "/notes/stream", json={"text": text}) as response:
        await response.content.readuntil(b"\n\n")
    server.notes.go_on.set()
    async with asyncio.timeout(PATIENCE):
        await server.notes.left.wait()
    assert (await server.call("POST", "/notes/touch"))[0] == 200
    assert "Traceback" not in capsys.readouterr().out


async def test_who_left_before_it_began(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    head = (
        b"POST /notes/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $TOKEN\r\nContent-Type: application/json\r\n"
    )
    _, writer = await _raw(server, head + b'Content-Length: 22\r\n\r\n{"text": "wait first"}')
    await server.notes.arrived.wait()
    writer.transport.abort()
    assert (await server.call("POST", "/notes/touch"))[0] == 200
    server.notes.go_on.set()
    assert (await server.call("POST", "/notes/touch"))[0] == 200
    assert "Traceback" not in capsys.readouterr().out


# -- without a token, and files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [{"require_auth": False}], indirect=True)
async def test_what_is_public_needs_no_token_and_all_else_does(server: Server) -> None:
    async with aiohttp.ClientSession(server.url) as visitor:
        async with visitor.get("/public") as reply:
            assert (reply.status, await reply.json()) == (200, {"anonymous": True})
        async with visitor.get("/notes/1") as reply:
            assert reply.status == 401
        async with visitor.get("/public", headers={"Authorization": "Bearer forged"}) as reply:
            assert reply.status == 401
        statuses = [(await visitor.get("/public")).status for _ in range(12)]
    assert statuses[-1] == 429
    assert (await server.call("GET", "/public"))[1] == {"anonymous": False}


async def test_what_is_public_needs_one_where_its_routes_do(server: Server) -> None:
    async with aiohttp.ClientSession(server.url) as visitor, visitor.get("/public") as reply:
        assert reply.status == 401


@pytest.mark.parametrize(("kind", "body"), [("whole", "whole"), ("parts", "first,second")])
async def test_a_file_is_sent_as_one(server: Server, kind: str, body: str) -> None:
    headers = {"Authorization": f"Bearer {running.token()}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as reader, reader.get(f"/file/{kind}") as reply:
        assert (reply.status, await reply.text()) == (200, body)
        assert reply.headers["Content-Disposition"] == 'attachment; filename="notes.csv"'
        assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("kind", ["broken", "away"])
async def test_a_file_that_breaks_off_is_not_taken_for_whole(server: Server, kind: str) -> None:
    headers = {"Authorization": f"Bearer {running.token()}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as reader:
        with pytest.raises(aiohttp.ClientError):
            await (await reader.get(f"/file/{kind}")).read()
    assert server.notes.left.is_set()


async def test_who_leaves_a_file_ends_it(server: Server) -> None:
    headers = {"Authorization": f"Bearer {running.token()}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as reader:
        reply = await reader.get("/file/endless")
        await reply.content.readexactly(1000)
        reply.close()
        async with asyncio.timeout(PATIENCE):
            await server.notes.left.wait()
