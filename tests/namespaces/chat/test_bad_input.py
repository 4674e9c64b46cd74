"""What clients send by mistake or on purpose, to every event and every route of chat: each field beyond its limits,
other types, other JSON, no JSON. It is refused by name, and neither the connection nor the server minds."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from marshmallow import Schema, fields
from structlog.testing import capture_logs
from yarl import URL

from server.http.api import Endpoint
from server.http.fields import Digits
from server.namespaces.chat import routes, routes_bank, routes_stream
from server.namespaces.chat.bodies import Place
from server.namespaces.chat.namespace import ChatNamespace
from server.namespaces.chat.schemas import MAX_CONTENT_CHARS, MAX_METADATA_BYTES
from server.realtime.schema import Count, Flag, Identifier, Text
from tests.conftest import Connect, Serve
from tests.support.raw import RawSocket, raw_socket
from tests.support.rest import Reply, Rest
from tests.support.running import Running, token

ROOMY = {"WS_MESSAGE_SIZE_LIMIT": 1_000_000}  # for what would else be too long before it is looked at
S1 = "/api/chat/sessions/s1"
JSON = {"Content-Type": "application/json"}

EMOJI, RTL, ZALGO = "🙂👩‍👩‍👧‍👦🇰🇷", "\u202eשלום\u2066مرحبا", "e\u0301\u0327" * 20
NOT_IDS = ["", " ", " a", "a ", "a\nb", "a\0", "\u200b", "\u202e", "a" * 101]
NOT_NUMBERS = ["", "-1", "+1", "1.5", "1e3", "0x1", "1_0", " 1", "١", "NaN", "9" * 17]
NOT_PLACES = ["", "-1", "9" * 16, "tomorrow", "2026-13-01", "msg_é", "msg_", "msg_" + "a" * 97, "10:00", "Z", "\0"]
NOT_PLACES += ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "a" * 5_000]


@pytest.fixture(autouse=True)
def untroubled() -> Iterator[None]:
    """Nothing that a client sends is an error of ours."""
    with capture_logs() as logs:
        yield
    assert [log for log in logs if log["log_level"] in ("error", "critical")] == []


@pytest_asyncio.fixture
async def server(serve: Serve, tmp_path: Path) -> Running:
    return await serve(
        CHAT_DEFAULT_AGENT="",
        FILE_STORAGE_PATH=tmp_path / "files",
        RATE_LIMIT_MESSAGES_PER_MINUTE=1_000_000,
        TRADING_FEED="none",
        **ROOMY,
    )


@pytest_asyncio.fixture
async def stored(serve: Serve, database_url: str) -> Running:
    """A server on each database."""
    return await serve(DATABASE_URL=database_url, CHAT_DEFAULT_AGENT="", TRADING_FEED="none", **ROOMY)


def refusal(error: Mapping[str, Any]) -> Any:
    """What is wrong with which field."""
    assert error.keys() <= {"code", "message", "details"}, error
    assert error["code"] == "INVALID_MESSAGE", error
    assert not [word for word in ("Traceback", "sqlalchemy", "sqlite", "asyncpg", ".py") if word in json.dumps(error)]
    return error.get("details")


def right(schema: Schema) -> dict[str, Any]:
    """A payload as short as may be; what it names need not be there."""
    return {name: a_right(field) for name, field in named(schema).items() if field.required}


def named(schema: Schema) -> dict[str, fields.Field[Any]]:
    """By the names that clients use."""
    return {field.data_key or name: field for name, field in schema.fields.items()}


def a_right(field: fields.Field[Any]) -> object:
    match field:
        case Flag():
            return True
        case Count():
            return 1
        case fields.Dict():
            return {}
        case _:
            return "a"


def wrong(field: fields.Field[Any]) -> Iterator[object]:
    """For a JSON field."""
    if isinstance(field, fields.Raw) and type(field) is fields.Raw:  # anything
        return
    yield from ([], ["a"], 1e300)
    if not field.allow_none:
        yield None
    match field:
        case Text():
            yield from (5, True, {}, {"a": "b"}, "a\0b", "a" * (field._most + 1))
            if field._least:
                yield ""
        case Identifier():
            yield from (5, True, {}, *NOT_IDS)
        case Count():
            yield from ("1", "", True, 1.5, -1, {}, 2**53, 10**30)
        case Flag():
            yield from ("true", "", 1, 0, {})
        case fields.Dict() if type(field) is fields.Dict and not field.validators:  # anything by name
            yield from (5, True, "text")
        case fields.Dict():
            yield from (5, True, "text", {"a": "b" * MAX_METADATA_BYTES}, {"a": "\0"}, {"\0": 1}, {"a": [{"b": "\0"}]})
        case fields.Boolean():
            yield from ("yes", "", 5, {})
        case fields.String():  # one of a few
            yield from (5, True, {}, "", "a\0", "video")
        case _:
            pytest.fail(f"no wrong values for {field!r}")


def wrong_text(field: fields.Field[Any]) -> Iterator[str]:
    """For a field of a query."""
    match field:
        case Digits():
            most = field.validators[0].max  # type: ignore[attr-defined]
            yield from (*NOT_NUMBERS, str(most + 1))
        case Place():
            yield from NOT_PLACES
        case Identifier():
            yield from NOT_IDS
        case Text():
            yield from ("", "a\0", "a" * (field._most + 1))
        case fields.Boolean():
            yield from ("", "yes", "2", "\0")
        case fields.String():
            yield from ("", "deleted", "Active", "\0")
        case _:
            pytest.fail(f"no wrong values for {field!r}")


# -- events ---------------------------------------------------------------------------------------------------------


def chat(server: Running) -> ChatNamespace:
    found = server.realtime._served["/chat"]
    assert isinstance(found, ChatNamespace)
    return found


async def test_every_field_of_every_event(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    for event in chat(server)._events.values():
        schema = event.shape.schema
        payload = right(schema) | ({} if event.attachment is None else {event.attachment: b"\0"})
        faults = [(name, {**payload, name: value}) for name, field in named(schema).items() for value in wrong(field)]
        faults += [(name, {each: payload[each] for each in payload if each != name}) for name in right(schema)]
        faults += [(name, {**payload, name: 1}) for name in ("sender_id", "", EMOJI)]
        for name, fault in faults:
            ack = await alice.call(event.name, fault)
            assert refusal(ack["error"]).keys() == {name}, (event.name, name, str(fault)[:200])
        for name in named(schema):
            for binary in (b"a", bytearray(b"a"), [b"a"], {"a": b"a"}):
                refusal((await alice.call(event.name, {**payload, name: binary}))["error"])
        if event.attachment is not None:
            for text in ("a", None, [b"a"], 5):
                ack = await alice.call(event.name, {**payload, event.attachment: text})
                assert refusal(ack["error"]).keys() == {event.attachment}
    assert (await alice.call("ping"))["ok"]


NOT_PAYLOADS: list[object] = [
    [], [{}], "text", "", 5, True, b"\0", (1, 2), ({}, {}), {"a": b"\0"}, {"a": [{"b": b"\0"}]}
]  # fmt: skip
NOT_EVENTS = ("", "nonsense", "MESSAGE", "message\0", EMOJI, "connection", "__init__", "service", "a" * 1_000)


async def test_what_is_no_payload(server: Running, connect: Connect) -> None:
    alice = await connect(server, "/chat", "alice")
    for event in chat(server)._events:
        for payload in NOT_PAYLOADS:
            refusal((await alice.call(event, payload))["error"])
    for event in NOT_EVENTS:
        error = (await alice.call(event, {"session_id": "s1"}))["error"]
        assert error["code"] == "UNKNOWN_EVENT"
        assert len(error["message"]) < 200
    assert (await alice.call("ping"))["ok"]


@asynccontextmanager
async def speaking(server: Running) -> AsyncIterator[RawSocket]:
    """To /chat, whatever one says."""
    async with raw_socket(server.url) as socket:
        await socket.expect("0")
        await socket.send("40/chat," + json.dumps({"token": token("alice")}))
        await socket.expect("40/chat,")
        yield socket


async def asked(socket: RawSocket, event: str, arguments: str) -> Any:
    """The ack to an event whose arguments are written as they stand."""
    await socket.send(f'42/chat,7["{event}",{arguments}]')
    answer = (await socket.expect("43/chat,7")).removeprefix("43/chat,7")
    [ack] = json.loads(answer, parse_constant=pytest.fail)
    return ack


UNHEARD = [
    '{"session_id":"s1","content":"\\ud800"}',
    '{"session_id":"s1","content":"a\\udfff b"}',
    '{"session_id":"s1","content":"a","metadata":{"\\udc00":1}}',
    '{"session_id":"s1","content":"a","metadata":' + '{"a":' * 40 + "1" + "}" * 41,
    '{"session_id":"s1","content":"a","metadata":{"a":' + "[" * 40 + "]" * 40 + "}}",
    '{"session_id":"s1","content":' + "9" * 400 + "}",
    '{"session_id":"s1","content":"a"},{"session_id":"s1","content":"b"}',
    '{"session_id":"s1","content":"a","session_id":5}',
    '{"session_id":"s1","content":"a","__proto__":{}}',
    "null",
]
KEPT = [str(2**64), "1e-400", "-0.0"]
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "-" + "9" * 400, str(2**64), "1e-400", "-0.0")


async def test_json_that_no_library_would_send(server: Running) -> None:
    async with speaking(server) as socket:
        for arguments in UNHEARD:
            refusal((await asked(socket, "message", arguments))["error"])
        ack = await asked(socket, "join", '{"session_id":"s1"}')
        assert (ack["ok"], ack["last_seq"]) == (True, 0)


async def test_numbers_that_no_database_holds(stored: Running) -> None:
    """Refused, or stored and given back as one that is a number."""
    async with speaking(stored) as socket:
        await asked(socket, "join", '{"session_id":"s1"}')
        kept: list[str] = []
        for number in NUMBERS:
            ack = await asked(socket, "message", f'{{"session_id":"s1","content":"a","metadata":{{"a":[{number}]}}}}')
            kept += [number] if ack["ok"] else refusal(ack["error"]) or []
        ack = await asked(socket, "join", '{"session_id":"s1"}')
        assert kept == KEPT
        assert [each["metadata"]["a"][0] for each in ack["messages"]] == [float(each) for each in kept]


async def test_more_than_a_message_may_have(serve: Serve, connect: Connect) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="", TRADING_FEED="none")
    alice, bob = [await connect(server, "/chat", user) for user in ("alice", "bob")]
    await alice.call("join", {"session_id": "s1"})
    sized = {"session_id": "s1", "content": "a" * 65_400}
    assert (await alice.call("message", sized))["seq"] == 1  # 64 KB with its frame
    await alice.emit("message", {**sized, "content": "가" * 30_000})
    assert (await alice.expect("disconnecting_reason"))["code"] == "MESSAGE_TOO_BIG"
    await alice.expect("disconnect")
    for content in ("a" * 65_536, "가" * 30_000):
        reply = await Rest(server.url).post(S1 + "/messages", {"content": content})
        assert reply.error == (413, "MESSAGE_TOO_BIG")
    assert (await Rest(server.url).get(S1)).body["message_count"] == 1
    assert (await bob.call("ping"))["ok"]


# -- routes ---------------------------------------------------------------------------------------------------------


def endpoints() -> list[Endpoint]:
    return [
        member.__dict__["endpoint"]
        for module in (routes, routes_bank, routes_stream)
        for _, owner in inspect.getmembers(module, inspect.isclass)
        if owner.__module__ == module.__name__
        for _, member in inspect.getmembers(owner, inspect.isfunction)
        if "endpoint" in member.__dict__
    ]


def test_all_endpoints_are_tried(server_app: list[tuple[str, str]]) -> None:
    assert sorted((each.method, each.path) for each in endpoints()) == sorted(server_app)


@pytest_asyncio.fixture
async def server_app(server: Running) -> list[tuple[str, str]]:
    """Methods and paths of chat's JSON routes."""
    return [
        (route.method, route.resource.canonical)
        for route in server.app.router.routes()
        if route.resource is not None
        and route.resource.canonical.startswith(("/api/chat/", "/api/v1/"))
        and route.method != "HEAD"
        and not route.resource.canonical.endswith("/files")
        and not route.resource.canonical.startswith("/api/v1/chat/ws/")
    ]


