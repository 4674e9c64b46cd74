"""Engine.IO v4 as its document has it, of a bare engine and of a Socket.IO server's alike.

Source: https://socket.io/docs/v4/engine-io-protocol/
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.realtime.protocol.clients import Door, Poller, door
from tests.realtime.protocol.server import Options, serving

SHORT = Options(host="127.0.0.1", port=0)
LONG = replace(SHORT, ping_interval=25, ping_timeout=20)

both_pings = pytest.mark.parametrize("options", [SHORT, LONG], ids=["short", "long"])
short_pings = pytest.mark.parametrize("options", [SHORT], ids=["short"])
both_paths = pytest.mark.parametrize("path", ["engine.io", "socket.io"])
bare = pytest.mark.parametrize("path", ["engine.io"])

#: What a session of either path answers at once, and how.
ECHO = {"engine.io": ("4hello", "4hello"), "socket.io": ("40/random", '44/random,{"message":"Invalid namespace"}')}

GET_WAITS = 0.05  # seconds until a poll has come to wait, which nothing shows from outside


@pytest_asyncio.fixture
async def at(options: Options, path: str) -> AsyncIterator[Door]:
    async with serving(options) as server, door(server.url, path) as opened:
        yield opened


async def waiting(poller: Poller) -> asyncio.Task[tuple[int, str]]:
    """A GET that the server holds."""
    get = asyncio.create_task(poller.get())
    await asyncio.sleep(GET_WAITS)
    return get


# -- handshake ------------------------------------------------------------------------------------------------------


@both_pings
@both_paths
async def test_a_session_opens_by_polling(at: Door, options: Options) -> None:
    handshake = await at.poller().open()
    assert isinstance(handshake.pop("sid"), str)
    assert handshake == {
        "upgrades": ["websocket"],
        "pingInterval": options.ping_interval * 1000,
        "pingTimeout": options.ping_timeout * 1000,
        "maxPayload": 1_000_000,
    }


@both_pings
@both_paths
async def test_a_session_opens_by_websocket(at: Door, options: Options) -> None:
    async with at.websocket() as socket:
        packet = await socket.text()
    assert packet[0] == "0"
    handshake = json.loads(packet[1:])
    assert isinstance(handshake.pop("sid"), str)
    assert handshake == {
        "upgrades": [],
        "pingInterval": options.ping_interval * 1000,
        "pingTimeout": options.ping_timeout * 1000,
        "maxPayload": 1_000_000,
    }


@both_pings
@both_paths
@pytest.mark.parametrize("query", ["transport={}", "EIO=abc&transport={}", "EIO=3&transport={}"])
async def test_another_version_is_refused(at: Door, query: str) -> None:
    status, body = await at.poller(query.format("polling")).get()
    assert (status, json.loads(body)) == (400, {"code": 5, "message": "Unsupported protocol version"})
    assert await at.refusal(query.format("websocket")) == 400


@both_pings
@both_paths
@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
async def test_another_transport_is_refused(at: Door, query: str) -> None:
    status, body = await at.poller(query).get()
    assert (status, json.loads(body)) == (400, {"code": 0, "message": "Transport unknown"})
    assert await at.refusal(query) == 400


@both_pings
@both_paths
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_only_get_opens_a_session(at: Door, method: str) -> None:
    status, body = await at.poller().request(method)
    assert (status, json.loads(body)) == (400, {"code": 2, "message": "Bad handshake method"})


# -- messages -------------------------------------------------------------------------------------------------------


@both_pings
@bare
@pytest.mark.parametrize(
    "payload", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4€\x1e4\U0001f600"]
)
async def test_messages_by_polling(at: Door, payload: str) -> None:
    poller = at.poller()
    await poller.open()
    assert await poller.post(payload) == (200, "ok")
    assert await poller.poll() == payload


@both_pings
@bare
@pytest.mark.parametrize("message", ["4hello", "4€", b"\x01\x02\x03\x04", b""])
async def test_messages_by_websocket(at: Door, message: str | bytes) -> None:
    async with at.websocket() as socket:
        await socket.receive()
        await socket.send(message)
        assert await socket.receive() == message


@both_pings
@bare
async def test_bytes_may_come_as_base64_by_websocket_too(at: Door) -> None:
    """A client that was told `forceBase64` sends them so whatever its transport."""
    async with at.websocket() as socket:
        await socket.receive()
        await socket.send("bAQIDBA==")
        assert await socket.receive() == b"\x01\x02\x03\x04"


@both_pings
@both_paths
async def test_what_is_no_packet_closes_by_polling(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    assert (await poller.post("abc"))[0] == 400
    assert await poller.get() == (400, '{"code":1,"message":"Session ID unknown"}')


@both_pings
@both_paths
@pytest.mark.parametrize("packet", ["abc", "", "b?", "9"])
async def test_what_is_no_packet_closes_by_websocket(at: Door, packet: str) -> None:
    async with at.websocket() as socket:
        await socket.receive()
        await socket.send(packet)
        assert await socket.closed() == 1002


@both_pings
@both_paths
async def test_a_payload_over_the_limit_is_413_without_a_body(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    assert await poller.post("4" + "x" * 1_000_000) == (413, "")
    assert (await poller.get())[0] == 400


@both_pings
@both_paths
async def test_a_frame_over_the_limit_closes(at: Door) -> None:
    async with at.websocket() as socket:
        await socket.receive()
        await socket.send("4" + "x" * 1_000_000)
        assert await socket.closed() == 1009


@both_pings
@both_paths
async def test_a_second_poll_closes_the_session(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    first = await waiting(poller)
    assert (await poller.get())[0] == 400
    assert await first == (200, "1")
    assert (await poller.get())[0] == 400


@both_pings
@both_paths
async def test_a_poll_that_is_given_up_closes_the_session(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    get = await waiting(poller)
    get.cancel()
    assert (await poller.get())[0] == 400


# -- heartbeat ------------------------------------------------------------------------------------------------------


@short_pings
@both_paths
async def test_pings_by_polling(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    for _ in range(3):
        assert await poller.get() == (200, "2")
        assert await poller.post("3") == (200, "ok")


@pytest.mark.parametrize("options", [replace(SHORT, connect_timeout=60)], ids=["short"])
@both_paths
async def test_pings_by_websocket(at: Door) -> None:
    async with at.websocket() as socket:
        await socket.receive()
        for _ in range(3):
            assert await socket.frame() == "2"
            await socket.send("3")


@short_pings
@both_paths
async def test_a_poller_that_answers_no_ping_is_closed(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    assert await poller.get() == (200, "2")
    assert await poller.get() == (200, "1")
    assert (await poller.get())[0] == 400


@both_pings
@both_paths
async def test_a_poller_that_stays_away_is_closed(options: Options, path: str) -> None:
    clock = [0.0]
    async with serving(options, clock=lambda: clock[0]) as server, door(server.url, path) as opened:
        poller = opened.poller()
        await poller.open()
        for passed in (options.ping_interval, options.ping_timeout):
            clock[0] += passed
            server.engine.beat()
            server.realtime.eio.beat()
        assert (await poller.get())[0] == 400


@short_pings
@both_paths
async def test_a_websocket_that_answers_no_ping_is_closed(at: Door) -> None:
    async with at.websocket() as socket:
        assert await socket.closed() == 4003


# -- close ----------------------------------------------------------------------------------------------------------


@both_pings
@both_paths
async def test_a_goodbye_by_polling_ends_the_poll_that_waits(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    get = await waiting(poller)
    assert await poller.post("1") == (200, "ok")
    assert await get == (200, "6")
    assert (await poller.get())[0] == 400


@both_pings
@both_paths
async def test_a_goodbye_by_websocket_closes_it(at: Door) -> None:
    async with at.websocket() as socket:
        await socket.receive()
        await socket.send("1")
        assert await socket.closed() == 1000


# -- upgrade --------------------------------------------------------------------------------------------------------


@both_pings
@both_paths
async def test_a_session_goes_over_to_websocket(at: Door, path: str) -> None:
    say, answer = ECHO[path]
    poller = at.poller()
    await poller.open()
    async with at.websocket(poller.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert await poller.get() == (200, "6")
        await socket.send("5", say)
        assert await socket.receive() == answer


@both_pings
@both_paths
async def test_a_poll_that_waits_for_the_probe_ends(at: Door) -> None:
    poller = at.poller()
    await poller.open()
    get = await waiting(poller)
    async with at.websocket(poller.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert await get == (200, "6")


@both_pings
@both_paths
async def test_what_waits_goes_over_with_the_session(at: Door, path: str) -> None:
    say, answer = ECHO[path]
    poller = at.poller()
    await poller.open()
    async with at.websocket(poller.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert await poller.post(say) == (200, "ok")
        await socket.send("5")
        assert await socket.receive() == answer


@both_pings
@both_paths
@pytest.mark.parametrize("head_start", [0, 0.02])
async def test_polling_is_over_after_the_upgrade(at: Door, path: str, head_start: float) -> None:
    """At once, and whichever of its two sockets the server reads first: a poll that waits by then takes nothing."""
    say, answer = ECHO[path]
    poller = at.poller()
    await poller.open()
    async with at.websocket(poller.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        get = asyncio.create_task(poller.get())
        await asyncio.sleep(head_start)
        await socket.send("5", say)
        assert (await get)[0] == 400
        assert await socket.receive() == answer


@both_pings
@both_paths
async def test_a_second_websocket_is_closed_after_the_upgrade(at: Door, path: str) -> None:
    say, answer = ECHO[path]
    poller = at.poller()
    await poller.open()
    async with at.websocket(poller.sid) as socket:
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        await socket.send("5")
        async with at.websocket(poller.sid) as second:
            await second.closed()
        await socket.send(say)
        assert await socket.receive() == answer


@both_pings
@both_paths
async def test_a_session_that_began_by_websocket_takes_no_other(at: Door, path: str) -> None:
    say, answer = ECHO[path]
    async with at.websocket() as socket:
        sid = json.loads((await socket.text())[1:])["sid"]
        async with at.websocket(sid) as second:
            await second.closed()
        assert (await at.poller(f"EIO=4&transport=polling&sid={sid}").get())[0] == 400
        await socket.send(say)
        assert await socket.receive() == answer
