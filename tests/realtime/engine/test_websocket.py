from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog
import wsproto
from wsproto import events
from wsproto.extensions import PerMessageDeflate

from server.realtime.engine import websocket
from server.realtime.engine.outbox import Outbox
from server.realtime.engine.session import Session
from server.realtime.engine.websocket import Websocket
from server.realtime.link import Link, Member
from server.realtime.server import Bounds
from server.realtime.workers import MAX_WAITING, Inbox
from tests.conftest import Connect
from tests.realtime.inherited.client_frames import CLOSE, PING, PONG, TEXT, masked
from tests.realtime.inherited.wire import Wire, eventually, wire
from tests.support.client import PATIENCE
from tests.support.echo import serving
from tests.support.process import ROOT, running
from tests.support.raw import WEBSOCKET, RawSocket, raw_socket
from tests.support.running import token

CLIENTS = ROOT / "tests/clients"

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
        sent = 0
        while len(session.outbox) < 10:
            await namespace.emit("last", {"text": "x" * 10_000}, room="everyone")
            sent += 1
            await asyncio.sleep(0)
        server.realtime.eio.close(session.id, 1001)
        connection.transport.resume_reading()  # type: ignore[attr-defined]
        heard = [message async for message in slow]
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


# -- frames, by hand ----------------------------------------------------------------------------------------------


async def test_a_ping_is_answered_with_its_body() -> None:
    async with serving() as (server, _), wire(server.url) as one:
        await one.receive()
        one.writer.write(masked(b"are you there?", opcode=PING))
        async with asyncio.timeout(PATIENCE):
            assert await one.reader.readexactly(16) == b"\x8a\x0eare you there?"


@pytest.mark.parametrize(("body", "answer"), [(b"", 1000), (b"\x03\xe8", 1000), (b"\x0f\xa1bye", 4001)])
async def test_a_close_is_answered_and_ends_the_session(body: bytes, answer: int) -> None:
    async with serving() as (server, namespace), wire(server.url) as one:
        await one.join()
        one.writer.write(masked(body, opcode=CLOSE) + masked('42/echo,["note",{"number":1}]'))
        assert await one.ended() == answer
        assert await one.reader.read() == b""
        await namespace.gone_event.wait()
        assert (namespace.gone_reasons, namespace.order) == (["transport close"], [])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        (masked("x", opcode=3), 1002),
        (masked("x", opcode=0), 1002),
        (b"\xc1" + masked("4x")[1:], 1002),  # deflate was not agreed on
        (masked("4\udcff".encode(errors="surrogateescape"), opcode=TEXT), 1007),
        (masked("7"), 1002),
        (masked("4" + "x" * 70_000), 1009),
        (masked("4" + "x" * 700_000), 1009),
        (masked(b"\x00\x01", opcode=CLOSE), 1002),
    ],
)
async def test_what_breaks_the_protocol_ends_it_with_a_code_and_nobody_else(data: bytes, code: int) -> None:
    async with serving() as (server, namespace), wire(server.url) as bystander, wire(server.url) as one:
        await bystander.join("bob")
        await one.join()
        one.writer.write(data + masked('42/echo,["note",{"number":1}]'))
        assert await one.ended() == code
        await namespace.gone_event.wait()
        assert namespace.order == []
        await bystander.send('42/echo,1["echo",{"text":"x"}]')
        await bystander.expect("43/echo,1")


async def test_who_does_not_answer_a_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_SECONDS", 0.01)
    async with serving() as (server, _), wire(server.url) as one:
        await one.join()
        [session] = server.realtime.eio.sessions.values()
        session.end("server disconnect")
        assert await one.ended() == 1000
        await eventually(lambda: not server.realtime.eio._websockets)