def path(endpoint: Endpoint, **names: str) -> str:
    return endpoint.path.format(**{name: names.get(name, "a") for name in endpoint.parameters})


def query(endpoint: Endpoint) -> dict[str, str]:
    return {} if endpoint.query is None else right(endpoint.query())


async def test_every_field_of_every_body(server: Running) -> None:
    alice = Rest(server.url)
    for endpoint in endpoints():
        if endpoint.body is None:
            continue
        schema = endpoint.body()
        payload = right(schema)
        faults: list[tuple[str, object]] = [
            (name, {**payload, name: value}) for name, field in schema.fields.items() for value in wrong(field)
        ]
        faults += [(name, {each: payload[each] for each in payload if each != name}) for name in payload]
        faults += [(name, {**payload, name: 1}) for name in ("sender_id", "", EMOJI)]
        for name, fault in faults:
            reply = await alice.call(endpoint.method, path(endpoint), params=query(endpoint), json=fault)
            assert reply.status == 422
            assert refusal(reply.body["error"]).keys() == {name}, (endpoint.path, name, str(fault)[:200])


async def test_every_field_of_every_query_and_path(server: Running) -> None:
    alice = Rest(server.url)
    for endpoint in endpoints():
        body = {} if endpoint.body is None else {"json": right(endpoint.body())}
        rest = query(endpoint)
        schema_fields = {} if endpoint.query is None else endpoint.query().fields
        faults = [(name, {**rest, name: value}) for name, field in schema_fields.items() for value in wrong_text(field)]
        faults += [(name, {each: rest[each] for each in rest if each != name}) for name in rest]
        faults += [(name, {**rest, name: "1"}) for name in ("token", "", EMOJI)]
        for name, fault in faults:
            reply = await alice.call(endpoint.method, path(endpoint), params=fault, **body)
            assert refusal(reply.body["error"]).keys() == {name}, (endpoint.path, fault)
        for name in endpoint.parameters:
            for value in NOT_IDS[1:]:
                url = path(endpoint, **{name: quote(value, safe="")})
                reply = await alice.call(endpoint.method, url, params=rest, **body)
                assert refusal(reply.body["error"]).keys() == {name}, url


