"""What plain WebSockets may not say, and what they are told instead; what they may is in tests/doors/."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus
from yarl import URL

from server.errors import InternalError
from server.namespaces.chat.service import ChatService
from tests.conftest import Connect, Serve
from tests.doors.plain import address, plain
from tests.support.present import until
from tests.support.rest import Rest
from tests.support.running import token

#: A path behind each door, and what its clients hear first.
PATHS = {
    "/ws/monitor": "connection_status",
    "/ws/copilot": "connected",
    "/ws/trading/c-1": "connected",
    "/ws/chat/s-1": "connected",
    "/api/v1/chat/ws/s-2": "status",
    "/ws/s-3": "connected",
}

NONSENSE: dict[str, str | bytes] = {
    "not JSON": "nonsense",
    "empty": "",
    "cut off": '{"type": "ping"',
    "a list": '[{"type": "ping"}]',
    "a number": "5",
    "null": "null",
    "no type": '{"content": "hello"}',
    "a type that is no text": '{"type": {"a": 1}}',
    "no type at all": '{"type": null}',
    "NaN": '{"type": "ping", "timestamp": NaN}',
    "half a character": '{"type": "ping", "timestamp": "\\ud800"}',
    "deep": '{"type": "ping", "timestamp": ' + "[" * 100 + "]" * 100 + "}",
    "binary": b'{"type": "ping"}',
}


async def test_nonsense_leaves_the_connection_up(serve: Serve) -> None:
    server = await serve()
    for path in PATHS:
        async with plain(server, path, "alice") as alice:
            for name, nonsense in NONSENSE.items():
                await alice.say(nonsense)
                error = await alice.expect("error")
                assert error["code"] == "INVALID_MESSAGE", (path, name)
                assert error["message"]
            await alice.say('{"type": "\\ud83d\\ude00 nix"}')
            assert (await alice.expect("error"))["code"] == "UNKNOWN_EVENT"
            await alice.send("ping", timestamp="here")
            assert (await alice.expect("pong"))["timestamp"] == "here"


async def test_who_is_welcome_is_told_so(serve: Serve) -> None:
    server = await serve()
    for path, first in PATHS.items():
        async with plain(server, path, "alice") as alice:
            assert (await alice.next())["type"] == first
            await alice.send("ping")
            assert (await alice.expect("pong"))["timestamp"].endswith("Z")


UNWELCOME = [
    ("", "TOKEN_MISSING", 1008),
    ("?token=", "TOKEN_MISSING", 1008),
    ("?token=test-token", "TOKEN_INVALID", 4001),
    (f"?token={token('alice', lifetime=-3600)}", "TOKEN_EXPIRED", 4001),
]


async def test_who_is_not(serve: Serve) -> None:
    server = await serve(MONITOR_REQUIRE_AUTH="true")
    for path, (query, code, close_code) in itertools.product(PATHS, UNWELCOME):
        async with plain(server, path + query) as nobody:
            assert await nobody.closed() == close_code
        [told] = nobody.received
        assert (told["type"], told["code"]) == ("error", code)
        assert told["timestamp"].endswith("Z")


async def test_the_header_goes_before_the_query(serve: Serve) -> None:
    server = await serve()
    async with plain(server, "/ws/copilot", "mallory", headers={"Authorization": f"Bearer {token('alice')}"}) as alice:
        assert (await alice.expect("connected"))["user_id"] == "alice"
    async with plain(server, "/ws/copilot", "alice", headers={"Authorization": "Bearer no"}) as nobody:
        assert await nobody.closed() == 4001
    async with plain(server, "/ws/copilot", "alice", headers={"Authorization": "Basic YTpi"}) as alice:
        assert (await alice.expect("connected"))["user_id"] == "alice"


async def test_browsers_from_elsewhere_are_refused(serve: Serve) -> None:
    server = await serve(CORS_ORIGINS="https://app.example.com")
    for path, first in PATHS.items():
        where = address(server, path, "alice")
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(where, additional_headers={"Origin": "https://evil.example.com"}):
                pass
        assert refused.value.response.status_code == 403
        async with open_socket(where, additional_headers={"Origin": "https://app.example.com"}) as socket:
            assert json.loads(await socket.recv())["type"] == first


async def test_names_that_are_none(serve: Serve) -> None:
    server = await serve()
    doors = ("/ws/chat/", "/api/v1/chat/ws/", "/ws/trading/", "/ws/")
    names = ("a\nb", "\x00", "\x7f", " a", "\u202e", "x" * 101, "x" * 5000)
    for door, name in itertools.product(doors, names):
        async with plain(server, door + quote(name), "alice") as alice:
            assert await alice.closed() == 1008
        [told] = alice.received
        assert (told["type"], told["code"]) == ("error", "INVALID_MESSAGE")


async def test_names_that_are_longer_than_a_request_line(serve: Serve) -> None:
    url = URL((await serve()).url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /ws/chat/" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    await writer.wait_closed()


async def test_names_in_other_scripts(serve: Serve, connect: Connect) -> None:
    server = await serve(CHAT_DEFAULT_AGENT="")
    on_socketio = await connect(server, "/chat", "alice")
    await on_socketio.call("join", {"session_id": "상담 1/2"})
    async with plain(server, "/ws/chat/" + quote("상담 1/2", safe=""), "alice") as alice:
        await alice.send("message", content="안녕하세요")
        assert (await on_socketio.expect("message"))["content"] == "안녕하세요"


async def test_a_session_of_others_is_closed(serve: Serve) -> None:
    server = await serve()
    async with plain(server, "/ws/chat/mine", "alice") as alice:
        await alice.expect("ack")
        for path in ("/ws/chat/mine", "/api/v1/chat/ws/mine", "/ws/mine"):
            for sub, tenant in (("mallory", None), ("alice", "other")):
                async with plain(server, path, sub, tenant=tenant) as mallory:
                    assert await mallory.closed() == 1008
                assert mallory.received[-1]["code"] == "FORBIDDEN"
        await alice.settle()
        assert alice.of("system") == []


async def test_a_fault_of_ours_is_not_theirs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()

    async def broken(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(ChatService, "join", broken)
    async with plain(server, "/ws/chat/s-1", "alice") as alice:
        assert await alice.closed() == 1011
    assert alice.received[-1]["code"] == InternalError.code


async def test_what_the_path_says_may_be_said_otherwise(serve: Serve) -> None:
    async with plain(await serve(CHAT_DEFAULT_AGENT=""), "/ws/chat/s-1", "alice") as alice:
        await alice.send("join", session_id="s-2")
        await alice.send("message", session_id="s-2", content="there")
        await alice.send("message", content="here")
        assert (await alice.expect("message"))["session_id"] == "s-2"
        assert (await alice.expect("message"))["session_id"] == "s-1"


async def test_fields_that_there_are_not(serve: Serve) -> None:
    """A time is in everything that the seeds' clients send; other fields are mistakes."""
    async with plain(await serve(CHAT_DEFAULT_AGENT=""), "/ws/chat/s-1", "alice") as alice:
        await alice.send("message", content="a", timestamp=1.5, contents="b")
        error = await alice.expect("error")
        assert (error["event"], list(error["details"])) == ("message", ["contents"])
        await alice.send("message", content="a", timestamp=1.5)
        assert await alice.expect("message")


