"""Chat's HTTP API on a running server, beside stock Socket.IO clients in the same sessions."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.rest import Rest
from tests.support.running import Running

PEOPLE = {"CHAT_DEFAULT_AGENT": ""}  # sessions without an agent, where a test is about people
NO_ACCESS = {"code": "FORBIDDEN", "message": "You may not use this session"}
SESSIONS = "/api/chat/sessions"
S1 = "/api/chat/sessions/s1"
MESSAGES = S1 + "/messages"


@pytest_asyncio.fixture
async def server(serve: Serve, database_url: str) -> Running:
    return await serve(DATABASE_URL=database_url, **PEOPLE)


async def join(client: Client, session_id: str = "s1") -> Any:
    return await client.call("join", {"session_id": session_id})


async def say(user: Rest, content: str, path: str = MESSAGES) -> Any:
    reply = await user.post(path, {"content": content})
    assert reply.status == 201, reply
    return reply.body


async def contents(user: Rest, **query: Any) -> list[str]:
    return [each["content"] for each in (await user.get(MESSAGES, **query)).body["messages"]]


@pytest_asyncio.fixture
async def alice(server: Running, connect: Connect) -> Rest:
    """Of the session s1, which is hers."""
    await join(await connect(server, "/chat", "alice"))
    return Rest(server.url)


# -- sessions -------------------------------------------------------------------------------------------------------


async def test_a_session_from_its_creation_to_its_end(serve: Serve, database_url: str) -> None:
    alice = Rest((await serve(DATABASE_URL=database_url)).url)
    metadata = {"purpose": "product_inquiry", "priority": "high"}
    asked = {"agent_id": 1, "title": "Customer Support Chat", "metadata": metadata}
    created = await alice.post(SESSIONS, asked)
    assert created.status == 201
    session_id, trace_id, created_at = (created.body[name] for name in ("session_id", "trace_id", "created_at"))
    assert created.body.items() >= {**asked, "user_id": "alice", "status": "active"}.items()
    assert trace_id.startswith("trace_")

    one = (await alice.get(f"{SESSIONS}/{session_id}")).body
    assert (
        one.items()
        >= {
            "session_id": session_id,
            "trace_id": trace_id,
            "user_id": "alice",
            "agent_id": 1,
            "agent": {"id": 1, "name": "Support Bot", "avatar_url": "/avatars/support-bot.png"},
            "title": "Customer Support Chat",
            "status": "active",
            "metadata": metadata,
            "participants": ["alice"],
            "message_count": 0,
            "last_seq": 0,
            "unread_count": 0,
            "operator_id": None,
            "created_at": created_at,
            "last_activity": created_at,
        }.items()
    )

    listed = (await alice.get(SESSIONS, status="active", agent_id="1")).body
    assert (listed["total"], listed["has_more"]) == (1, False)
    assert (
        listed["sessions"][0].items()
        >= {
            "session_id": session_id,
            "title": "Customer Support Chat",
            "agent_id": 1,
            "agent_name": "Support Bot",
            "last_message": None,
            "last_message_at": None,
            "unread_count": 0,
            "status": "active",
        }.items()
    )

    for _ in range(2):
        archived = await alice.delete(f"{SESSIONS}/{session_id}")
        assert archived.status == 200
        assert archived.body == {"message": "Session archived successfully", "session_id": session_id}
    assert (await alice.get(SESSIONS, status="active")).body["total"] == 0
    assert (await alice.get(SESSIONS, status="archived")).body["total"] == 1
    assert (await alice.post(f"{SESSIONS}/{session_id}/messages", {"content": "a"})).error == (409, "CONFLICT")


async def test_sessions_of_no_agent_and_of_none_that_there_is(serve: Serve) -> None:
    alice = Rest((await serve(**PEOPLE)).url)
    created = await alice.post(SESSIONS)
    assert (created.status, created.body["agent_id"], created.body["title"]) == (201, None, None)
    refused = await alice.post(SESSIONS, {"agent_id": 404})
    assert refused.error == (422, "INVALID_MESSAGE")
    assert list(refused.body["error"]["details"]) == ["agent_id"]


async def test_the_agents_there_are_and_sessions_of_people_only(serve: Serve) -> None:
    alice = Rest((await serve()).url)
    offered = (await alice.get("/api/chat/agents")).body
    support = {"id": 1, "name": "Support Bot", "avatar_url": "/avatars/support-bot.png", "answers": True}
    assert offered == {"agents": [support], "default_agent_id": 1}
    assert (await alice.post(SESSIONS, {})).body["agent_id"] == 1
    assert (await alice.post(SESSIONS, {"agent_id": 0})).body["agent_id"] is None


async def test_sessions_are_paged_while_others_come(server: Running) -> None:
    alice = Rest(server.url)
    made = [(await alice.post(SESSIONS, {"title": f"{number}"})).body["session_id"] for number in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await alice.get(SESSIONS, limit=2, **cursor)).body
        seen += [each["session_id"] for each in page["sessions"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
        await alice.post(SESSIONS)
    assert seen == made[::-1]
    assert (await alice.get(SESSIONS, limit=1, offset=100)).body["sessions"] == []
    assert (await alice.get(SESSIONS, cursor="made up")).error == (422, "INVALID_MESSAGE")


async def test_a_list_says_what_is_new(alice: Rest) -> None:
    bob = Rest(alice.url, "bob")
    await alice.post(S1 + "/participants", {"user_id": "bob"})
    await say(alice, "첫 번째")
    last = await say(alice, "두 번째")
    [session] = (await bob.get(SESSIONS)).body["sessions"]
    assert session["last_message"] == "두 번째"
    assert session["last_message_at"] == last["created_at"]
    assert session["unread_count"] == 2
    read = await bob.post(S1 + "/read", {"seq": last["seq"]})
    assert (read.status, read.body["unread_count"]) == (200, 0)
    assert (await bob.get(S1)).body["unread_count"] == 0


async def test_staff_see_everyones_sessions_and_nobody_else(alice: Rest) -> None:
    olga = Rest(alice.url, "olga", roles=("operator",))
    assert (await olga.get(SESSIONS)).body["total"] == 0
    assert (await olga.get(SESSIONS, everyone="true")).body["total"] == 1
    assert (await Rest(alice.url, "bob").get(SESSIONS, everyone="true")).error == (403, "FORBIDDEN")
    stranger = Rest(alice.url, "olga", roles=("operator",), tenant="acme")
    assert (await stranger.get(SESSIONS, everyone="true")).body["total"] == 0
    for _ in range(2):  # who waits for a person, until one has come
        assert (await olga.get(SESSIONS, everyone="true", handover="true")).body["total"] == 0
        await alice.post(f"{S1}/handover", {"reason": "help"})
        waiting = (await olga.get(SESSIONS, everyone="true", handover="true")).body["sessions"]
        assert [each["session_id"] for each in waiting] == ["s1"]
        await olga.post(f"{S1}/handover/accept")
        await olga.post(f"{S1}/handover/return")


# -- messages -------------------------------------------------------------------------------------------------------


async def test_a_posted_message_is_the_room_as_one_by_socket_is(server: Running, connect: Connect, alice: Rest) -> None:
    sender, reader = await connect(server, "/chat", "alice"), await connect(server, "/chat", "bob")
    away = await connect(server, "/chat", "bob")
    await join(sender)
    await alice.post(S1 + "/participants", {"user_id": "bob"})
    await join(reader)
    body = {"content": "제품 교환 문의입니다.", "message_type": "text", "metadata": {"device": "desktop"}}
    acked = await sender.call("message", {"session_id": "s1", **body})
    posted = await alice.post(MESSAGES, body)
    assert posted.status == 201
    assert list(posted.body) == [name for name in acked if name != "ok"]
    assert (posted.body["status"], posted.body["seq"]) == ("sent", acked["seq"] + 1)
    for client in (sender, reader, away):
        await client.settle()
        by_socket, by_http = (
            [
                (event, {name: value for name, value in payload.items() if name not in ("message_id", "created_at")})
                for event, payload in client.received
                if isinstance(payload, dict) and payload.get("message_id") == message_id
            ]
            for message_id in (acked["message_id"], posted.body["message_id"])
        )
        assert [event for event, _ in by_http] == (["notification"] if client is away else ["message"])
        assert [(event, payload | {"seq": 0}) for event, payload in by_socket] == [
            (event, payload | {"seq": 0}) for event, payload in by_http
        ]
    first, second = (await alice.get(MESSAGES)).body["messages"]
    assert second == reader.payloads("message")[-1]
    assert list(first) == list(second)


async def test_a_message_that_is_posted_again_is_the_first_one(alice: Rest) -> None:
    body = {"content": "a", "client_message_id": "c1"}
    first, again = await alice.post(MESSAGES, body), await alice.post(MESSAGES, body)
    assert again.status == 201
    assert {**first.body, "remaining": 0} == {**again.body, "remaining": 0}
    assert (await alice.get(MESSAGES)).body["total"] == 1


async def test_a_session_is_read_in_pages_while_others_write(alice: Rest) -> None:
    said = [(await say(alice, f"{number}"))["message_id"] for number in range(7)]
    newest = (await alice.get(MESSAGES, limit=3)).body
    assert [each["message_id"] for each in newest["messages"]] == said[4:]
    assert (newest["has_more"], newest["total"], newest["next_before"]) == (True, 7, 5)
    await say(alice, "new")
    assert await contents(alice, limit=3, before=newest["next_before"]) == ["1", "2", "3"]
    last = (await alice.get(MESSAGES, limit=3, before=2)).body
    assert [each["message_id"] for each in last["messages"]] == said[:1]
    assert last["has_more"] is False
    assert not last.keys() & {"next_before", "next_after"}
    after = (await alice.get(MESSAGES, limit=3, after=0)).body
    assert ([each["seq"] for each in after["messages"]], after["next_after"]) == ([1, 2, 3], 3)
    assert await contents(alice, after=5, before=8) == ["5", "6"]
    assert await contents(alice, after=8) == []


async def test_places_in_a_session_by_time_and_id(alice: Rest) -> None:
    said = [await say(alice, f"{number}") for number in range(3)]
    assert await contents(alice, before=said[1]["message_id"]) == ["0"]
    assert await contents(alice, after=said[1]["message_id"]) == ["2"]
    assert await contents(alice, before="2020-01-01T00:00:00Z") == []
    assert await contents(alice, after="2020-01-01") == ["0", "1", "2"]
    for nonsense in ("yesterday", "msg_unknown"):
        refused = await alice.get(MESSAGES, after=nonsense)
        assert refused.error == (422, "INVALID_MESSAGE")
        assert list(refused.body["error"]["details"]) == ["after"]


async def test_who_polls_hears_only_what_is_new(alice: Rest) -> None:
    await say(alice, "a")
    for path in (SESSIONS, S1, MESSAGES, S1 + "/participants", "/api/chat/search?query=a"):
        known = {"If-None-Match": (await alice.call("GET", path)).headers["ETag"]}
        assert (await alice.call("GET", path, headers=known)).status == 304
        await say(alice, "a")
        assert (await alice.call("GET", path, headers=known)).status == 200
    head = await alice.call("HEAD", MESSAGES)
    assert (head.status, head.body, int(head.headers["Content-Length"]) > 2) == (200, None, True)


async def test_what_was_said_is_changed_and_taken_back(server: Running, connect: Connect, alice: Rest) -> None:
    reader = await connect(server, "/chat", "alice")
    await join(reader)
    message_id = (await say(alice, "teh"))["message_id"]
    path = f"{MESSAGES}/{message_id}"
    edited = await alice.patch(path, {"content": "the"})
    assert (edited.status, edited.body["message_id"]) == (200, message_id)
    assert (await reader.expect("message_edited"))["content"] == "the"
    assert await contents(alice) == ["the"]
    olga = Rest(server.url, "olga", roles=("operator",))
    assert (await olga.patch(path, {"content": "mine"})).error == (403, "FORBIDDEN")
    deleted = await alice.delete(path)
    assert (deleted.status, deleted.body["message_id"]) == (200, message_id)
    assert (await reader.expect("message_deleted"))["message_id"] == message_id
    for reply in (await alice.delete(path), await alice.delete(f"{MESSAGES}/msg_unknown")):
        assert reply.error == (404, "NOT_FOUND")


async def test_any_text_comes_back_as_it_was(alice: Rest) -> None:
    texts = [
        "a" * 65_000,
        "👩‍👩‍👧‍👦 🇰🇷",
        "\u202eright to left \u05d0\u05d1",
        "<script>alert(1)</script>",
        "'; --",
        "\r\n\t",
        "\u2028",
    ]
    for each in texts:
        await say(alice, each)
    assert await contents(alice) == texts
    assert (await alice.post(MESSAGES, {"content": "a" * 65_536})).error == (413, "MESSAGE_TOO_BIG")


async def test_a_user_has_one_rate_for_all_ways(serve: Serve, connect: Connect) -> None:
    server = await serve(RATE_LIMIT_MESSAGES_PER_MINUTE=2, **PEOPLE)
    client, alice = await connect(server, "/chat", "alice"), Rest(server.url)
    await join(client)
    assert (await client.call("message", {"session_id": "s1", "content": "a"}))["remaining"] == 1
    assert (await alice.post(MESSAGES, {"content": "a"})).body["remaining"] == 0
    refused = await alice.post(MESSAGES, {"content": "a"})
    assert refused.error == (429, "RATE_LIMITED")
    assert 0 < int(refused.headers["Retry-After"]) <= 121
    assert (await client.call("message", {"session_id": "s1", "content": "a"}))["error"]["code"] == "RATE_LIMITED"
    assert (await alice.get(MESSAGES)).body["total"] == 2


# -- participants, search, handover ---------------------------------------------------------------------------------


async def test_participants(alice: Rest) -> None:
    bob, path = Rest(alice.url, "bob"), S1 + "/participants"
    invited = await alice.post(path, {"user_id": "bob"})
    assert invited.status == 201
    assert [each["user_id"] for each in invited.body["participants"]] == ["alice", "bob"]
    assert (await bob.get(path)).body == invited.body
    assert invited.body["participants"][1].keys() == {"user_id", "last_read_seq", "joined_at"}
    assert (await bob.post(path, {"user_id": "mallory"})).error == (403, "FORBIDDEN")
    assert (await bob.delete(path + "/alice")).error == (403, "FORBIDDEN")
    assert (await alice.delete(path + "/alice")).error == (409, "CONFLICT")
    assert (await alice.delete(path + "/nobody")).error == (404, "NOT_FOUND")
    assert [each["user_id"] for each in (await bob.delete(path + "/bob")).body["participants"]] == ["alice"]
    assert (await bob.get(path)).error == (403, "FORBIDDEN")
    await alice.post(path, {"user_id": "a/b {c}"})
    assert (await alice.delete(path + "/a%2Fb%20%7Bc%7D")).status == 200


async def test_search(alice: Rest) -> None:
    await say(alice, "웹서버가 <느립니다>")
    await say(alice, "다른 이야기")
    found = (await alice.get("/api/chat/search", query="서버", session_id="s1", limit=5)).body
    [hit] = found["hits"]
    assert (hit["seq"], hit["session_id"]) == (1, "s1")
    assert "<mark>서버</mark>" in hit["highlight"]
    assert "&lt;느립니다&gt;" in hit["highlight"]
    assert (await Rest(alice.url, "mallory").get("/api/chat/search", query="서버")).body["hits"] == []
    assert (await alice.get("/api/chat/search")).error == (422, "INVALID_MESSAGE")


async def test_a_handover_and_back(server: Running, connect: Connect, alice: Rest) -> None:
    operator = ("operator",)
    olga, otto = Rest(server.url, "olga", roles=operator), Rest(server.url, "otto", roles=operator)
    desk = await connect(server, "/chat", "otto", roles=operator)
    asked = await alice.post(S1 + "/handover", {"reason": "사람과 이야기하고 싶어요"})
    assert (asked.status, asked.body["handover"]["reason"]) == (200, "사람과 이야기하고 싶어요")
    assert (await desk.expect("handover_requested"))["session_id"] == "s1"
    assert (await alice.post(S1 + "/handover/accept")).error == (403, "FORBIDDEN")
    assert (await olga.post(S1 + "/handover/accept")).body["operator_id"] == "olga"
    second = await otto.post(S1 + "/handover/accept")
    assert second.error == (409, "CONFLICT")
    assert (await alice.get(S1)).body["operator_id"] == "olga"
    assert (await olga.post(S1 + "/handover/return")).body["operator_id"] is None


# -- strangers ------------------------------------------------------------------------------------------------------

ROUTES: list[tuple[str, str, object]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/messages", None),
    ("POST", "/messages", {"content": "a"}),
    ("POST", "/messages/stream", {"content": "a"}),
    ("PATCH", "/messages/msg_1", {"content": "a"}),
    ("DELETE", "/messages/msg_1", None),
    ("POST", "/read", {"seq": 1}),
    ("GET", "/participants", None),
    ("POST", "/participants", {"user_id": "mallory"}),
    ("DELETE", "/participants/alice", None),
    ("DELETE", "/participants/mallory", None),
    ("POST", "/handover", {"reason": "a"}),
]


@pytest.mark.parametrize(("tenant", "roles"), [(None, ()), ("acme", ("operator", "admin"))])
async def test_a_stranger_learns_nothing(alice: Rest, tenant: str | None, roles: tuple[str, ...]) -> None:
    mallory = Rest(alice.url, "mallory", tenant=tenant, roles=roles)
    for session_id in ("s1", "unknown"):
        replies = [
            await mallory.call(method, f"{SESSIONS}/{session_id}{path}", **({} if body is None else {"json": body}))
            for method, path, body in ROUTES
        ]
        replies += [
            await mallory.get("/api/chat/search", query="a", session_id=session_id),
            await mallory.post("/api/v1/handover/analyze", {"session_id": session_id}),
        ]
        assert [(each.status, each.body["error"]) for each in replies] == [(403, NO_ACCESS)] * len(replies)
    told = await mallory.post("/api/v1/chat/message", {"session_id": "s1", "user_message": "a"})
    assert (told.status, told.body["error"]) == (403, NO_ACCESS)
    assert (await alice.get(MESSAGES)).body["total"] == 0


async def test_no_token_no_answer(serve: Serve) -> None:
    stranger = Rest((await serve()).url)
    for method, path, _ in ROUTES:
        reply = await stranger.call(method, S1 + path, headers={"Authorization": ""})
        assert reply.error == (401, "TOKEN_MISSING")


async def test_ids_that_are_none(serve: Serve) -> None:
    alice = Rest((await serve()).url)
    for session_id in ("%20", "a%0A", "%00", "a" * 101, "%ff%fe", "%F0%9F%91%8B%00"):
        assert (await alice.get(f"{SESSIONS}/{session_id}")).status in (403, 422)


GARBAGE: list[object] = [None, [], 1, "text", {"content": {"a": ["b"]}}, {"": ""}, {"user_id": "\0"}, {"seq": 1e300}]
QUERIES = ["limit=0", "limit=%00", "before=%ff", "query=%00", "status=%f0", "cursor=9-9", "a[]=1", "%00=%00", "&&=&"]


async def test_garbage_is_refused_whatever_the_route(alice: Rest) -> None:
    paths = [(method, S1 + path) for method, path, _ in ROUTES]
    paths += [("POST", "/api/v1/chat/message"), ("POST", "/api/v1/handover/analyze"), ("GET", "/api/chat/search")]
    bodies = [orjson.dumps(each) for each in GARBAGE] + [b'{"content": "\\ud800"}', b"\xff", b"{" * 9_000]
    for method, path in paths:
        if method in ("POST", "PATCH"):
            for body in bodies:
                reply = await alice.call(method, path, data=body, headers={"Content-Type": "application/json"})
                assert reply.error == (422, "INVALID_MESSAGE"), (method, path, body)
        for query in QUERIES:
            reply = await alice.call(method, f"{path}?{query}", json={"content": "a"})
            assert reply.error == (422, "INVALID_MESSAGE"), (method, path, query)
