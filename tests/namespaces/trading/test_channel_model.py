"""What a subscriber knows of a channel, whatever it did and whatever happened to Redis: the snapshot and the events.

A reader is as simple as the protocol allows: what an ack has is taken, with the events that came before it and have a
higher `seq`; an event with the next `seq` is added, any other makes it subscribe again with what it saw last.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import running
from tests.support.client import PATIENCE, Client
from tests.support.managers import node_of, until_up
from tests.support.raw import WEBSOCKET
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running

HELLO = "40/trading,"
EVENT = "42/trading,"
ACK = "43/trading,"


class Reader:
    """`known`: data by `seq`. What it did not ask for twice it must not be told twice."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, channel: str) -> None:
        self._socket = socket
        self._channel = channel
        self._ids = itertools.count()
        self._asked: dict[int, dict[str, Any]] = {}  # by ack id
        self._early: list[dict[str, Any]] = []  # while there is no ack yet
        self._changed = asyncio.Event()
        self.subscribed = False
        self.epoch = ""
        self.seq = 0
        self.known: dict[int, Any] = {}
        self.faults: list[str] = []

    async def subscribe(self, *, since: bool) -> None:
        self.subscribed = True
        asks: dict[str, Any] = {"channel": self._channel}
        if since and self.epoch:
            asks["since"] = {"epoch": self.epoch, "seq": self.seq}
        await self._ask("subscribe", asks)

    async def unsubscribe(self) -> None:
        self.subscribed = False
        await self._ask("unsubscribe", {"channel": self._channel})

    async def _ask(self, event: str, asks: dict[str, Any]) -> None:
        number = next(self._ids)
        self._asked[number] = asks
        await self._socket.send_str(f"{EVENT}{number}{orjson.dumps([event, asks]).decode()}")

    async def read(self) -> None:
        async for frame in self._socket:
            if frame.data == "2":
                await self._socket.send_str("3")
            elif frame.data.startswith(ACK):
                number, _, rest = frame.data.removeprefix(ACK).partition("[")
                self._answered(self._asked.pop(int(number)), orjson.loads("[" + rest)[0])
                if not self._asked:
                    early, self._early = self._early, []
                    for each in early:
                        if each["seq"] > self.seq:
                            await self._heard(each)
            elif frame.data.startswith(EVENT):
                event, payload = orjson.loads(frame.data.removeprefix(EVENT))
                if event == "message" and self.subscribed:
                    await self._heard(payload)
            self._changed.set()

    def _answered(self, asked: dict[str, Any], ack: dict[str, Any]) -> None:
        if "seq" not in ack:
            return
        if ("since" in asked) != ("recovered" in ack) or ack.get("recovered", False) != ("messages" in ack):
            self.faults.append(f"odd ack {ack}")
        if not ack.get("recovered"):
            self.known = {}
        given = {each["seq"]: each["data"] for each in ack["messages" if ack.get("recovered") else "snapshot"]}
        first = ack["seq"] + 1 - len(given)
        if "messages" in ack:
            first = asked["since"]["seq"] + 1
            if ack["epoch"] != asked["since"]["epoch"]:
                self.faults.append("recovered over an epoch")
        if list(given) != list(range(first, ack["seq"] + 1)):
            self.faults.append(f"a part: {list(given)} of {ack['seq']} for {asked}")
        self.known |= given
        self.epoch, self.seq = ack["epoch"], ack["seq"]

    async def _heard(self, payload: dict[str, Any]) -> None:
        if self._asked:
            self._early.append(payload)
        elif payload["seq"] == self.seq + 1:
            self.seq += 1
            self.known[self.seq] = payload["data"]
        else:
            await self.subscribe(since=True)

    async def until(self, data: Any = None) -> None:
        """It has what it asked for, and knows this."""
        async with asyncio.timeout(PATIENCE):
            while self._asked or (data is not None and data not in self.known.values()):
                self._changed.clear()
                await self._changed.wait()