BODIES = [
    b"null", b"[]", b'"text"', b"5", b"{", b"{" * 9_000, b"[" * 9_000, b"\xff\xfe", b'{"a": "\\ud800"}', b'{"a": NaN}',
    b'{"a": ' + b'{"a":' * 40 + b"1" + b"}" * 41, b"\x1f\x8b", b"a=b&c=d", "\ufeff{}".encode(), "{}".encode("utf-16"),
]  # fmt: skip


async def test_what_is_no_body(server: Running) -> None:
    alice = Rest(server.url)
    for endpoint in endpoints():
        if endpoint.body is None:
            continue
        for body in BODIES:
            reply = await alice.call(endpoint.method, path(endpoint), params=query(endpoint), data=body, headers=JSON)
            refusal(reply.body["error"])


async def test_files_and_forms_of_no_kind(server: Running, connect: Connect) -> None:
    await (await connect(server, "/chat", "alice")).call("join", {"session_id": "s1"})
    alice = Rest(server.url)
    for file_id in ("a", "%00", "%ff", "..%2f..%2fetc%2fpasswd", "file_" + "0" * 32, "a" * 5_000, quote(EMOJI)):
        for end in ("", "/thumb"):
            assert (await alice.get(f"/files/{file_id}{end}")).error == (404, "NOT_FOUND")

    async def refused(name: str, value: bytes | str, *, file: bool = True) -> Any:
        form = aiohttp.MultipartWriter("form-data")
        if file:
            form.append(b"text").set_content_disposition("form-data", name="file", filename="a.txt")
        form.append(value).set_content_disposition("form-data", name=name)
        reply = await alice.call("POST", S1 + "/files", data=form)
        assert reply.status == 422, reply
        return refusal(reply.body["error"])

    assert (await refused("message", "a\0")).keys() == {"message"}
    assert (await refused("message", b"\xff\xfe")).keys() == {"message"}
    assert (await refused("message", "a" * (MAX_CONTENT_CHARS + 1))).keys() == {"message"}
    assert (await refused("message", "a" * 4 * MAX_CONTENT_CHARS + "a")).keys() == {"message"}
    assert (await refused("message", "hello", file=False)).keys() == {"file"}
    assert await refused("session_id", "s2") is None
    assert await refused("file", b"another") is None
    for body in BODIES:
        refusal((await alice.call("POST", S1 + "/files", data=body, headers=JSON)).body["error"])
        boundary = {"Content-Type": "multipart/form-data; boundary=x"}
        refusal((await alice.call("POST", S1 + "/files", data=body, headers=boundary)).body["error"])
    assert (await alice.get(S1)).body["message_count"] == 0


