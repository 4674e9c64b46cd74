"""PYTHON-SOCKETIO.md §3 and §4: upgrades that die half way, and upgrades while the server talks at full speed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.realtime.server import Bounds
from tests.realtime.inherited.wire import (
    connect_packet,
    eventually,
    leaving_nothing,
    poller,
    wire,
)
from tests.support.client import PATIENCE
from tests.support.echo import EchoNamespace, serving
from tests.support.process import running
from tests.support.raw import WEBSOCKET
from tests.support.running import token

ROUNDS = 50
ROOMY = Bounds(outbox_messages=1_000_000, outbox_bytes=100_000_000)  # polls take less than comes, until the upgrade
BEAT = '42/echo,["beat"'


@pytest.mark.parametrize("said", [[], ["2probe"]])
async def test_a_websocket_that_dies_half_way_leaves_the_session_polling_at_once(said: list[str]) -> None:
    async with serving() as (server, namespace), leaving_nothing(server), poller(server.url) as one:
        await one.join()
        for number in range(3):
            async with wire(server.url, f"{WEBSOCKET}&sid={one.sid}") as probe:
                for packet in said:
                    await probe.send(packet)
                    assert await probe.receive() == "3probe"
            await one.post(f'42/echo,{number}["echo",{{"text":"x"}}]')
            async with asyncio.timeout(PATIENCE / 2):  # not at the end of the time that an upgrade may take
                await one.expect(f"43/echo,{number}")
        assert len(namespace.connections) == 1
        await one.post("1")


async def test_what_is_sent_while_an_upgrade_dies_is_polled_once_and_in_order() -> None:
    async with serving(bounds=ROOMY) as (server, namespace), poller(server.url) as one:
        await one.join()
        async with beating(namespace, pause=0.002), asyncio.timeout(PATIENCE):
            numbers: list[int] = []
            while len(numbers) < 300:
                async with wire(server.url, f"{WEBSOCKET}&sid={one.sid}") as probe:
                    await probe.send("2probe")  # its answer and its end are anywhere among the polls
                    numbers += beats((await one.get())[1])
                for _ in range(3):
                    numbers += beats((await one.get())[1])
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@asynccontextmanager
async def beating(namespace: EchoNamespace, *, pause: float = 0) -> AsyncIterator[None]:
    """Numbered messages to everyone, one at a time and now and then many, without `pause` as fast as the loop turns."""

    async def beat() -> None:
        number = 0
        while True:
            for _ in range(1 if number % 50 else 20):
                text = "some are worth compressing " * (number % 80)
                await namespace.emit("beat", {"number": number, "text": text}, room="everyone")
                number += 1
            await asyncio.sleep(pause)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def beats(packets: list[str]) -> list[int]:
    return [json.loads(each.partition(",")[2])[1]["number"] for each in packets if each.startswith(BEAT)]


@pytest.mark.parametrize("polls", range(4))
async def test_a_raw_client_that_upgrades_in_full_flow_hears_each_once_in_order(polls: int) -> None:
    """The upgrade comes after so many polls, and the last poll is answered before, while or after it is confirmed."""
    async with serving(bounds=ROOMY) as (server, namespace), beating(namespace):
        for round in range(ROUNDS):
            async with poller(server.url) as one:
                await one.post(connect_packet())
                numbers: list[int] = []
                for _ in range(polls):
                    numbers += beats((await one.get())[1])
                polling = asyncio.create_task(one.get())
                for _ in range(round % 5):
                    await asyncio.sleep(0)
                async with wire(server.url, f"{WEBSOCKET}&sid={one.sid}") as socket:
                    await socket.send("2probe")
                    assert await socket.receive() == "3probe"
                    numbers += beats((await polling)[1])
                    await socket.send("5")
                    while len(numbers) < 200:
                        message = await socket.receive()
                        assert isinstance(message, str)
                        numbers += beats([message])
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        await eventually(lambda: not namespace.connections)


async def test_the_stock_javascript_client_that_upgrades_in_full_flow_hears_each_once_in_order() -> None:
    script = Path(__file__).parent / "upgrading.mjs"
    async with serving(bounds=ROOMY) as (server, namespace), beating(namespace):
        async with running("node", script, server.url, token(), str(ROUNDS), NODE_NO_WARNINGS="1") as process:
            assert await process.finish() == 0, process.output
        assert process.output.count("in order") == ROUNDS, process.output
