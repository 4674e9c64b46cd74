"""Who may do what in chat: everybody, in each of their ways, by every event and every route, in one table (SPEC §4).

A new event or route without its row fails. Whoever is refused changes nothing, is heard by nobody, and is told the same
of what there is as of what there is not.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import socketio

from server.http.pages import PAGES
from tests.conftest import Connect, Serve
from tests.support import running
from tests.support.client import Client
from tests.support.desk import CALLERS, CONTENT, OUTSIDERS, OWNER, PARTICIPANT, Caller, Desk, Ids, opened


async def of_oneself(desk: Desk) -> Ids:
    return replace(await desk.session(), user="alice")


async def of_mallory(desk: Desk) -> Ids:
    return replace(await desk.session(), user="mallory")


@dataclass(frozen=True)
class Row:
    """`expected`: a sign for each of CALLERS, then for the first with a `+`, in a session that is archived.

    `+` done · `-` done, but not a word of the session · `F`, `N`, `C`, `U` refused: FORBIDDEN, NOT_FOUND, CONFLICT,
    UNKNOWN_REQUEST.
    """

    name: str
    expected: str
    given: Callable[[Desk], Awaitable[Ids]] = Desk.session
    sends: Callable[[Ids], Mapping[str, Any]] = lambda ids: {}
    joined: bool = False
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.name} {self.note}".strip()


def in_session(**fields: object) -> Callable[[Ids], Mapping[str, Any]]:
    return lambda ids: {"session_id": ids.session, **fields}


def of_message(**fields: object) -> Callable[[Ids], Mapping[str, Any]]:
    return lambda ids: {"session_id": ids.session, "message_id": ids.message, **fields}


def of_upload(**fields: object) -> Callable[[Ids], Mapping[str, Any]]:
    return lambda ids: {"upload_id": ids.upload, **fields}


def json_body(**fields: object) -> Callable[[Ids], Mapping[str, Any]]:
    return lambda ids: {"json": fields}


def form(ids: Ids) -> Mapping[str, Any]:
    data = aiohttp.FormData()
    data.add_field("file", CONTENT, filename="a.txt")
    return {"data": data}


UPLOAD = {"name": "a.txt", "size": 5}

#   owner, participant, operator, admin · stranger, other tenant, no tenant · archived
EVENTS = [
    Row("ping", "++++" "+++" "+"),
    Row("answer", "UUUU" "UUU" " ", sends=lambda ids: {"requestId": "made up", "answer": {}}),
    Row("authenticate", "++++" "+++" "+"),  # with a token of their own
    Row("join", "++++" "FFF" "+", sends=in_session()),
    Row("join", "+F++" "FFF" "+", Desk.removed, in_session(), note="after bob was removed"),
    Row("leave", "++++" "+++" "+", sends=in_session()),  # tells nobody anything where one was not in it
    Row("message", "++++" "FFF" "C", sends=in_session(content="hi")),
    Row("message", "+F++" "FFF" "C", Desk.removed, in_session(content="hi"), note="after bob was removed"),
    Row("typing", "++++" "FFF" "C", sends=in_session(is_typing=True), joined=True),
    Row("typing", "FFFF" "FFF" " ", sends=in_session(is_typing=True), note="without having joined"),
    Row("edit", "+FFF" "FFF" "C", Desk.said, of_message(content="hi")),
    Row("delete", "+FFF" "FFF" "C", Desk.said, of_message()),
    Row("read", "++++" "FFF" "+", Desk.said, in_session(seq=1)),
    Row("search", "++++" "---" "+", Desk.said, lambda ids: {"query": "hello", "limit": 50}),
    Row("search", "++++" "FFF" "+", Desk.said, in_session(query="hello"), note="in one session"),
    Row("file", "+NNN" "FFF" "C", Desk.stored, lambda ids: {"session_id": ids.session, "file_id": ids.file}),
    Row("stream_cancel", "++++" "FFF" "N", Desk.answering, of_message()),
    Row("stream_cancel", "++++" "NNN" "N", Desk.answering, lambda ids: {"message_id": ids.message}, note="by its id"),
    Row("handover_request", "++++" "FFF" "C", sends=in_session()),
    Row("handover_accept", "FF++" "FFF" "C", Desk.asked, in_session()),
    Row("handover_accept", "FFCC" "FFF" " ", Desk.taken, in_session(), note="after somebody did"),
    Row("handover_return", "FF++" "FFF" "+", Desk.taken, in_session()),
    Row("upload_start", "++++" "FFF" "C", sends=in_session(**UPLOAD)),
    Row("upload_chunk", "+NNN" "NNN" "+", Desk.uploading, of_upload(offset=0, data=CONTENT)),
    Row("upload_status", "+NNN" "NNN" "+", Desk.uploading, of_upload()),
    Row("upload_end", "+NNN" "NNN" "C", Desk.uploaded, of_upload()),
]  # fmt: skip

SESSIONS = "/api/chat/sessions"
SESSION = SESSIONS + "/{session_id}"
MESSAGES = SESSION + "/messages"
MESSAGE = MESSAGES + "/{message_id}"
PARTICIPANTS = SESSION + "/participants"
LEAVING = f"DELETE {PARTICIPANTS}/{{user_id}}"

ROUTES = [
    Row("GET /api/chat/agents", "++++" "+++" "+"),
    Row(f"POST {SESSIONS}", "++++" "+++" "+", sends=json_body()),
    Row(f"GET {SESSIONS}", "++--" "---" "+"),
    Row(f"GET {SESSIONS}", "FF++" "F--" "+", sends=lambda ids: {"params": {"everyone": "true"}}, note="of everyone"),
    Row(f"GET {SESSION}", "++++" "FFF" "+"),
    Row(f"GET {SESSION}", "+F++" "FFF" "+", Desk.removed, note="after bob was removed"),
    Row(f"DELETE {SESSION}", "+F++" "FFF" "+"),
    Row(f"GET {PARTICIPANTS}", "++++" "FFF" "+"),
    Row(f"POST {PARTICIPANTS}", "+F++" "FFF" "+", sends=json_body(user_id="dave")),
    Row(LEAVING, "++++" "FFF" "+"),
    Row(LEAVING, "+F++" "FFF" "+", Desk.crowded, note="others"),
    Row(LEAVING, "CFCC" "FFF" " ", of_oneself, note="the owner"),
    Row(LEAVING, "NFNN" "FFF" " ", of_mallory, note="who is none"),
    Row(f"GET {MESSAGES}", "++++" "FFF" "+", Desk.said),
    Row(f"POST {MESSAGES}", "++++" "FFF" "C", sends=json_body(content="hi")),
    Row(f"PATCH {MESSAGE}", "+FFF" "FFF" "C", Desk.said, json_body(content="hi")),
    Row(f"DELETE {MESSAGE}", "+FFF" "FFF" "C", Desk.said),
    Row(f"POST {SESSION}/read", "++++" "FFF" "+", Desk.said, json_body(seq=1)),
    Row("GET /api/chat/search", "++++" "---" "+", Desk.said, lambda ids: {"params": {"query": "hello", "limit": 50}}),
    Row("GET /api/chat/search", "++++" "FFF" "+", Desk.said,
        lambda ids: {"params": {"query": "hello", "session_id": ids.session}}, note="in one session"),
    Row(f"POST {SESSION}/handover", "++++" "FFF" "C", sends=json_body()),
    Row(f"POST {SESSION}/handover/accept", "FF++" "FFF" "C", Desk.asked),
    Row(f"POST {SESSION}/handover/accept", "FFCC" "FFF" " ", Desk.taken, note="after somebody did"),
    Row(f"POST {SESSION}/handover/return", "FF++" "FFF" "+", Desk.taken),
    Row(f"POST {MESSAGES}/stream", "++CC" "FFF" "C", Desk.echoing, json_body(content="hi")),  # no agent answers staff
    Row("POST /api/v1/chat/message", "++CC" "FFF" "C", Desk.echoing,
        lambda ids: {"json": {"session_id": ids.session, "user_message": "hi"}}),
    Row("POST /api/v1/handover/analyze", "++++" "FFF" "+", Desk.said,
        lambda ids: {"json": {"session_id": ids.session}}),
    Row(f"POST {SESSION}/files", "++++" "FFF" "C", sends=form),
    Row("GET /files/{file_id}", "++++" "NNN" "+", Desk.attached),
    Row("GET /files/{file_id}", "+NNN" "NNN" "+", Desk.stored, note="before a message says it"),
    Row("GET /files/{file_id}", "NNNN" "NNN" " ", Desk.detached, note="after its message was deleted"),
    Row("GET /files/{file_id}/thumb", "++++" "NNN" "+", Desk.attached),
    Row("GET /files/{file_id}/thumb", "NNNN" "NNN" " ", Desk.detached, note="after its message was deleted"),
]  # fmt: skip

#: Whose answers would show the session, if it is theirs to see.
SHOWING = ("search", f"GET {SESSIONS}", "GET /api/chat/search")

#: One answer, of what became of it: None where it was done, else the error.
Call = Callable[[Row, Caller, Ids], Awaitable[tuple[Mapping[str, Any] | None, str]]]


@pytest_asyncio.fixture
async def desk(serve: Serve, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(serve, sqlite_url, tmp_path) as desk:
        yield desk


@pytest_asyncio.fixture
async def clients(desk: Desk, connect: Connect) -> dict[Caller, Client]:
    return {
        caller: await connect(desk.server, "/chat", caller.sub, roles=caller.roles, tenant=caller.tenant)
        for caller in CALLERS
    }


@pytest_asyncio.fixture
async def by_event(clients: dict[Caller, Client]) -> Call:
    async def call(row: Row, caller: Caller, ids: Ids) -> tuple[Mapping[str, Any] | None, str]:
        client = clients[caller]
        fields = {"token": caller.token} if row.name == "authenticate" else row.sends(ids)
        if row.joined:
            await client.call("join", {"session_id": ids.session})
        ack = await client.call(row.name, fields)
        return ack.get("error"), json.dumps(ack)

    return call


@pytest_asyncio.fixture
async def by_route(desk: Desk) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession() as http:

        async def call(row: Row, caller: Caller, ids: Ids) -> tuple[Mapping[str, Any] | None, str]:
            return await request(http, desk, row, ids, caller.token)

        yield call


async def request(
    http: aiohttp.ClientSession, desk: Desk, row: Row, ids: Ids, token: str | None
) -> tuple[Mapping[str, Any] | None, str]:
    method, _, path = row.name.partition(" ")
    names = {"session_id": ids.session, "message_id": ids.message, "file_id": ids.file, "user_id": ids.user}
    url = desk.server.url + path.format(**names)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with http.request(method, url, headers=headers, **row.sends(ids)) as response:
        body = await response.read()
    if method == "GET":
        async with http.head(url, headers=headers, **row.sends(ids)) as head:
            assert (head.status, await head.read()) == (response.status, b"")
    error = None if response.status < 400 else json.loads(body)["error"]
    return error, body.decode(errors="replace")


def sign(row: Row, ids: Ids, error: Mapping[str, Any] | None, answer: str) -> str:
    if error is not None:
        return {"FORBIDDEN": "F", "NOT_FOUND": "N", "CONFLICT": "C", "UNKNOWN_REQUEST": "U"}.get(
            error["code"], f"[{error['code']}]"
        )
    return "-" if row.name in SHOWING and ids.session not in answer else "+"


async def check(row: Row, desk: Desk, call: Call, witness: Client) -> str:
    """The signs of what became of it, as in `Row.expected`, and beside them what else became of it."""
    signs = ""
    for caller, expected in zip(CALLERS, row.expected, strict=False):
        ids = await row.given(desk)
        if expected in "+-":
            signs += sign(row, ids, *await call(row, caller, ids))
            continue
        async with desk.untouched(witness, ids.session) as touched:
            error, answer = await call(row, caller, ids)
        signs += sign(row, ids, error, answer) + "".join(f"[{each}]" for each in touched)
        if caller in OUTSIDERS and error != (await call(row, caller, Ids(user=ids.user)))[0]:
            signs += "[tells]"
    if row.expected[-1] == " ":
        return signs + " "
    ids = await row.given(desk)
    await desk.service.directory.archive(OWNER.identity, ids.session)
    return signs + sign(row, ids, *await call(row, CALLERS[row.expected.index("+")], ids))


async def test_events(desk: Desk, clients: dict[Caller, Client], by_event: Call, connect: Connect) -> None:
    assert {row.name for row in EVENTS} == desk.chat._events.keys()
    witness = await connect(desk.server, "/chat", OWNER.sub, tenant=OWNER.tenant)
    found = {row.key: await check(row, desk, by_event, witness) for row in EVENTS}
    assert found == {row.key: row.expected for row in EVENTS}
    for outsider in OUTSIDERS:  # nor did they hear anything meanwhile
        assert {event for event, _ in clients[outsider].received} == {"connected", "pong"}


async def test_routes(desk: Desk, by_route: Call, connect: Connect) -> None:
    assert {row.name for row in ROUTES} == routes(desk)
    witness = await connect(desk.server, "/chat", OWNER.sub, tenant=OWNER.tenant)
    found = {row.key: await check(row, desk, by_route, witness) for row in ROUTES}
    assert found == {row.key: row.expected for row in ROUTES}


def routes(desk: Desk) -> set[str]:
    """Chat's, which are all but a few; GET has HEAD with it."""
    others = ("/socket.io", "/health", "/readyz", "/api/dev/", "/api/channels", "/api/groups", "/api/monitor")
    others += (
        "/api/trading",
        "/api/users",
        "/api/admin",
        "/api/v1/chat/ws/",
        "/ws/",
        "/asyncapi.json",
        "/api/about",
        "/assets/",
    )
    return {
        f"{route.method} {route.resource.canonical}"
        for route in desk.server.app.router.routes()
        if route.resource is not None
        and route.method != "HEAD"
        and not route.resource.canonical.startswith(others)
        and route.resource.canonical not in (*PAGES, "/favicon.svg")
    }