# -- at the limits, on both databases -------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def alice(stored: Running, connect: Connect) -> Rest:
    """With a session that says hello three times."""
    client = await connect(stored, "/chat", "alice")
    await client.call("join", {"session_id": "s1"})
    for _ in range(3):
        await client.call("message", {"session_id": "s1", "content": "hello"})
    return Rest(stored.url)


PLACES: list[tuple[dict[str, str], int]] = [
    ({"before": "999999999999999"}, 3),
    ({"after": "999999999999999"}, 0),
    ({"before": "0"}, 0),
    ({"before": "9999-12-31T23:59:59.999999Z"}, 3),
    ({"after": "9999-12-31T23:59:59.999999"}, 0),
    ({"after": "0001-01-01T00:00:00Z"}, 3),
    ({"before": "0001-01-01T00:00:00Z", "limit": "200"}, 0),
    ({"after": "2", "before": "2"}, 0),
    ({"after": "3", "before": "1"}, 0),
    ({"after": "2026-W01-1"}, 3),
    ({"after": "20260101T000000,5+0900"}, 3),
]


async def test_places_at_the_ends_of_time(alice: Rest) -> None:
    for query, count in PLACES:
        reply = await alice.get(S1 + "/messages", **query)
        assert len(reply.body["messages"]) == count, query
    for name in ("before", "after"):
        reply = await alice.get(S1 + "/messages", **{name: "msg_of_nobody"})
        assert refusal(reply.body["error"]).keys() == {name}


