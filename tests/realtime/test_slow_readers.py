"""Clients that do not read for a while, or never: what still reaches them, in which order, and what it costs them.

A websocket is known to be behind once its socket takes no more; who polls, once the outbox between two polls is full.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter as Tally
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.realtime.engine.outbox import Outbox
from server.realtime.engine.outlet import Counters
from server.realtime.rooms import EVERYONE
from server.realtime.server import Bounds
from tests.conftest import Connect, Serve
from tests.realtime.inherited.wire import Poller, Wire, connect_packet, eventually, poller, wire
from tests.support.client import PATIENCE, Client
from tests.support.echo import EchoNamespace, serving
from tests.support.running import Running

LARGE = "x" * 50_000


class Sleeper:
    """A client of /echo that has entered and does not read until it is woken; `outbox` is what the server has for it,
    in which so many messages wait already."""

    def __init__(self, reader: Wire | Poller, outbox: Outbox, namespace: EchoNamespace) -> None:
        self.outbox = outbox
        self.waiting = len(outbox)
        self._reader = reader
        self._namespace = namespace

    async def wakes(self) -> list[tuple[str, Any]]:
        """What it hears until there is nothing more, as pairs of event and number."""
        hearing = asyncio.create_task(self._hear())
        await eventually(lambda: not len(self.outbox))
        await self._namespace.emit("end", {"number": 0}, room=EVERYONE)
        async with asyncio.timeout(PATIENCE):
            return await hearing

    async def close_code(self) -> int | None:
        if isinstance(self._reader, Wire):
            return await self._reader.ended()
        assert await self._reader.get() == (400, ['{"code":1,"message":"Session ID unknown"}'])
        return None  # which HTTP has no way to say

    async def _hear(self) -> list[tuple[str, Any]]:
        heard: list[tuple[str, Any]] = []
        while ("end", 0) not in heard:
            packets = (
                [await self._reader.receive()] if isinstance(self._reader, Wire) else (await self._reader.get())[1]
            )
            for event, payload in events(packets, "/echo"):
                if event != "large":
                    heard.append((event, payload["number"]))
        return heard[:-1]


def events(packets: list[Any], namespace: str) -> list[tuple[str, dict[str, Any]]]:
    start = f"42{namespace},"
    return [tuple(json.loads(packet[len(start) :])) for packet in packets if packet.startswith(start)]


@asynccontextmanager
async def asleep(server: Running, namespace: EchoNamespace, transport: str) -> AsyncIterator[Sleeper]:
    """Who polls need only not come; for a websocket the kernel and the transport take some megabytes first."""
    others = set(server.realtime.eio.sessions)
    async with (wire if transport == "websocket" else poller)(server.url) as reader:
        await reader.join("sleeper")
        [sid] = set(server.realtime.eio.sessions) - others
        outbox = server.realtime.eio.sessions[sid].outbox
        while transport == "websocket" and not len(outbox):
            await namespace.emit("large", {"text": LARGE}, room=EVERYONE)
            await asyncio.sleep(0)
        yield Sleeper(reader, outbox, namespace)


async def tell(namespace: EchoNamespace, event: str, *numbers: int, **how: Any) -> None:
    for number in numbers:
        await namespace.emit(event, {"number": number}, room=EVERYONE, **how)


both = pytest.mark.parametrize("transport", ["websocket", "polling"])


@both
async def test_it_hears_the_newest_of_each_key_and_those_who_read_hear_all(transport: str, connect: Connect) -> None:
    async with serving(bounds=Bounds(outbox_messages=20)) as (server, namespace):
        reader = await connect(server, "/echo", "reader")
        async with asleep(server, namespace, transport) as sleeper:
            await reader.settle()
            for number in range(100):
                for symbol in ("a", "b", "c"):
                    await tell(namespace, symbol, number, volatile=True, conflate=symbol)
                await asyncio.sleep(0)
            assert server.realtime.eio.counters == Counters(conflated=3 * 99)
            assert sorted(await sleeper.wakes()) == [("a", 99), ("b", 99), ("c", 99)]
        await reader.settle()
        for symbol in ("a", "b", "c"):
            assert [payload["number"] for payload in reader.payloads(symbol)] == list(range(100))


@both
async def test_reliable_ones_all_arrive_in_order_and_before_volatile_ones(transport: str) -> None:
    bounds = Bounds(outbox_messages=82)  # what is left of all, and what put it to sleep
    async with serving(bounds=bounds) as (server, namespace), asleep(server, namespace, transport) as sleeper:
        for number in range(40):
            await tell(namespace, "status", number, volatile=True, conflate="status")
            await tell(namespace, "typing", number, volatile=True)
            await tell(namespace, "message", number)
        heard = await sleeper.wakes()
        assert heard[:40] == [("message", number) for number in range(40)]
        assert Tally(heard[40:]) == Tally([("status", 39), *(("typing", number) for number in range(40))])
        assert [each for each in heard if each[0] == "typing"] == [("typing", number) for number in range(40)]
        assert server.realtime.eio.counters == Counters(conflated=39)
        await tell(namespace, "message", 40)
        await tell(namespace, "status", 41, volatile=True, conflate="status")
        assert await sleeper.wakes() == [("message", 40), ("status", 41)]


@both
async def test_a_full_outbox_drops_the_oldest_volatile_ones_and_then_the_reader(transport: str) -> None:
    async with (
        serving(bounds=Bounds(outbox_messages=20)) as (server, namespace),
        asleep(server, namespace, transport) as sleeper,
    ):
        counters, room = server.realtime.eio.counters, 20 - sleeper.waiting
        await tell(namespace, "typing", *range(30), volatile=True)
        await tell(namespace, "message", *range(5))
        assert counters == Counters(dropped=30 - (room - 5))
        assert await sleeper.wakes() == [
            *(("message", number) for number in range(5)),
            *(("typing", number) for number in range(30 - (room - 5), 30)),
        ]


@both
async def test_the_newest_of_a_key_outlasts_what_is_older(transport: str) -> None:
    async with (
        serving(bounds=Bounds(outbox_messages=20)) as (server, namespace),
        asleep(server, namespace, transport) as sleeper,
    ):
        room = 20 - sleeper.waiting
        await tell(namespace, "tick", 0, volatile=True, conflate="tick")
        await tell(namespace, "typing", *range(room - 1), volatile=True)
        await tell(namespace, "tick", 1, volatile=True, conflate="tick")
        await tell(namespace, "typing", room - 1, volatile=True)
        assert server.realtime.eio.counters == Counters(conflated=1, dropped=1)
        assert sorted(await sleeper.wakes()) == [("tick", 1), *(("typing", number) for number in range(1, room))]


@both
async def test_with_only_reliable_ones_left_the_reader_is_closed_with_4008(transport: str) -> None:
    async with (
        serving(bounds=Bounds(outbox_messages=20)) as (server, namespace),
        asleep(server, namespace, transport) as sleeper,
    ):
        counters, room = server.realtime.eio.counters, 20 - sleeper.waiting
        await tell(namespace, "typing", *range(10), volatile=True)
        await tell(namespace, "message", *range(room))
        await asyncio.sleep(0)
        assert (counters, namespace.gone_reasons) == (Counters(dropped=10), [])
        await tell(namespace, "message", room)
        await eventually(namespace.gone_event.is_set)
        assert counters == Counters(dropped=10, too_slow=1)
        assert namespace.gone_reasons == ["transport error"]
        assert len(sleeper.outbox) == 0
        assert await sleeper.close_code() == (4008 if transport == "websocket" else None)


async def test_whose_outbox_is_full_of_bytes_is_closed_too(connect: Connect) -> None:
    async with serving(bounds=Bounds(outbox_bytes=3 * len(LARGE))) as (server, namespace):
        reader = await connect(server, "/echo", "reader")
        async with asleep(server, namespace, "polling") as sleeper:
            await tell(namespace, "typing", *range(100), volatile=True)
            for number in range(4):
                assert namespace.gone_reasons == []
                await namespace.emit("large", {"text": LARGE, "number": number}, room=EVERYONE)
            await eventually(namespace.gone_event.is_set)
            assert server.realtime.eio.counters.too_slow == 1
            assert len(sleeper.outbox) == 0
        assert (await reader.expect("large", lambda payload: payload["number"] == 3))["text"] == LARGE


async def test_of_ticks_the_sleeper_hears_the_newest_of_each_symbol(serve: Serve, connect: Connect) -> None:
    server = await serve(TRADING_FEED="none", WS_OUTBOX_MESSAGES=200)
    publisher = await connect(server, "/trading", "exchange", roles=("publisher",))
    reader = await connect(server, "/trading", "reader")
    others = set(server.realtime.eio.sessions)
    async with wire(server.url) as sleeper:
        await sleeper.send(connect_packet("sleeper", "/trading"))
        await sleeper.expect('42/trading,["connected"')
        for number, channel in enumerate(("ticks:krx", "stock_updates")):
            assert (await reader.call("subscribe", {"channel": channel}))["ok"]
            await sleeper.send(f'42/trading,{number}["subscribe",{{"channel":"{channel}"}}]')
            await sleeper.expect(f"43/trading,{number}[")
        [sid] = set(server.realtime.eio.sessions) - others
        outbox = server.realtime.eio.sessions[sid].outbox
        while not len(outbox):
            await publish(publisher, "stock_updates", "news", {"text": LARGE})
        for price in range(100):
            for symbol in ("005930", "000660", "035420"):
                await publish(publisher, "ticks:krx", "tick", {"symbol": symbol, "price": price})
        await publish(publisher, "stock_updates", "closed", {})
        assert server.realtime.eio.counters == Counters(conflated=3 * 99)
        heard: list[tuple[str, dict[str, Any]]] = []
        while sum(event == "tick" for event, _ in heard) < 3:
            heard += events([await sleeper.receive()], "/trading")
        assert [event for event, _ in heard if event != "news"] == ["closed", "tick", "tick", "tick"]
        newest = {payload["data"]["symbol"]: payload["data"]["price"] for event, payload in heard if event == "tick"}
        assert newest == {"005930": 99, "000660": 99, "035420": 99}
    await reader.expect("closed")
    assert len(reader.payloads("tick")) == 300


async def publish(publisher: Client, channel: str, event: str, data: dict[str, Any]) -> None:
    assert (await publisher.call("publish", {"channel": channel, "type": event, "data": data}))["ok"]
