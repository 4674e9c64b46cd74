from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest
import socketio
import structlog

from server.realtime.limits import Rate
from server.realtime.server import Bounds, RealtimeServer
from server.realtime.threshold import MAX_REFUSED_PER_ADDRESS
from tests.conftest import Connect
from tests.support.client import Client
from tests.support.echo import connect_packet, serving
from tests.support.ports import free_port
from tests.support.raw import POLLING, WEBSOCKET, raw_socket
from tests.support.running import SECRET, token


def test_the_seams_are_where_they_were() -> None:
    stock = socketio.AsyncServer()
    for name in (
        "_engineio_server_class",
        "_handle_eio_connect",
        "_handle_eio_message",
        "_handle_eio_disconnect",
        "_trigger_event",
        "_get_event_handler",
        "_get_namespace_handler",
        "not_handled",
        "environ",
        "handlers",
        "namespace_handlers",
        "reserved_events",
    ):
        assert hasattr(stock, name), f"python-socketio moved {name}"


@pytest.mark.parametrize("frame", ["", "x", "9", b"binary"])
async def test_frames_that_are_not_engineio_close_the_socket_and_free_its_rooms(frame: str | bytes) -> None:
    async with serving() as (server, namespace), raw_socket(server.url) as raw:
        await raw.send(connect_packet())
        await raw.expect("40/echo,")
        await raw.send(frame)
        await raw.closed()
        await namespace.gone_event.wait()
        assert namespace.connections == []
        assert len(server.realtime.manager) == 0


async def test_too_big_a_message_is_named_and_closed_with_1009(connect: Connect) -> None:
    async with serving(bounds=Bounds(message_bytes=1000)) as (server, namespace), raw_socket(server.url) as raw:
        bystander = await connect(server, "/echo", "bob")
        await raw.send(connect_packet())
        await raw.expect("40/echo,")
        await raw.send('42/echo,["echo",{"text":"' + "x" * 2000 + '"}]')
        assert '"MESSAGE_TOO_BIG"' in await raw.expect('42/echo,["disconnecting_reason"')
        assert await raw.closed() == 1009
        await namespace.gone_event.wait()
        assert (await bystander.call("echo", {"text": "x"}))["ok"]


async def test_a_namespace_may_take_bigger_messages(connect: Connect) -> None:
    bounds = Bounds(message_bytes=1000, namespace_message_bytes={"/echo": 50_000})
    async with serving(bounds=bounds) as (server, namespace):
        for transport in ("websocket", "polling"):
            client = await connect(server, "/echo", "alice", transports=[transport])
            assert (await client.call("echo", {"text": "x" * 40_000}))["ok"]
            namespace.gone_event.clear()
            await client.emit("echo", {"text": "x" * 60_000})
            await client.expect("disconnect")
            await namespace.gone_event.wait()


async def test_too_big_a_poll_is_413_and_leaves_nothing() -> None:
    async with serving(bounds=Bounds(message_bytes=1000)) as (server, _), aiohttp.ClientSession() as http:
        for _ in range(20):
            async with http.get(server.url + POLLING) as response:
                sid = (await response.text())[1:].partition('"sid":"')[2].partition('"')[0]
            async with http.post(f"{server.url}{POLLING}&sid={sid}", data="4" + "x" * 5000) as response:
                assert response.status == 413
        assert server.realtime.eio.sessions == {}


async def test_many_packets_in_one_poll_are_all_handled(connect: Connect) -> None:
    async with serving() as (server, namespace):
        client = await connect(server, "/echo", "alice", transports=["polling"])
        await asyncio.gather(*(client.call("note", {"number": number}) for number in range(100)))
        assert namespace.order == list(range(100))


async def test_a_session_that_never_connects_is_closed() -> None:
    now = [0.0]
    async with (
        serving(clock=lambda: now[0]) as (server, _),
        raw_socket(server.url) as idle,
        raw_socket(server.url) as busy,
    ):
        await busy.send(connect_packet())
        await busy.expect("40/echo,")
        server.realtime.close_idle(45 - 1)
        assert len(server.realtime.eio.sessions) == 2
        now[0] = 45
        server.realtime.close_idle(now[0])
        await idle.closed()
        await busy.send('42/echo,1["echo",{"text":"x"}]')
        await busy.expect("43/echo,1")


async def test_sockets_that_never_connect_have_a_bound() -> None:
    async with serving(bounds=Bounds(max_connections=1)) as (server, _), aiohttp.ClientSession() as http:
        statuses = []
        for _ in range(110):
            async with http.get(server.url + POLLING) as response:
                statuses.append(response.status)
        assert statuses.count(200) == server.realtime.eio.max_sessions
        assert statuses[-1] == 503


async def test_a_stopping_server_says_so(connect: Connect) -> None:
    async with serving() as (server, _):
        clients = [await connect(server, "/echo", "alice", transports=[kind]) for kind in ("websocket", "polling")]
        stopping = asyncio.create_task(server.runner.cleanup())
        for client in clients:
            reason = await client.expect("disconnecting_reason")
            assert (reason["code"], reason["close_code"], reason["reconnect"]) == ("GOING_AWAY", 1001, True)
            await client.expect("disconnect")
        async with asyncio.timeout(5):
            await stopping


async def test_clients_of_a_stopping_server_come_back_by_themselves() -> None:
    """Both kinds of stock client reconnect when the transport closes, and stay away when a namespace is ended."""
    port = free_port()
    client = socketio.AsyncClient(reconnection_delay=0.01, reconnection_delay_max=0.05)
    greeted = asyncio.Event()

    async def connected(greeting: object) -> None:
        greeted.set()

    client.on("connected", connected, namespace="/echo")
    async with serving(port=port) as (server, _):
        await client.connect(server.url, namespaces=["/echo"], auth={"token": token()}, transports=["websocket"])
        await greeted.wait()
    greeted.clear()
    async with serving(port=port):
        async with asyncio.timeout(10):
            await greeted.wait()
        await client.disconnect()


async def test_tokens_and_messages_are_not_logged(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        async with serving() as (server, _):
            secret = token("alice")
            client = await connect(server, "/echo", auth={"token": secret})
            await client.call("echo", {"text": "a private message"})
            await client.call("authenticate", {"token": secret})
    # the client under test logs too; what the server's loggers say is what counts
    lines = [record.getMessage() for record in caplog.records if "client" not in record.name] + [str(logs)]
    assert not any(each in line for line in lines for each in (secret, "private", SECRET))


async def test_plain_socketio_handlers_work_beside_namespaces() -> None:
    async with serving() as (server, _):
        realtime: RealtimeServer = server.realtime
        realtime.on("double", lambda sid, number: number * 2, namespace="/plain")
        client = Client("/plain")
        await client.connect(server.url)
        assert await client.call("double", 21) == 42
        await client.close()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_an_address_far_over_its_rate_takes_no_more_sessions(connect: Connect, transport: str) -> None:
    async with (
        serving(rates={"connects": Rate(1, 60)}, exempt_loopback=False) as (server, _),
        aiohttp.ClientSession() as http,
    ):
        for _ in range(100):
            if transport == "polling":
                async with http.get(server.url + POLLING) as response:
                    assert response.status in (200, 429)
            else:
                await http.ws_connect(server.url + WEBSOCKET)
        assert len(server.realtime.eio.sessions) <= MAX_REFUSED_PER_ADDRESS + 1