class House:
    """Nodes that live as long as the module, on a loop of its own."""

    def __init__(self, stack: AsyncExitStack, nodes: list[Running], redis: RedisServer | None) -> None:
        self.stack = stack
        self.nodes = nodes
        self.redis = redis
        self.publishers: list[Client] = []

    async def open(self) -> None:
        for node in self.nodes * 2:
            client = Client("/trading")
            await client.connect(node.url, running.token("feed", roles=("publisher",)))
            self.publishers.append(client)
            self.stack.push_async_callback(client.close)

    async def say(self, channel: str, door: int, data: list[int]) -> None:
        if door < 2:
            for each in data:
                ack = await self.publishers[door].call("publish", {"channel": channel, "data": each})
                assert ack["ok"], ack
        elif door == 2 or self.redis is None:
            feed = Rest(self.nodes[-1].url, "feed", roles=("publisher",))
            reply = await feed.post(f"/api/channels/{channel}/messages", {"messages": [{"data": n} for n in data]})
            assert {each["status"] for each in reply.body["results"]} == {201}
        else:
            async with self.redis.client() as client:
                for each in data:
                    await client.publish(f"{node_of(self.nodes[0]).keys.prefix}:{channel}", f'{{"data": {each}}}')

    async def play(self, steps: list[tuple[str, int]]) -> None:
        channel = f"chat:{secrets.token_hex(4)}"
        numbers = itertools.count()
        saying: list[asyncio.Task[None]] = []
        flushed = self.redis is not None and any(step == "flush" for step, _ in steps)
        # Of what is published outside just before, a Redis that forgets may forget which node has acted already.
        doors = 3 if flushed else 4
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as reading:
            readers = []
            for node in self.nodes * 2:
                socket = await http.ws_connect(node.url + WEBSOCKET)
                await socket.send_str(HELLO + orjson.dumps({"token": running.token("alice")}).decode())
                readers.append(reader := Reader(socket, channel))
                reading.create_task(reader.read())
            for step, number in steps:
                reader = readers[number % len(readers)]
                if step == "say":
                    data = list(itertools.islice(numbers, 1 + number % 3))
                    saying.append(asyncio.create_task(self.say(channel, number % doors, data)))
                    if number >= 4:
                        await saying[-1]
                elif step == "join":
                    await reader.subscribe(since=False)
                elif step == "back":
                    await reader.subscribe(since=True)
                elif step == "leave":
                    await reader.unsubscribe()
                elif self.redis is not None:
                    # Events say no epoch: an ack from before must not overtake one from after.
                    await asyncio.gather(*saying, *(reader.until() for reader in readers))
                    async with self.redis.client() as client:
                        await client.flushall()
            await asyncio.gather(*saying)
            for reader in readers:
                if not reader.subscribed:
                    await reader.subscribe(since=True)
            await self.say(channel, 0, [-1])
            fresh = Reader(await http.ws_connect(self.nodes[0].url + WEBSOCKET), channel)
            await fresh._socket.send_str(HELLO + orjson.dumps({"token": running.token("alice")}).decode())
            reading.create_task(fresh.read())
            await fresh.subscribe(since=False)
            try:
                for reader in (fresh, *readers):
                    await reader.until(-1)
            finally:
                for reader in (fresh, *readers):
                    await reader._socket.close()
        for reader in readers:
            assert reader.faults == []
            assert len(set(reader.known.values())) == len(reader.known)
            if flushed:
                assert set(reader.known.values()) >= set(fresh.known.values())
            else:
                assert (reader.epoch, reader.seq) == (fresh.epoch, fresh.seq)
                assert reader.known == fresh.known
        if not flushed:
            assert sorted(fresh.known.values()) == [-1, *range(next(numbers))]


@pytest.fixture(scope="module", params=["memory", "redis"])
def house(
    request: pytest.FixtureRequest, migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, House]]:
    async def open_house(stack: AsyncExitStack) -> House:
        database = shutil.copy(migrated_sqlite, tmp_path_factory.mktemp("model"))
        options = {"TRADING_FEED": "none", "DATABASE_URL": f"sqlite:///{database}"}
        redis = None
        if request.param == "redis":
            redis = await stack.enter_async_context(RedisServer())
            options["REDIS_URL"] = redis.url
        nodes = [await running.start(running.settings(**options)) for _ in range(1 if redis is None else 2)]
        for node in nodes:
            stack.push_async_callback(node.runner.cleanup)
        if redis is not None:
            await until_up(*map(node_of, nodes))
        house = House(stack, nodes, redis)
        await house.open()
        return house

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner, runner.run(open_house(stack))
        finally:
            runner.run(stack.aclose())


STEPS = st.lists(
    st.tuples(st.sampled_from(["say", "say", "say", "join", "back", "leave", "flush"]), st.integers(0, 7)),
    min_size=8,
    max_size=20,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_snapshot_and_events_are_the_state(house: tuple[asyncio.Runner, House], steps: list[tuple[str, int]]) -> None:
    runner, it = house
    runner.run(it.play(steps))
