from __future__ import annotations

import asyncio

import aiohttp
import pytest

from server.realtime.server import Bounds
from tests.conftest import Connect
from tests.support.echo import serving
from tests.support.raw import WEBSOCKET, raw_socket
from tests.support.running import token

CONNECT = f'40/echo,{{"token":"{token()}"}}'


async def test_who_does_not_answer_pings_is_closed_with_4003() -> None:
    async with (
        serving(ping_interval=0.05, ping_timeout=0.02, most_missed_pongs=3) as (server, namespace),
        raw_socket(server.url) as raw,
    ):
        await raw.send(CONNECT)
        await raw.expect("40/echo,")
        for _ in range(3):
            await raw.expect("2")
        assert await raw.closed() == 4003
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["ping timeout"]


async def test_who_answers_them_stays() -> None:
    async with (
        serving(ping_interval=0.02, ping_timeout=60, most_missed_pongs=1) as (server, _),
        raw_socket(server.url) as raw,
    ):
        for _ in range(5):
            await raw.expect("2")
            await raw.send("3")
        await raw.send(CONNECT)
        await raw.expect("40/echo,")


async def test_a_goodbye_closes(connect: Connect) -> None:
    async with serving() as (server, namespace), raw_socket(server.url) as raw:
        await raw.send(CONNECT)
        await raw.expect("40/echo,")
        await raw.send("1")
        assert await raw.closed() == 1000
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["client disconnect"]


async def test_a_reader_that_never_reads_is_closed_and_the_others_hear_everything(connect: Connect) -> None:
    bounds = Bounds(outbox_bytes=256 * 1024, outbox_messages=100_000)
    async with serving(bounds=bounds) as (server, namespace), aiohttp.ClientSession() as http:
        listener = await connect(server, "/echo", "bob")
        async with http.ws_connect(server.url + WEBSOCKET, max_msg_size=0) as stuck:
            await stuck.send_str(CONNECT)
            await stuck.receive_str()
            assert stuck._response.connection is not None
            stuck._response.connection.transport.pause_reading()  # type: ignore[union-attr]
            while len(namespace.connections) < 2:  # noqa: ASYNC110 - its CONNECT is on the way
                await asyncio.sleep(0.01)
            count = 0
            while len(namespace.connections) == 2:
                await namespace.emit("flood", {"text": "x" * 10_000, "count": count}, room="everyone")
                count += 1
                await asyncio.sleep(0)
                assert count < 5000
            await listener.expect("flood", lambda payload: payload["count"] == count - 1)
            assert [payload["count"] for payload in listener.payloads("flood")] == list(range(count))
            assert namespace.gone_reasons == ["transport error"]
            stuck._response.connection.transport.abort()  # type: ignore[union-attr]


@pytest.mark.parametrize("transport", ["upgrade"])
async def test_nothing_is_lost_or_doubled_while_clients_upgrade(connect: Connect, transport: str) -> None:
    async with serving() as (server, namespace):
        sending = True

        async def traffic() -> int:
            count = 0
            while sending:
                await namespace.emit("beat", {"count": count}, room="everyone")
                count += 1
                await asyncio.sleep(0.001)
            return count

        flow = asyncio.create_task(traffic())
        clients = [await connect(server, "/echo", "alice", transports=["polling", "websocket"]) for _ in range(10)]
        for client in clients:
            for _ in range(50):
                await client.expect("beat")
        sending = False
        count = await flow
        for client in clients:
            await client.settle()
            beats = [payload["count"] for payload in client.payloads("beat")]
            assert beats == list(range(beats[0], count))
            assert client.sio.eio.transport() == "websocket"


async def test_a_client_that_is_gone_before_its_websocket_opens_leaves_nothing() -> None:
    async with serving(bounds=Bounds(max_connections=10)) as (server, _), aiohttp.ClientSession() as http:
        port = int(server.url.rpartition(":")[2])
        request = (
            f"GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        for _ in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request.encode())
            await asyncio.sleep(0)
            writer.transport.abort()
        async with http.ws_connect(server.url + WEBSOCKET, headers={"Sec-WebSocket-Version": "13"}) as socket:
            assert (await socket.receive_str()).startswith("0{")
            assert len(server.realtime.eio.sessions) == 1


async def test_what_was_sent_before_the_end_arrives_before_it_also_at_a_slow_reader() -> None:
    async with (
        serving() as (server, namespace),
        aiohttp.ClientSession() as http,
        http.ws_connect(server.url + WEBSOCKET, max_msg_size=0) as slow,
    ):
        await slow.send_str(CONNECT)
        await slow.receive_str()
        connection = slow._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()  # type: ignore[attr-defined]
        while not namespace.connections:  # noqa: ASYNC110 - its CONNECT is on the way
            await asyncio.sleep(0.01)
        [session] = server.realtime.eio.sessions.values()
        transport = session.outbox._transport
        assert transport is not None
        sent = 0
        while transport.get_write_buffer_size() < 100_000:
            await namespace.emit("last", {"text": "x" * 10_000}, room="everyone")
            sent += 1
            await asyncio.sleep(0)
        ending = asyncio.create_task(server.realtime.eio.close(session.id, 1001))
        await asyncio.sleep(0.05)
        connection.transport.resume_reading()  # type: ignore[attr-defined]
        heard = [message async for message in slow]
        await ending
        assert sum('"last"' in str(message.data) for message in heard) == sent
        assert slow.close_code == 1001


async def test_a_client_whose_pong_waits_behind_its_own_work_is_not_given_up() -> None:
    async with (
        serving(ping_interval=0.05, ping_timeout=0.05, most_missed_pongs=1) as (server, namespace),
        raw_socket(server.url) as raw,
    ):
        await raw.send(CONNECT)
        await raw.expect("40/echo,")
        for number in range(70):  # more than an inbox holds
            await raw.send(f'42/echo,["wait",{{"number":{number}}}]')
        for _ in range(4):
            await raw.expect("2")
            await raw.send("3")
        namespace.gate.set()
        await raw.send('42/echo,1["echo",{"text":"still here"}]')
        await raw.expect("43/echo,1")


async def test_a_flood_of_control_frames_is_answered_and_lets_others_run(connect: Connect) -> None:
    async with serving() as (server, _), aiohttp.ClientSession() as http:
        bystander = await connect(server, "/echo", "bob")
        async with http.ws_connect(server.url + WEBSOCKET, autoping=False) as flooder:
            await flooder.receive_str()
            for _ in range(1000):
                await flooder.ping(b"x")
            assert (await bystander.call("echo", {"text": "x"}))["ok"]
            assert (await flooder.receive()).type is aiohttp.WSMsgType.PONG


async def test_an_empty_attachment_is_an_attachment() -> None:
    async with serving() as (server, _), raw_socket(server.url) as raw:
        await raw.send(CONNECT)
        await raw.expect("40/echo,")
        await raw.send('451-/echo,1["any",{"value":{"_placeholder":true,"num":0}}]')
        await raw.send(b"")
        assert "INVALID_MESSAGE" in await raw.expect("43/echo,1")
