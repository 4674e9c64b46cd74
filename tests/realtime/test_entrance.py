from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import socketio
import structlog

from server.realtime.entrance import MAX_NAMESPACES
from server.realtime.limits import Rate
from server.realtime.server import Bounds
from tests.conftest import Connect
from tests.support.client import Client
from tests.support.echo import EchoNamespace, connect_packet, serving
from tests.support.raw import POLLING, raw_socket
from tests.support.running import token


async def refused(connect: Connect, server: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
    """What a client that is refused reads in `connect_error`."""
    client = Client("/echo")
    sub = arguments[0] if arguments else None
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(server.url, token(sub) if sub else None, **options)
    error = await client.expect("connect_error")
    await client.close()
    data: dict[str, Any] = error["data"]
    assert error["message"] == data["message"]
    return data


@pytest.mark.parametrize(
    ("auth", "code", "close_code"),
    [
        ({}, "TOKEN_MISSING", 1008),
        ({"token": ""}, "TOKEN_MISSING", 1008),
        ({"token": "garbage"}, "TOKEN_INVALID", 4001),
        ({"token": token(lifetime=-60)}, "TOKEN_EXPIRED", 4001),
        ({"token": 5}, "TOKEN_INVALID", 4001),
    ],
)
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_refused_connect_says_why(
    connect: Connect, transport: str, auth: dict[str, Any], code: str, close_code: int
) -> None:
    async with serving() as (server, namespace):
        data = await refused(connect, server, auth=auth, transports=[transport])
        assert (data["code"], data["close_code"]) == (code, close_code)
        assert namespace.connections == []
        assert len(server.realtime.manager) == 0


async def test_where_no_token_is_needed_a_good_one_still_counts(connect: Connect) -> None:
    async with serving(require_auth=False) as (server, _):
        visitor = await connect(server, "/echo")
        assert (await visitor.expect("connected"))["user_id"].startswith("anonymous-")
        known = await connect(server, "/echo", "alice")
        assert (await known.expect("connected"))["user_id"] == "alice"


async def test_a_full_server_refuses_and_has_room_again(connect: Connect) -> None:
    async with serving(bounds=Bounds(max_connections=2)) as (server, namespace):
        first, _ = await connect(server, "/echo", "a"), await connect(server, "/echo", "b")
        data = await refused(connect, server, "c")
        assert (data["code"], data["close_code"]) == ("SERVER_FULL", 1013)
        await first.sio.disconnect()
        await namespace.gone_event.wait()
        await connect(server, "/echo", "c")


async def test_connects_from_one_address_have_a_rate(connect: Connect) -> None:
    async with serving(rates={"connects": Rate(2, 60)}, exempt_loopback=False) as (server, _):
        for _ in range(2):
            await connect(server, "/echo", "alice")
        data = await refused(connect, server, "alice")
        assert (data["code"], data["limit"]) == ("RATE_LIMITED", 2)
        assert data["retry_after"] > 0


async def test_an_unknown_namespace_is_named_and_the_others_live(connect: Connect) -> None:
    async with serving() as (server, _), raw_socket(server.url) as raw:
        await raw.send("40/nowhere,")
        assert await raw.expect("44") == '44/nowhere,{"message":"Invalid namespace"}'
        await raw.send(connect_packet())
        await raw.expect("40/echo,")


async def test_nothing_reaches_a_client_before_it_is_admitted(connect: Connect) -> None:
    async with serving() as (server, namespace), raw_socket(server.url) as raw:
        admitted = asyncio.Event()
        admit = EchoNamespace.admit

        async def slow_admit(self: EchoNamespace, *arguments: Any, **options: Any) -> None:
            await admitted.wait()
            await admit(self, *arguments, **options)

        namespace.admit = slow_admit.__get__(namespace)  # type: ignore[method-assign]
        await raw.send(connect_packet())
        await namespace.emit("early", {}, room="everyone")
        admitted.set()
        frames = [await raw.expect("4"), await raw.expect("4")]
        assert frames[0].startswith("40/echo,")
        assert '"connected"' in frames[1]


async def test_who_leaves_while_it_is_admitted_leaves_no_ghost() -> None:
    async with serving() as (server, namespace):
        admitted, started = asyncio.Event(), asyncio.Event()
        admit = EchoNamespace.admit

        async def slow_admit(self: EchoNamespace, *arguments: Any, **options: Any) -> None:
            started.set()
            await admitted.wait()
            await admit(self, *arguments, **options)

        namespace.admit = slow_admit.__get__(namespace)  # type: ignore[method-assign]
        async with aiohttp.ClientSession() as http:
            async with http.get(server.url + POLLING) as response:
                sid = (await response.text())[1:].partition('"sid":"')[2].partition('"')[0]
            url = f"{server.url}{POLLING}&sid={sid}"
            connecting = asyncio.create_task(http.post(url, data=connect_packet()))
            await started.wait()
            async with http.post(url, data="1"):
                pass
            admitted.set()
            (await connecting).release()
        assert namespace.connections == []
        assert len(server.realtime.manager) == 0
        assert not server.realtime.admission.holds(sid)


async def test_an_exception_while_connecting_refuses_and_shows_nothing(connect: Connect) -> None:
    async with serving() as (server, namespace):

        async def broken(*arguments: Any, **options: Any) -> None:
            raise RuntimeError("secret detail")

        namespace.admit = broken  # type: ignore[method-assign]
        with structlog.testing.capture_logs() as logs:
            data = await refused(connect, server, "alice")
        assert data["code"] == "INTERNAL"
        assert "secret" not in str(data)
        assert any(entry.get("error_id") == data["error_id"] for entry in logs)
        assert len(server.realtime.manager) == 0


async def test_leaving_and_entering_a_namespace_again_does_not_renew_its_rate() -> None:
    async with serving(rates={"events": Rate(3, 60)}) as (server, _), raw_socket(server.url) as raw:
        for turn in range(2):
            await raw.send(connect_packet())
            await raw.expect("40/echo,")
            for number in range(2):
                await raw.send(f'42/echo,1{turn}{number}["echo",{{"text":"x"}}]')
            last = await raw.expect(f"43/echo,1{turn}1")
            await raw.send("41/echo,")
        assert '"RATE_LIMITED"' in last


async def test_namespaces_that_clients_name_do_not_add_up() -> None:
    async with serving() as (server, _), raw_socket(server.url) as raw:
        server.realtime.on("e", lambda namespace, sid: None, namespace="*")
        before = len(server.realtime._served)
        for number in range(MAX_NAMESPACES):
            await raw.send(f"40/made-up-{number},")
            await raw.expect(f"40/made-up-{number},")
            await raw.send(f"41/made-up-{number},")
        assert len(server.realtime._served) == before
        await raw.send("40/one-too-many,")
        assert await raw.closed() == 1000