@asynccontextmanager
async def reading_nothing() -> AsyncIterator[tuple[Wire, Websocket]]:
    """A client that stopped reading, with more for it than its kernel takes."""
    async with serving() as (server, namespace), wire(server.url) as one:
        await one.join()
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        [kept] = server.realtime.eio._websockets
        while not kept._transport.get_write_buffer_size():
            await namespace.emit("last", {"text": "x" * 100_000}, room="everyone")
            await asyncio.sleep(0)
        yield one, kept
        await eventually(lambda: not server.realtime.eio._websockets)


async def test_who_closes_its_half_and_never_reads_the_rest_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel would answer ours for ever: the window is still full."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_SECONDS", 0.01)
    async with reading_nothing() as (one, kept):
        one.writer.write_eof()
        await eventually(lambda: kept._transport.is_closing() and not kept._transport.get_write_buffer_size())


async def test_a_connection_that_is_lost_in_the_turn_in_which_it_would_be_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is thrown: `no_lost_exceptions` would say so."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_SECONDS", 0)
    async with reading_nothing() as (_, kept):
        transport: Any = kept._transport

        def the_last_byte_leaves() -> None:
            transport._buffer.clear()
            transport._call_connection_lost(None)

        asyncio.get_running_loop().call_later(0, the_last_byte_leaves)
        kept.close(1000)
        transport.close()


async def test_a_fault_of_our_own_closes_with_1011_and_is_logged() -> None:
    async with serving() as (server, _), wire(server.url) as one:
        await one.receive()
        for handler in (_raise, _raise_later):
            server.realtime.eio.on("message", handler)
            async with wire(server.url) as one:
                with structlog.testing.capture_logs() as logs:
                    await one.send("4x")
                    assert await one.ended() == 1011
                assert [entry["event"] for entry in logs] == ["message failed"]


def _raise(session: Session, data: str | bytes) -> None:
    raise RuntimeError


async def _raise_later(session: Session, data: str | bytes) -> None:
    await asyncio.sleep(0)
    raise RuntimeError


async def test_many_messages_at_once_let_others_have_their_turn() -> None:
    taken: list[str | bytes] = []
    before_others: list[int] = []
    done = asyncio.Event()

    def take(session: Session, data: str | bytes) -> None:
        if not taken:
            asyncio.get_running_loop().call_soon(lambda: before_others.append(len(taken)))
        taken.append(data)
        if data == "last":
            done.set()

    async with serving() as (server, _), wire(server.url) as one:
        await one.receive()
        server.realtime.eio.on("message", take)
        one.writer.write(masked("4x") * 5000 + masked("4last"))
        await done.wait()
    assert len(taken) == 5001
    assert 0 < before_others[0] <= websocket.MESSAGES_A_TURN


async def test_nothing_is_read_while_a_message_is_handled() -> None:
    async with serving() as (server, namespace), wire(server.url) as one:
        await one.join()
        [peer] = server.realtime.eio._websockets
        await one.send(*['42/echo,["wait",{"number":1}]'] * (MAX_WAITING + 2))
        await eventually(lambda: not peer._transport.is_reading())
        namespace.gate.set()
        await one.send('42/echo,1["echo",{"text":"x"}]')
        await one.expect("43/echo,1")
        assert peer._transport.is_reading()


async def test_frames_right_behind_the_request_are_read() -> None:
    async with serving() as (server, _):
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(
            f"GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            + masked(CONNECT)
        )
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b'42/echo,["connected"')
        writer.close()


async def test_frames_that_say_nothing_let_others_have_their_turn() -> None:
    async with serving() as (server, _), wire(server.url) as one:
        await one.receive()
        [peer] = server.realtime.eio._websockets
        peer.data_received(masked(b"", opcode=PONG) * 1000)
        assert peer._busy, "the rest waits for the next turn"
        await one.join()


# -- other people's clients, with deflate --------------------------------------------------------------------------

TEXTS = ["안녕 " * 700 + "end", "".join(f"line {number}\n" for number in range(40_000))]  # 5 KB, 500 KB
LARGE = Bounds(message_bytes=1_000_000)


def asking(number: int, text: str) -> str:
    return f"42/echo,{number}{json.dumps(['any', {'value': text}], ensure_ascii=False)}"


