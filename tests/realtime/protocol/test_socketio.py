"""Socket.IO v5 as its document has it, of a server that stands alone with `@on` handlers.

Source: https://socket.io/docs/v4/socket-io-protocol/ . What the document leaves open is as Node's server has it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from socketio.exceptions import ConnectionRefusedError

from tests.realtime.protocol.clients import Door, Websocket, door
from tests.realtime.protocol.server import Options, Serving, serving

SHORT = Options(host="127.0.0.1", port=0)
LONG = replace(SHORT, ping_interval=25, ping_timeout=20)

pytestmark = pytest.mark.parametrize("options", [SHORT, LONG], ids=["short", "long"])

TWO = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


@pytest_asyncio.fixture
async def server(options: Options) -> AsyncIterator[Serving]:
    async with serving(options) as server:
        yield server


@pytest_asyncio.fixture
async def at(server: Serving) -> AsyncIterator[Door]:
    async with door(server.url, "socket.io") as opened:
        yield opened


@asynccontextmanager
async def opened(at: Door) -> AsyncIterator[Websocket]:
    """An Engine.IO session that has joined no namespace."""
    async with at.websocket() as socket:
        assert (await socket.text())[0] == "0"
        yield socket


@asynccontextmanager
async def joined(at: Door) -> AsyncIterator[Websocket]:
    async with opened(at) as socket:
        await join(socket)
        yield socket


async def join(socket: Websocket, namespace: str = "", auth: str = "") -> str:
    """The Socket.IO id. The namespace ends with a comma."""
    await socket.send(f"40{namespace}{auth}")
    connect = await socket.text()
    assert connect.startswith(f"40{namespace}")
    handshake = json.loads(connect[2 + len(namespace) :])
    assert set(handshake) == {"sid"}
    assert await socket.receive() == f'42{namespace}["auth",{auth or "{}"}]'
    sid: str = handshake["sid"]
    return sid


# -- connect --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["", '{"token":"123"}'])
@pytest.mark.parametrize("namespace", ["", "/custom,"])
async def test_a_namespace_is_joined(at: Door, namespace: str, auth: str) -> None:
    """What is emitted on connecting follows the CONNECT packet."""
    async with opened(at) as socket:
        await join(socket, namespace, auth)


@pytest.mark.parametrize("namespace", ["", "/custom,"])
async def test_the_reply_to_a_connect_travels_alone(server: Serving, namespace: str) -> None:
    """The `ws` package hands over all frames of a segment at once: who awaits them one by one would miss the next."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    with closing(writer):
        writer.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b'"maxPayload":1000000}')
        packet = f"40{namespace}".encode()
        writer.write(bytes((0x81, 0x80 | len(packet), 0, 0, 0, 0)) + packet)  # masked with zeros (RFC 6455 §5.2)
        segments = [await reader.read(65_536) for _ in range(2)]
    await writer.wait_closed()
    assert [b'"sid"' in each for each in segments] == [True, False]
    assert [b'"auth"' in each for each in segments] == [False, True]


@pytest.mark.parametrize("namespace", ["", "/custom,"])
async def test_a_namespace_is_joined_by_polling(at: Door, namespace: str) -> None:
    poller = at.poller()
    await poller.open()
    assert await poller.post(f"40{namespace}") == (200, "ok")
    packets = (await poller.poll()).split("\x1e")
    while len(packets) < 2:
        packets += (await poller.poll()).split("\x1e")
    assert packets[0].startswith(f'40{namespace}{{"sid":"')
    assert packets[1:] == [f'42{namespace}["auth",{{}}]']


@pytest.mark.parametrize("connect", ["40/random", "40/random,", '40/random,{"token":"123"}'])
async def test_an_unknown_namespace_is_refused_and_no_other(at: Door, connect: str) -> None:
    async with opened(at) as socket:
        await socket.send(connect)
        assert await socket.receive() == '44/random,{"message":"Invalid namespace"}'
        await join(socket)


async def test_a_handler_refuses_and_nothing_else_is_heard_of_it(at: Door, server: Serving) -> None:
    async def refuse(sid: str, environ: dict[str, Any], auth: object) -> None:
        await server.realtime.emit("never", {}, to=sid, namespace="/closed")
        raise ConnectionRefusedError("Not today", {"code": 7})

    server.realtime.on("connect", refuse, namespace="/closed")
    async with opened(at) as socket:
        await socket.send("40/closed,")
        assert await socket.receive() == '44/closed,{"message":"Not today","data":{"code":7}}'
        await join(socket)


async def test_who_says_nothing_is_closed(options: Options) -> None:
    async with (
        serving(replace(options, connect_timeout=0.1)) as server,
        door(server.url, "socket.io") as at,
        opened(at) as silent,
        joined(at) as socket,
    ):
        answer = asyncio.create_task(socket.receive())  # answers pings meanwhile
        assert await silent.closed() in (1000, 4003)
        await socket.send('42["message",1]')
        assert await answer == '42["message-back",1]'