async def test_without_a_good_token_nothing_is_told(desk: Desk, connect: Connect) -> None:
    ids = await desk.attached()
    before = desk.rows(ids.session)
    tokens = {"TOKEN_MISSING": None, "TOKEN_EXPIRED": running.token("alice", tenant="acme", lifetime=-60)}
    tokens["TOKEN_INVALID"] = running.token("alice", tenant="acme")[:-2] + "xx"
    async with aiohttp.ClientSession() as http:
        for (code, token), row, those in itertools.product(tokens.items(), ROUTES, (ids, Ids())):
            error, _ = await request(http, desk, row, those, token)
            assert error is not None
            assert (set(error), error["code"]) == ({"code", "message"}, code), row.key
    assert desk.rows(ids.session) == before
    for code, token in tokens.items():
        stranger = Client("/chat")
        with pytest.raises(socketio.exceptions.ConnectionError):
            await stranger.connect(desk.server.url, token)
        assert (await stranger.expect("connect_error"))["data"]["code"] == code
        await stranger.close()


COUNTED = {
    "message", "file", "edit", "handover_request", f"POST {MESSAGES}", f"PATCH {MESSAGE}", f"POST {MESSAGES}/stream",
    f"POST {SESSION}/files", f"POST {SESSION}/handover", "POST /api/v1/chat/message",
}  # fmt: skip