async def test_aiohttps_client() -> None:
    async with (
        serving(bounds=LARGE) as (server, _),
        aiohttp.ClientSession() as http,
        http.ws_connect(server.url + WEBSOCKET, compress=15, max_msg_size=0) as socket,
    ):
        assert socket.compress == 15
        raw = RawSocket(socket)
        await raw.send(CONNECT)
        await raw.expect("42/echo,")
        for number, text in enumerate(TEXTS):
            await raw.send(asking(number, text))
            [reply] = json.loads((await raw.expect(f"43/echo,{number}["))[len("43/echo,0") :])
            assert reply["value"] == text


WS = """
const WebSocket = require("ws");
const texts = ["안녕 ".repeat(700), Array.from({ length: 40_000 }, (_, index) => `line ${index}`).join()];
const socket = new WebSocket(process.env.URL);
const ask = (number) => socket.send(`42/echo,${number}` + JSON.stringify(["any", { value: texts[number] }]));
socket.on("open", () => console.log(socket.extensions));
socket.on("message", (data) => {
  const [head, kind, id] = /^(\\d+)(?:.echo,)?(\\d*)/.exec(data);
  if (kind === "0") socket.send(process.env.CONNECT);
  else if (head === "42/echo,") ask(0);
  else if (id) {
    console.log(JSON.parse(data.toString().slice(head.length))[0].value === texts[id]);
    if (Number(id) + 1 < texts.length) ask(Number(id) + 1);
    else socket.close(1000);
  }
});
socket.on("close", (code) => console.log(code));
"""


async def test_nodes_ws() -> None:
    async with serving(bounds=LARGE) as (server, _):
        url = server.url.replace("http", "ws") + WEBSOCKET
        async with running("node", "-e", WS, cwd=CLIENTS, URL=url, CONNECT=CONNECT) as node:
            assert await node.finish() == 0, node.output
        assert node.output.splitlines() == ["permessage-deflate", "true", "true", "1000"]


async def test_wsproto() -> None:
    """python-socketio's own dependency for clients, another reading of both RFCs."""
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    deflate = PerMessageDeflate()
    texts = dict(enumerate(TEXTS))
    async with serving(bounds=LARGE) as (server, _):
        host = server.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(client.send(events.Request(host, WEBSOCKET, extensions=[deflate])))
        message = ""
        while texts:
            client.receive_data(await reader.read(65_536))
            for each in client.events():
                if not isinstance(each, events.TextMessage):
                    assert isinstance(each, events.AcceptConnection)
                    writer.write(client.send(events.TextMessage(CONNECT)))
                    continue
                message += each.data
                if not each.message_finished:
                    continue
                if message.startswith("42/echo,"):
                    writer.write(b"".join(client.send(events.TextMessage(asking(*item))) for item in texts.items()))
                elif message.startswith("43/echo,"):
                    [reply] = json.loads(message[len("43/echo,0") :])
                    assert reply["value"] == texts.pop(int(message[len("43/echo,")]))
                message = ""
        assert deflate.enabled()
        writer.write(client.send(events.CloseConnection(1000)))
        client.receive_data(await reader.read())
        assert [type(each) for each in client.events()] == [events.CloseConnection]
        writer.close()


async def test_a_connection_that_ended_needs_no_collector() -> None:
    def alive() -> list[object]:
        kinds = (Session, Outbox, Websocket, Link, Member, Inbox)
        return [each for each in gc.get_objects() if isinstance(each, kinds)]

    gc.collect()
    before = len(alive())
    gc.disable()
    try:
        async with serving() as (server, namespace):
            async with raw_socket(server.url) as raw:
                await raw.send(CONNECT)
                await raw.expect("40/echo,")
                await raw.send('42/echo,1["echo",{"text":"x"}]')
                await raw.expect("43/echo,1")
                assert len(alive()) == before + 6
            await namespace.gone_event.wait()
            await eventually(lambda: len(alive()) == before)
    finally:
        gc.enable()