@pytest.mark.parametrize(
    "packet",
    [
        "4",
        "4abc",
        "41",
        '42["message",1]',
        "431[]",
        "44{}",
        "40[]",
        '40"auth"',
        '451-["message",{"_placeholder":true,"num":0}]',
    ],
)
async def test_whose_first_word_is_no_connect_is_closed(at: Door, packet: str) -> None:
    async with opened(at) as socket:
        await socket.send(packet)
        with pytest.raises(EOFError):
            await socket.receive()


# -- disconnect -----------------------------------------------------------------------------------------------------


async def test_who_leaves_the_main_namespace_may_come_again(at: Door) -> None:
    async with opened(at) as socket:
        first = await join(socket)
        await socket.send("41")
        assert await join(socket) != first


async def test_who_leaves_a_namespace_stays_in_the_others(at: Door) -> None:
    async with joined(at) as socket:
        await join(socket, "/custom,")
        await socket.send("41/custom,", '42["message","message to main namespace"]')
        assert await socket.receive() == '42["message-back","message to main namespace"]'


# -- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["", ',1,"2",{"3":[true]}', ",null", ',"€"'])
async def test_an_event(at: Door, arguments: str) -> None:
    async with joined(at) as socket:
        await socket.send(f'42["message"{arguments}]')
        assert await socket.receive() == f'42["message-back"{arguments}]'


async def test_an_event_with_attachments(at: Door) -> None:
    async with joined(at) as socket:
        await socket.send(f'452-["message",{TWO}]', b"\1\2\3", b"\4\5\6")
        assert await socket.receive() == f'452-["message-back",{TWO}]'
        assert [await socket.receive() for _ in range(2)] == [b"\1\2\3", b"\4\5\6"]


@pytest.mark.parametrize("arguments", ["", '1,"2",{"3":[false]}', "null"])
async def test_an_event_with_an_ack(at: Door, arguments: str) -> None:
    async with joined(at) as socket:
        await socket.send(f'42456["message-with-ack"{"," if arguments else ""}{arguments}]')
        assert await socket.receive() == f"43456[{arguments}]"


async def test_an_event_with_attachments_and_an_ack(at: Door) -> None:
    async with joined(at) as socket:
        await socket.send(f'452-789["message-with-ack",{TWO}]', b"\1\2\3", b"\4\5\6")
        assert await socket.receive() == f"462-789[{TWO}]"
        assert [await socket.receive() for _ in range(2)] == [b"\1\2\3", b"\4\5\6"]


async def test_an_event_that_nobody_handles_is_not_acked(at: Door) -> None:
    async with joined(at) as socket:
        await socket.send('421["unknown"]', '422["message-with-ack"]')
        assert await socket.receive() == "432[]"


async def test_a_client_acks(at: Door, server: Serving) -> None:
    async with opened(at) as socket:
        sid = await join(socket)

        async def ask(sid: str) -> None:
            await server.realtime.emit("question", to=sid, callback=answered)

        async def answered(*answer: object) -> None:
            await server.realtime.emit("thanks", answer, to=sid)

        server.realtime.on("ask", ask)
        await socket.send('42["ask"]')
        question = await socket.text()
        assert question.endswith('["question"]')
        ack_id = question.removeprefix("42").removesuffix('["question"]')
        await socket.send(f'461-{ack_id}["yes",{{"_placeholder":true,"num":0}}]', b"\1")
        assert await socket.receive() == '451-["thanks","yes",{"_placeholder":true,"num":0}]'
        assert await socket.receive() == b"\1"


@pytest.mark.parametrize(
    "packets",
    [
        ("4",),
        ("4abc",),
        ("47",),
        ("4-1",),
        ("42{}",),
        ("42[]",),
        ("42[{}]",),
        ('42"message"',),
        ('42["message"',),
        ('42abc["message-with-ack",1,"2",{"3":[false]}]',),
        ("431{}",),
        ("41{}",),
        ("44{}",),
        ("40",),
        ("40{}",),
        ('42/custom,["message"]',),
        ("41/custom,",),
        ("43/custom,1[]",),
        ("40/custom,[]",),
        ("45",),
        ('450-["message"]',),
        ('4511-["message"]',),
        ('451-["message",{"_placeholder":true,"num":5}]', b"\1"),
        ('451-["message",{"_placeholder":true,"num":-1}]', b"\1"),
        ('451-["message",{"_placeholder":true,"num":0}]', '42["message",1]'),
        (b"\1",),
    ],
)
async def test_what_is_no_packet_closes(at: Door, packets: tuple[str | bytes, ...]) -> None:
    async with joined(at) as socket:
        await socket.send(*packets)
        with pytest.raises(EOFError):
            await socket.receive()


@pytest.mark.parametrize("event", ['["connect",{},{"token":"forged"}]', '["disconnect","forged"]'])
async def test_a_client_cannot_call_what_hears_of_the_connection_itself(at: Door, server: Serving, event: str) -> None:
    reasons: list[object] = []

    def disconnect(sid: str, reason: str) -> None:
        reasons.append(reason)

    server.realtime.on("disconnect", disconnect)
    async with joined(at) as socket:
        await socket.send(f"42{event}", f"421{event}", '422["message-with-ack"]')
        assert await socket.receive() == "432[]"
        assert reasons == []
