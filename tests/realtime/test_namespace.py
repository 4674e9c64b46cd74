from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from server.auth.tokens import mint
from server.realtime.connection import Connection
from server.realtime.limits import Rate
from server.realtime.namespace import Namespace, event
from server.realtime.schema import Payload, Text
from server.realtime.server import Bounds
from tests.conftest import Connect
from tests.support.echo import serving
from tests.support.running import SECRET, token


def error(ack: Any) -> dict[str, Any]:
    assert ack["ok"] is False
    fault: dict[str, Any] = ack["error"]
    return fault


async def test_a_connect_is_greeted_first(connect: Connect) -> None:
    async with serving() as (server, _):
        client = await connect(server, "/echo", "alice")
        greeting = await client.expect("connected")
        assert client.received[0][0] == "connected"
        assert set(greeting) == {"connection_id", "user_id", "namespace", "server_time", "recovered"}
        assert greeting["connection_id"] == client.sio.get_sid("/echo")
        assert (greeting["user_id"], greeting["namespace"], greeting["recovered"]) == ("alice", "/echo", False)


async def test_ping_by_ack_and_by_event(connect: Connect) -> None:
    async with serving() as (server, _):
        client = await connect(server, "/echo", "alice")
        assert await client.call("ping", {"timestamp": 123}) == {"ok": True, "timestamp": 123}
        assert await client.expect("pong") == {"timestamp": 123}
        assert (await client.call("ping"))["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("echo", {"text": "x"}, None),
        ("echo", {}, "INVALID_MESSAGE"),
        ("echo", {"text": 5}, "INVALID_MESSAGE"),
        ("echo", {"text": "x", "extra": 1}, "INVALID_MESSAGE"),
        ("echo", "text", "INVALID_MESSAGE"),
        ("echo", [1], "INVALID_MESSAGE"),
        ("echo", ({"text": "x"}, {"text": "y"}), "INVALID_MESSAGE"),
        ("echo", {"text": b"bytes"}, "INVALID_MESSAGE"),
        ("any", {"value": {"deep": [b"bytes"]}}, "INVALID_MESSAGE"),
        ("unheard", {}, "UNKNOWN_EVENT"),
        ("", {}, "UNKNOWN_EVENT"),
        ("connect", {}, "UNKNOWN_EVENT"),
        ("disconnect", "forged reason", "UNKNOWN_EVENT"),
        ("connect_error", {}, "UNKNOWN_EVENT"),
        ("__init__", {}, "UNKNOWN_EVENT"),
        ("forbidden", {}, "FORBIDDEN"),
    ],
)
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_bad_input_gets_its_code_and_nobody_is_harmed(
    connect: Connect, transport: str, name: str, arguments: Any, code: str | None
) -> None:
    async with serving() as (server, namespace):
        client = await connect(server, "/echo", "alice", transports=[transport])
        bystander = await connect(server, "/echo", "bob")
        ack = await client.call(name, arguments)
        if code is None:
            assert ack["ok"] is True
        else:
            assert error(ack)["code"] == code
        assert (await client.call("echo", {"text": "still here"}))["text"] == "still here"
        assert (await bystander.call("echo", {"text": "me too"}))["ok"]
        assert namespace.gone_reasons == []


async def test_faults_are_named_by_field(connect: Connect) -> None:
    async with serving() as (server, _):
        client = await connect(server, "/echo", "alice")
        fault = error(await client.call("echo", {"text": 5, "extra": 1}))
        assert set(fault["details"]) == {"text", "extra"}


async def test_without_an_ack_a_failure_is_an_error_event(connect: Connect) -> None:
    async with serving() as (server, _):
        client = await connect(server, "/echo", "alice")
        await client.emit("echo", {})
        assert (await client.expect("error"))["code"] == "INVALID_MESSAGE"