async def test_numbers_at_their_limits(alice: Rest, stored: Running, connect: Connect) -> None:
    most = 2**53 - 1
    client = await connect(stored, "/chat", "alice")
    assert (await client.call("join", {"session_id": "s1", "after_seq": most}))["messages"] == []
    assert (await client.call("read", {"session_id": "s1", "seq": most}))["last_read_seq"] == 3
    assert (await client.call("read", {"session_id": "s1", "seq": 0}))["last_read_seq"] == 3
    upload = {"session_id": "s1", "name": "a.txt", "size": most}
    assert refusal((await client.call("upload_start", upload))["error"]).keys() == {"size"}
    begun = await client.call("upload_start", upload | {"size": 5, "type": RTL})
    chunk = {"upload_id": begun["upload_id"], "data": b"hello"}
    refused = (await client.call("upload_chunk", {**chunk, "offset": most}))["error"]
    assert (refused["code"], refused["details"]) == ("CONFLICT", {"received": 0})
    for data in (b"", b"hello!", b"a" * 60_000):
        refusal((await client.call("upload_chunk", {**chunk, "offset": 0, "data": data}))["error"])
    for query in ({"cursor": "9999999999999999-2147483647"}, {"cursor": "0-0"}, {"offset": 100_000}):
        assert (await alice.get("/api/chat/sessions", **query)).status == 200
    for cursor in ("0", "-", "1-", "a-b", "9" * 17 + "-1", "0-2147483648", "-1-1", "1-1-1", "١-١"):
        reply = await alice.get("/api/chat/sessions", cursor=cursor)
        assert refusal(reply.body["error"]).keys() == {"cursor"}
    assert (await alice.get("/api/chat/sessions", agent_id=2**31 - 1)).body["sessions"] == []
    reply = await alice.post("/api/chat/sessions", {"agent_id": 2**31 - 1})
    assert refusal(reply.body["error"]).keys() == {"agent_id"}