async def test_what_counts_as_a_message(serve: Serve, sqlite_url: str, tmp_path: Path, connect: Connect) -> None:
    """By whatever way it comes: what is said and asked for has one rate."""
    async with (
        opened(serve, sqlite_url, tmp_path, RATE_LIMIT_MESSAGES_PER_MINUTE=1) as desk,
        aiohttp.ClientSession() as http,
    ):
        ids = await desk.session()
        alice = await connect(desk.server, "/chat", OWNER.sub, tenant=OWNER.tenant)
        assert (await alice.call("message", {"session_id": ids.session, "content": "the last"}))["remaining"] == 0
        errors = {row.name: (await alice.call(row.name, row.sends(ids))).get("error") for row in EVENTS}
        errors |= {row.name: (await request(http, desk, row, ids, OWNER.token))[0] for row in ROUTES}
        assert {name for name, error in errors.items() if error and error["code"] == "RATE_LIMITED"} == COUNTED


@pytest.mark.parametrize("by_oneself", [True, False])
async def test_who_is_removed_hears_no_more(desk: Desk, clients: dict[Caller, Client], by_oneself: bool) -> None:
    """Wherever they had joined; nor does anybody hear them."""
    ids = await desk.session()
    owner, bob = clients[OWNER], clients[PARTICIPANT]
    for client in (owner, bob):
        assert (await client.call("join", {"session_id": ids.session}))["ok"]
    await bob.call("typing", {"session_id": ids.session, "is_typing": True})
    who = PARTICIPANT if by_oneself else OWNER
    async with aiohttp.ClientSession() as http:
        assert (await request(http, desk, Row(LEAVING, ""), ids, who.token))[0] is None
    await owner.expect("typing", lambda payload: not payload["is_typing"])
    await owner.expect("system", lambda payload: payload["event"] == "user_left")
    await bob.settle()
    heard = len(bob.received)
    refused = await bob.call("typing", {"session_id": ids.session, "is_typing": True})
    assert refused["error"]["code"] == "FORBIDDEN"
    await owner.call("message", {"session_id": ids.session, "content": "a secret"})
    await bob.settle()
    assert {event for event, _ in bob.received[heard:]} == {"pong"}