async def test_an_unknown_type_is_not_echoed_at_length(serve: Serve) -> None:
    async with plain(await serve(), "/ws/copilot", "alice") as alice:
        await alice.send("x" * 60_000)
        error = await alice.expect("error")
        assert error["code"] == "UNKNOWN_EVENT"
        assert len(json.dumps(error)) < 500


async def test_more_than_the_rate_is_refused_not_closed(serve: Serve) -> None:
    """Nonsense counts too."""
    async with plain(await serve(RATE_LIMIT_EVENTS_PER_SECOND=5), "/ws/copilot", "alice") as alice:
        for _ in range(10):
            await alice.say("nonsense")
        limited = await alice.expect("error", lambda said: said["code"] == "RATE_LIMITED")
        assert limited["retry_after"] > 0
        assert limited["limit"] == 5


async def test_who_leaves_while_it_enters(serve: Serve) -> None:
    server = await serve()
    for _ in range(20):
        async with plain(server, "/ws/chat/s-1", "alice") as alice:
            await alice.say("nonsense")
    async with plain(server, "/ws/chat/s-1", "alice") as alice:
        await alice.expect("ack")
        await until(lambda: len(server.realtime.eio.sessions) == len(server.realtime.manager) == 1)


async def test_plain_http_is_no_door(serve: Serve) -> None:
    async with Rest((await serve()).url).request("GET", "/ws/monitor") as response:
        assert response.status == 400


@pytest.mark.parametrize(("default", "namespace"), [("chat", "/chat"), ("trading", "/trading")])
async def test_where_other_paths_lead(serve: Serve, default: str, namespace: str) -> None:
    """The special ones lead where they always do."""
    server = await serve(WS_DEFAULT_NAMESPACE=default)
    async with plain(server, "/ws/test_client_001", "alice") as alice:
        assert (await alice.expect("connected"))["namespace"] == namespace
        await alice.settle()
    async with plain(server, "/ws/copilot", "alice") as alice:
        assert (await alice.expect("connected"))["namespace"] == "/copilot"
    async with plain(server, "/ws/monitor") as anybody:
        assert await anybody.expect("equipment_status")