TEXTS = [EMOJI, RTL, ZALGO, "\ufffe\uffff\U0010ffff", "\x01\x1b[31m\x7f", "\r\n\u2028\u2029", "'; DROP TABLE--", "%s{}"]
TEXTS += ['" * % _ \\ NEAR(a b) a AND session : 00 {} [a, b] - ^a']


async def test_odd_texts_are_texts(stored: Running, connect: Connect) -> None:
    """They are kept as they are, wherever texts go, and are found again."""
    alice = Rest(stored.url)
    client = await connect(stored, "/chat", "alice")
    staff = await connect(stored, "/chat", "olga", roles=("operator",))
    for text in TEXTS:
        created = await alice.post("/api/chat/sessions", {"title": text, "metadata": {text: [text]}})
        session_id = created.body["session_id"]
        sent = await client.call("message", {"session_id": session_id, "content": text, "metadata": {text: text}})
        assert (await client.call("handover_request", {"session_id": session_id, "reason": text}))["ok"]
        assert (await staff.expect("handover_requested"))["reason"] == text
        found = await alice.get(f"/api/chat/sessions/{session_id}")
        assert (found.body["title"], found.body["metadata"]) == (text, {text: [text]})
        [message] = (await alice.get(f"/api/chat/sessions/{session_id}/messages")).body["messages"]
        assert (message["content"], message["metadata"]) == (text, {text: text})
        hits = await client.call("search", {"query": text, "session_id": session_id})
        if text.isspace():
            assert refusal(hits["error"]).keys() == {"query"}
        else:
            assert [each["message_id"] for each in hits["hits"]] == [sent["message_id"]], text
        begun = await client.call("upload_start", {"session_id": session_id, "name": text, "size": 5})
        await client.call("upload_chunk", {"upload_id": begun["upload_id"], "offset": 0, "data": b"hello"})
        file = await client.call("upload_end", {"upload_id": begun["upload_id"]})
        said = {"session_id": session_id, "file_id": file["file_id"], "message": text}
        assert (await client.call("file", said))["ok"]
        async with alice.request("GET", file["url"]) as response:
            assert (response.status, await response.read()) == (200, b"hello")


async def test_odd_ids_are_ids(stored: Running, connect: Connect) -> None:
    alice = await connect(stored, "/chat", "alice")
    for name in ("א" * 100, "😀" * 100, "🇰🇷", "'; --", "{session_id}", "%2e%2e", "a b", "*", "a/b", "a?b#c", '"'):
        assert (await alice.call("join", {"session_id": name}))["ok"]
        fields = {"session_id": name, "content": "hello", "client_message_id": name}
        first, again = [await alice.call("message", fields) for _ in range(2)]
        assert first["message_id"] == again["message_id"]
        reply = await Rest(stored.url).get("/api/chat/search", query="hello", session_id=name)
        assert [each["session_id"] for each in reply.body["hits"]] == [name]
        assert (await _by_path(stored, name)).body["session_id"] == name


async def _by_path(server: Running, session_id: str) -> Reply:
    url = URL(f"{server.url}/api/chat/sessions/{quote(session_id, safe='')}", encoded=True)
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, headers={"Authorization": f"Bearer {token('alice')}"}) as response,
    ):
        return Reply(response.status, await response.json(), response.headers)


async def test_a_text_of_the_most_characters(alice: Rest) -> None:
    for content in ("가" * MAX_CONTENT_CHARS, "🙂" * MAX_CONTENT_CHARS, "a b " * (MAX_CONTENT_CHARS // 4)):
        sent = await alice.post(S1 + "/messages", {"content": content})
        assert sent.status == 201
        page = await alice.get(S1 + "/messages", limit=1)
        assert page.body["messages"][0]["content"] == content