async def test_an_unknown_exception_is_logged_and_never_shown(connect: Connect) -> None:
    async with serving() as (server, _):
        client = await connect(server, "/echo", "alice")
        with structlog.testing.capture_logs() as logs:
            fault = error(await client.call("boom"))
        assert set(fault) == {"code", "message", "error_id"}
        assert fault["code"] == "INTERNAL"
        assert "secret detail" not in str(fault)
        [entry] = [entry for entry in logs if entry["event"] == "handler failed"]
        assert entry["error_id"] == fault["error_id"]


async def test_events_of_one_connection_are_handled_in_order_and_others_do_not_wait(connect: Connect) -> None:
    async with serving() as (server, namespace):
        slow, other = await connect(server, "/echo", "alice"), await connect(server, "/echo", "bob")
        calls = [asyncio.create_task(slow.call("wait", {"number": number})) for number in range(5)]
        await namespace.entered.wait()
        await other.call("note", {"number": 100})
        assert namespace.order == [100]
        namespace.gate.set()
        await asyncio.gather(*calls)
        assert namespace.order == [100, 0, 1, 2, 3, 4]


async def test_events_sent_before_leaving_are_handled_before_the_leaving(connect: Connect) -> None:
    async with serving() as (server, namespace):
        client = await connect(server, "/echo", "alice")
        await client.emit("wait", {"number": 1})
        await client.emit("note", {"number": 2})
        await namespace.entered.wait()
        await client.sio.disconnect()
        namespace.gate.set()
        await namespace.gone_event.wait()
        assert namespace.order == [1, 2]
        assert namespace.connections == []


async def test_a_slow_handler_is_cut_off(connect: Connect) -> None:
    async with serving(bounds=Bounds(handler_timeout=0.05)) as (server, namespace):
        client = await connect(server, "/echo", "alice")
        assert error(await client.call("wait", {"number": 1}))["code"] == "TIMEOUT"
        assert namespace.order == []
        assert (await client.call("echo", {"text": "x"}))["ok"]


async def test_too_many_events_are_refused_and_the_connection_stays(connect: Connect) -> None:
    async with serving(rates={"events": Rate(3, 60)}) as (server, _):
        client = await connect(server, "/echo", "alice")
        for _ in range(3):
            assert (await client.call("echo", {"text": "x"}))["ok"]
        fault = error(await client.call("echo", {"text": "x"}))
        assert (fault["code"], fault["limit"], fault["remaining"]) == ("RATE_LIMITED", 3, 0)
        assert fault["retry_after"] > 0
        other = await connect(server, "/echo", "alice")
        assert (await other.call("echo", {"text": "x"}))["ok"]


@pytest.mark.parametrize(("shared", "remaining"), [(True, [2, 1, 0]), (False, [2, 2, 1])])
async def test_a_users_connections_count_together_or_alone(
    connect: Connect, shared: bool, remaining: list[int]
) -> None:
    async with serving(rates={"queries": Rate(3, 60)}, share_rate_limit=shared) as (server, _):
        one, two = await connect(server, "/echo", "alice"), await connect(server, "/echo", "alice")
        acks = [await one.call("limited"), await two.call("limited"), await one.call("limited")]
        assert [ack["remaining"] for ack in acks] == remaining
        stranger = await connect(server, "/echo", "bob")
        assert (await stranger.call("limited"))["remaining"] == 2


async def test_ten_thousand_joins_end_at_the_limit(connect: Connect) -> None:
    async with serving(bounds=Bounds(rooms_per_connection=20)) as (server, _):
        client = await connect(server, "/echo", "alice")
        acks = []
        for start in range(0, 10_000, 500):
            acks += await asyncio.gather(*(client.call("enter", {"number": start + one}) for one in range(500)))
        refused = [ack for ack in acks if not ack["ok"]]
        assert len(acks) - len(refused) == 18  # two rooms are the user's and everyone's
        assert {error(ack)["code"] for ack in refused} == {"LIMIT_EXCEEDED"}
        assert (await client.call("enter", {"number": 0}))["ok"]  # already in it


