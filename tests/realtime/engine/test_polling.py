"""Long polling from outside, by the cases of the protocol's description."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.support.echo import serving
from tests.support.raw import POLLING, WEBSOCKET
from tests.support.running import Running, token

CONNECT = f'40/echo,{{"token":"{token()}"}}'


class Poller:
    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def open(self) -> str:
        status, body = await self.get()
        assert status == 200
        handshake = json.loads(body[1:])
        self.url += f"&sid={handshake['sid']}"
        return str(handshake["sid"])

    async def get(self) -> tuple[int, str]:
        async with self.http.get(self.url) as response:
            return response.status, await response.text()

    async def post(self, body: str) -> tuple[int, str]:
        async with self.http.post(self.url, data=body) as response:
            return response.status, await response.text()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Running]:
    async with serving() as (running, _):
        yield running


@pytest_asyncio.fixture
async def poller(server: Running) -> AsyncIterator[Poller]:
    async with aiohttp.ClientSession() as http:
        yield Poller(http, server.url + POLLING)


async def test_the_handshake(poller: Poller) -> None:
    status, body = await poller.get()
    assert (status, body[0]) == (200, "0")
    handshake = json.loads(body[1:])
    assert set(handshake) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
    assert (handshake["upgrades"], handshake["pingInterval"], handshake["maxPayload"]) == (
        ["websocket"],
        20_000,
        65_536,
    )


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", "?EIO=4", 0),
        ("GET", "?EIO=4&transport=abc", 0),
        ("GET", "?transport=polling", 5),
        ("GET", "?EIO=abc&transport=polling", 5),
        ("POST", "?EIO=4&transport=polling", 2),
        ("PUT", "?EIO=4&transport=polling", 2),
        ("GET", "?EIO=4&transport=polling&sid=unknown", 1),
        ("GET", "?EIO=4&transport=websocket", 3),
    ],
)
async def test_refusals_are_json_with_the_protocols_code(
    server: Running, poller: Poller, method: str, query: str, code: int
) -> None:
    async with poller.http.request(method, f"{server.url}/socket.io/{query}") as response:
        assert response.status == 400
        body = await response.json()
    assert body["code"] == code
    assert body["message"]


async def test_messages_both_ways(poller: Poller) -> None:
    await poller.open()
    assert await poller.post(CONNECT) == (200, "ok")
    first = (await poller.get())[1]
    assert first.startswith('40/echo,{"sid"')
    await poller.post('42/echo,7["echo",{"text":"x"}]')
    assert (await poller.get())[1] == '43/echo,7[{"ok":true,"text":"x"}]'


@pytest.mark.parametrize("body", ["abc", "", "4a\x1e\x1e4b"])
async def test_what_is_not_a_payload_ends_the_session(server: Running, poller: Poller, body: str) -> None:
    await poller.open()
    assert (await poller.post(body))[0] == 400
    assert (await poller.get())[0] == 400
    assert server.realtime.eio.sessions == {}


async def test_a_second_poll_ends_the_session_and_both(poller: Poller) -> None:
    await poller.open()
    first = asyncio.create_task(poller.get())
    await asyncio.sleep(0.05)  # until it waits, which nothing shows from outside
    assert (await poller.get())[0] == 400
    assert await first == (200, "1")
    assert (await poller.get())[0] == 400


async def test_a_poll_that_was_given_up_ends_the_session(poller: Poller) -> None:
    await poller.open()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(poller.get(), 0.05)
    assert (await poller.get())[0] == 400


async def test_a_poll_whose_client_is_gone_takes_nothing_and_ends_the_session() -> None:
    async with serving() as (server, namespace), aiohttp.ClientSession() as http:
        poller = Poller(http, server.url + POLLING)
        await poller.open()
        await poller.post(CONNECT)
        await poller.get()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poller.get(), 0.05)
        await asyncio.sleep(0.05)  # until the server sees the connection go
        await namespace.emit("lost", {}, room="everyone")
        await namespace.gone_event.wait()
        assert namespace.gone_reasons == ["transport close"]
        assert server.realtime.eio.sessions == {}


async def test_a_silent_websocket_does_not_make_polling_spin(server: Running, poller: Poller) -> None:
    sid = await poller.open()
    async with poller.http.ws_connect(f"{server.url}{WEBSOCKET}&sid={sid}") as socket:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poller.get(), 0.1)
        await socket.close()


async def test_while_upgrading_polls_come_back_at_a_pace_and_empty(server: Running, poller: Poller) -> None:
    sid = await poller.open()
    await poller.post(CONNECT)
    await poller.get()
    async with poller.http.ws_connect(f"{server.url}{WEBSOCKET}&sid={sid}") as socket:
        await socket.send_str("2probe")
        await socket.receive_str()
        await poller.post('42/echo,7["echo",{"text":"x"}]')
        assert [await poller.get() for _ in range(2)] == [(200, "6")] * 2
        await socket.send_str("5")
        assert "43/echo,7" in await socket.receive_str()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("bé", {}),
        ("4" + "x" * 70_000, {}),
        ("garbage", {"Content-Encoding": "gzip"}),
    ],
)
async def test_an_unreadable_post_ends_the_session(
    server: Running, poller: Poller, body: str, headers: dict[str, str]
) -> None:
    await poller.open()
    async with poller.http.post(poller.url, data=body.encode(), headers=headers) as response:
        assert response.status in (400, 413)
    assert server.realtime.eio.sessions == {}


async def test_a_post_cut_short_ends_the_session(server: Running, poller: Poller) -> None:
    await poller.open()
    _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    path = poller.url.removeprefix(server.url)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4ab".encode())
    await writer.drain()
    await asyncio.sleep(0.05)  # until it is being read
    writer.transport.abort()
    assert (await poller.get())[0] == 200  # its last poll is told
    assert (await poller.get())[0] == 400


async def test_packets_behind_a_goodbye_are_not_handled() -> None:
    async with serving() as (server, namespace), aiohttp.ClientSession() as http:
        poller = Poller(http, server.url + POLLING)
        await poller.open()
        await poller.post(CONNECT)
        await poller.post('42/echo,["note",{"number":1}]\x1e1\x1e42/echo,["note",{"number":2}]')
        await namespace.gone_event.wait()
        assert namespace.order == [1]


async def test_a_goodbye_ends_the_waiting_poll(server: Running, poller: Poller) -> None:
    await poller.open()
    waiting = asyncio.create_task(poller.get())
    await asyncio.sleep(0.05)  # until it waits
    assert await poller.post("1") == (200, "ok")
    assert await waiting == (200, "6")
    assert server.realtime.eio.sessions == {}


async def test_a_poller_is_pinged_and_given_up() -> None:
    async with (
        serving(ping_interval=0.1, ping_timeout=0.1, most_missed_pongs=1) as (server, _),
        aiohttp.ClientSession() as http,
    ):
        alive, silent = Poller(http, server.url + POLLING), Poller(http, server.url + POLLING)
        await alive.open()
        await silent.open()
        for _ in range(4):
            assert await alive.get() == (200, "2")
            await alive.post("3")
        assert (await silent.get())[0] == 400
        assert len(server.realtime.eio.sessions) == 1


async def test_after_the_upgrade_polling_is_over(server: Running, poller: Poller) -> None:
    sid = await poller.open()
    async with poller.http.ws_connect(f"{server.url}{WEBSOCKET}&sid={sid}") as socket:
        waiting = asyncio.create_task(poller.get())
        await asyncio.sleep(0.05)  # until it waits
        await socket.send_str("2probe")
        assert await socket.receive_str() == "3probe"
        assert await waiting == (200, "6")
        await socket.send_str("5")
        await socket.send_str(CONNECT)
        assert (await socket.receive_str()).startswith("40/echo,")
        assert (await poller.get())[0] == 400
        assert (await poller.post("4"))[0] == 400
        async with poller.http.ws_connect(f"{server.url}{WEBSOCKET}&sid={sid}") as second:
            assert (await second.receive()).type is aiohttp.WSMsgType.CLOSE
        await socket.send_str('42/echo,1["echo",{"text":"still here"}]')
        while not (said := await socket.receive_str()).startswith("43"):
            pass
        assert "still here" in said


@pytest.mark.parametrize("wrong", ["2", "4hello", "2prob", None])
async def test_a_probe_that_fails_leaves_the_session_polling(
    server: Running, poller: Poller, wrong: str | None
) -> None:
    sid = await poller.open()
    await poller.post(CONNECT)
    await poller.get()
    async with poller.http.ws_connect(f"{server.url}{WEBSOCKET}&sid={sid}") as socket:
        await socket.send_str("2probe" if wrong is None else wrong)
        if wrong is None:
            await socket.receive_str()
        else:
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    await poller.post('42/echo,7["echo",{"text":"x"}]')
    texts = [(await poller.get())[1]]
    while "43/echo,7" not in texts[-1]:
        texts.append((await poller.get())[1])
    assert len(texts) < 10


async def test_messages_of_bytes(server: Running, poller: Poller) -> None:
    await poller.open()
    await poller.post(CONNECT)
    await poller.get()
    await poller.post('451-/echo,3["any",{"value":{"_placeholder":true,"num":0}}]\x1ebAQIDBA==')
    assert "INVALID_MESSAGE" in (await poller.get())[1]  # it arrived whole, and /echo takes no bytes
