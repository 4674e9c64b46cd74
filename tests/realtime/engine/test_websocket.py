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
        serving(ping_interval=0.02, ping_timeout=0.5, most_missed_pongs=1) as (server, _),
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
