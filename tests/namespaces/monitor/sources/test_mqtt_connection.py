from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import paho.mqtt.client
import pytest

from server.namespaces.monitor.sources.mqtt_connection import KEEPALIVE_SECONDS, LARGEST_PACKET, Connection
from tests.support.answering import answering
from tests.support.mqtt_broker import SECRET, MqttBroker

WELCOME = b"\x20\x02\x00\x00"
GRANTED = b"\x90\x03\x00\x01\x01"
TOPIC = b"\x00\x01t"


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[Connection, asyncio.Queue[tuple[str, bytes]]]]:
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    connection = Connection("atrium-test", None, None, lambda *message: heard.put_nowait(message))
    try:
        yield connection, heard
    finally:
        connection.leave()
        connection.leave()


async def test_messages_come_in_order_and_split_anyhow() -> None:
    messages = b"".join(b"\x30\x04" + TOPIC + bytes([number]) for number in b"123")

    async with (
        answering(lambda request: WELCOME if request[0] == 0x10 else b"") as port,
        connection() as (mqtt, heard),
    ):
        await mqtt.open("127.0.0.1", port, None)
        for byte in messages:
            mqtt.data_received(bytes([byte]))
        mqtt.data_received(messages)
        assert [heard.get_nowait()[1] for _ in range(6)] == [b"1", b"2", b"3"] * 2


async def test_more_topics_than_fit_into_one_request() -> None:
    async with MqttBroker() as broker, connection() as (mqtt, heard):
        await broker.publish("many/119", b"x", retain=True)
        await mqtt.open("127.0.0.1", broker.port, None)
        topics = [f"many/{number}" for number in range(120)] + [SECRET + "1"]
        assert await mqtt.subscribe(topics) == [SECRET + "1"]
        assert heard.get_nowait() == ("many/119", b"x")
        assert mqtt.attend()


async def test_leaving_is_told_to_the_broker() -> None:
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    def answer(request: bytes) -> bytes:
        seen.put_nowait(request)
        return WELCOME

    async with answering(answer) as port:
        async with connection() as (mqtt, _):
            await mqtt.open("127.0.0.1", port, None)
            await seen.get()
        assert await seen.get() == b"\xe0\x00"
        assert not mqtt.attend()
        with pytest.raises(ConnectionResetError, match="Normal disconnection"):
            await mqtt.subscribe(["t"])


GARBAGE: Mapping[str, bytes | None] = {
    "hangs up": None,
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a refusal": b"\x20\x02\x00\x05",
    "a welcome that is too short": b"\x20\x01\x00",
    "an endless length": b"\x20\xff\xff\xff\xff\xff",
    "a type that is none": b"\x00\x00",
    "a packet of 256 MB": b"\x30\xff\xff\xff\x7f",
    "a flood": b"\xff" * 100_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_broker_that_makes_no_sense(garbage: bytes | None) -> None:
    async with answering(lambda request: garbage) as port, connection() as (mqtt, _):
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(0.2):
                await mqtt.open("127.0.0.1", port, None)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x30\x05\x00\x09t",
        b"\x30\x01\x00",
        b"\x32\x04" + TOPIC + b"1",
        b"\x90\x00",
        b"\x30\x04\x00\x01\xff1",
        b"\x20\x02\x00\x05",
        b"\x30" + b"\xff\xff\xff\x7f",
    ],
)
async def test_nonsense_later_on_ends_it_or_is_passed_over(garbage: bytes) -> None:
    def answer(request: bytes) -> bytes:
        return WELCOME if request[0] == 0x10 else garbage

    async with answering(answer) as port, connection() as (mqtt, heard):
        await mqtt.open("127.0.0.1", port, None)
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(0.05):
                await mqtt.subscribe(["t"])
        assert heard.empty()


async def test_what_is_too_large_is_not_received() -> None:
    async with answering(lambda request: WELCOME) as port, connection() as (mqtt, _):
        await mqtt.open("127.0.0.1", port, None)
        mqtt.data_received(b"\x30\x81\x80\x40")
        assert not mqtt.attend()
        with pytest.raises(ConnectionResetError, match=f"a packet of {LARGEST_PACKET + 1} bytes"):
            await mqtt.subscribe(["t"])


async def test_a_broker_that_answers_no_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(paho.mqtt.client, "time_func", lambda: now)
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    def answer(request: bytes) -> bytes:
        seen.put_nowait(request)
        return WELCOME if request[0] == 0x10 else b""

    async with answering(answer) as port, connection() as (mqtt, _):
        await mqtt.open("127.0.0.1", port, None)
        await seen.get()
        assert mqtt.attend()
        now += KEEPALIVE_SECONDS
        assert mqtt.attend()
        assert await seen.get() == b"\xc0\x00"
        now += KEEPALIVE_SECONDS
        assert not mqtt.attend()


async def test_giving_up_while_it_connects() -> None:
    async with answering(lambda request: b"") as port, connection() as (mqtt, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await mqtt.open("127.0.0.1", port, None)
        mqtt.leave()
        assert len(asyncio.all_tasks()) <= 2  # the test's, the broker's