async def test_tenants_do_not_meet_in_a_room(connect: Connect) -> None:
    async with serving() as (server, _):
        ours, theirs = [await connect(server, "/echo", "alice", tenant=tenant) for tenant in ("a", "b")]
        for client in (ours, theirs):
            await client.call("enter", {"number": 1})
        await ours.call("shout", {"text": "us"})
        await theirs.call("shout", {"text": "them"})
        assert await ours.expect("shouted") == {"text": "us"}
        assert await theirs.expect("shouted") == {"text": "them"}
        assert (len(ours.payloads("shouted")), len(theirs.payloads("shouted"))) == (1, 1)


async def test_asking_inline_is_refused_and_does_not_deadlock(connect: Connect) -> None:
    async with serving() as (server, namespace):
        client = await connect(server, "/echo", "alice")
        fault = error(await client.call("ask_inline"))
        assert fault["code"] == "INTERNAL"
        assert "background" in fault["message"]
        assert len(namespace.asks) == 0


async def test_a_renewed_token_keeps_the_connection(connect: Connect) -> None:
    now = [1_800_000_000.0]
    async with serving(now=lambda: now[0]) as (server, _):

        def signed(sub: str, lifetime: float, tenant: str | None = None) -> str:
            return mint(SECRET, sub, lifetime=lifetime, tenant=tenant, now=lambda: now[0])

        client = await connect(server, "/echo", auth={"token": signed("alice", 100)})
        now[0] += 50
        await server.realtime.expire_tokens(now[0])
        assert await client.expect("token_expiring") == {"expires_in": 50}
        for wrong in (signed("bob", 1000), signed("alice", 1000, tenant="other"), "garbage", signed("alice", -100)):
            assert error(await client.call("authenticate", {"token": wrong}))["code"].startswith("TOKEN_")
        ack = await client.call("authenticate", {"token": signed("alice", 1000)})
        assert ack["ok"]
        now[0] += 60
        await server.realtime.expire_tokens(now[0])
        assert (await client.call("echo", {"text": "still here"}))["ok"]
        now[0] += 1000
        await server.realtime.expire_tokens(now[0])
        reason = await client.expect("disconnecting_reason")
        assert (reason["code"], reason["close_code"]) == ("TOKEN_EXPIRED", 4001)
        await client.expect("disconnect")


@pytest.mark.parametrize("single", [True, False])
async def test_a_newer_session_replaces_the_older_where_one_is_the_rule(connect: Connect, single: bool) -> None:
    async with serving(single_session=single) as (server, namespace):
        older = await connect(server, "/echo", "alice")
        stranger = await connect(server, "/echo", "alice", tenant="other")
        await connect(server, "/echo", "alice")
        if single:
            reason = await older.expect("disconnecting_reason")
            assert (reason["code"], reason["close_code"], reason["reconnect"]) == ("SESSION_REPLACED", 4009, False)
            await older.expect("disconnect")
        else:
            assert (await older.call("echo", {"text": "x"}))["ok"]
        assert (await stranger.call("echo", {"text": "x"}))["ok"]
        assert len(namespace.connections) == (2 if single else 3)


async def test_a_handler_and_its_schema_agree_or_the_server_does_not_start() -> None:
    class Said(Payload):
        text = Text(most=5)

    with pytest.raises(TypeError, match="takes"):

        class Wrong(Namespace):
            path = "/wrong"

            @event("say", Said)
            async def say(self, connection: Connection, words: str) -> None: ...


async def test_token_in_each_place(connect: Connect) -> None:
    async with serving() as (server, _):
        for options in (
            {"auth": {"token": token("carol")}},
            {"headers": {"Authorization": f"Bearer {token('carol')}"}},
        ):
            client = await connect(server, "/echo", **options)
            assert (await client.expect("connected"))["user_id"] == "carol"
