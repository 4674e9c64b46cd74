"""An answer that streams, as clients of one node and of two hear it, whenever they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.namespaces.chat.replies import Replies
from server.realtime.cluster import node
from tests.conftest import Connect, Serve
from tests.support.client import PATIENCE, Client
from tests.support.managers import Reader, until, until_up, vanish
from tests.support.raw import raw_socket
from tests.support.redis import RedisServer
from tests.support.running import Running, token
from tests.support.streaming import Scripted

AGENTS = '[[agents]]\nid = 1\nname = "Test"\nbackend = "tests.support.streaming.scripted"\n'
TEXT = "대출 금리는 연 3.5%에서 시작합니다. 👩‍🔬 " * 8


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The server's, with one agent that says what it is told."""
    config = tmp_path / "config"
    config.mkdir()
    for path in Path("config").iterdir():
        (config / path.name).symlink_to(path.resolve())
    (config / "agents.toml").unlink()
    (config / "agents.toml").write_text(AGENTS)
    return config


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(params=[1, 2])
async def nodes(
    request: pytest.FixtureRequest, serve: Serve, redis: RedisServer, config: Path
) -> tuple[Running, Running]:
    """Where the agent is asked, and where others come: one node, or one of two."""
    environ: dict[str, object] = {"CONFIG_DIR": config, "TRADING_FEED": "none", "STREAM_DELAY_MS": "1"}
    if request.param == 1:
        here = await serve(**environ)
        return here, here
    here, there = [await serve(REDIS_URL=redis.url, **environ) for _ in range(2)]
    return here, there


def backend(server: Running) -> Scripted:
    found = server.realtime._served["/chat"].service.conversation._agents[1].backend  # type: ignore[attr-defined]
    assert isinstance(found, Scripted)
    return found


def replies(server: Running) -> Replies:
    found: Replies = server.realtime._served["/chat"].service.replies  # type: ignore[attr-defined]
    return found


def stream(client: Client) -> list[tuple[str, Any]]:
    return [each for each in client.received if each[0].startswith("stream_")]


async def joined(connect: Connect, server: Running) -> Client:
    client = await connect(server, "/chat", "alice")
    ack = await client.call("join", {"session_id": "s1"})
    assert ack["ok"], ack
    return client


async def asked(connect: Connect, server: Running) -> Client:
    """Somebody who has asked and hears the beginning of the answer."""
    alice = await joined(connect, server)
    await alice.call("message", {"session_id": "s1", "content": "?"})
    backend(server).say("so far, ")
    await alice.expect("stream_chunk")
    return alice


async def test_who_joins_in_the_middle_hears_every_word_once(nodes: tuple[Running, Running], connect: Connect) -> None:
    here, there = nodes
    alice = await asked(connect, here)
    phone = await joined(connect, there)
    await phone.expect("stream_chunk")
    backend(here).say("and on ", "to the end", None)
    await phone.expect("stream_end")
    await alice.expect("stream_end")
    assert stream(phone) == stream(alice)
    assert "".join(each["content"] for each in phone.payloads("stream_chunk")) == "so far, and on to the end"
    for server in nodes:
        await until(lambda server=server: len(replies(server)._newcomers) == 0)  # type: ignore[misc]


async def test_many_join_while_it_streams(nodes: tuple[Running, Running], connect: Connect) -> None:
    here = nodes[0]
    alice = await asked(connect, here)

    async def speak() -> None:
        for piece in TEXT:
            backend(here).say(piece)
            await asyncio.sleep(0.001)

    speaking = asyncio.create_task(speak())
    phones = [await joined(connect, nodes[number % 2]) for number in range(12)]
    came_late = len(alice.payloads("stream_chunk"))
    await speaking
    backend(here).say(None)
    for client in (alice, *phones):
        await client.expect("stream_end")
    heard = alice.payloads("stream_chunk")
    assert came_late > 10
    assert [chunk["index"] for chunk in heard] == list(range(len(heard)))
    assert "".join(chunk["content"] for chunk in heard) == "so far, " + TEXT
    for phone in phones:
        assert stream(phone) == stream(alice)


async def test_who_is_in_the_session_and_joins_again_hears_nothing_twice(
    nodes: tuple[Running, Running], connect: Connect
) -> None:
    here, there = nodes
    phone = await joined(connect, there)
    alice = await asked(connect, here)
    await phone.expect("stream_chunk")
    await phone.call("join", {"session_id": "s1", "after_seq": 0})
    backend(here).say("the end", None)
    await phone.expect("stream_end")
    await alice.expect("stream_end")
    assert stream(phone) == stream(alice)


async def test_who_leaves_in_the_middle_hears_no_more_of_it(nodes: tuple[Running, Running], connect: Connect) -> None:
    here, there = nodes
    alice = await asked(connect, here)
    phone = await joined(connect, there)
    await phone.expect("stream_chunk")
    await phone.call("leave", {"session_id": "s1"})
    backend(here).say("the end", None)
    await alice.expect("stream_end")
    await phone.settle()
    assert [name for name, _ in stream(phone)] == ["stream_start", "stream_chunk"]


async def test_it_is_cancelled_from_where_it_does_not_stream(nodes: tuple[Running, Running], connect: Connect) -> None:
    here, there = nodes
    alice, phone = await asked(connect, here), await joined(connect, there)
    message_id = alice.payloads("stream_start")[0]["message_id"]
    stranger = await connect(there, "/chat", "mallory")
    assert not (await stranger.call("stream_cancel", {"message_id": message_id}))["ok"]
    assert (await phone.call("stream_cancel", {"message_id": message_id}))["ok"]
    ends = [await client.expect("stream_end") for client in (alice, phone)]
    assert ends[0] == ends[1]
    assert ends[0]["cancelled"] is True
    assert backend(here).closed.is_set()
    assert not (await phone.call("stream_cancel", {"message_id": message_id}))["ok"]
    message = (await phone.call("join", {"session_id": "s1"}))["messages"][-1]
    assert (message["content"], message["metadata"]["cancelled"]) == ("so far, ", True)


async def test_a_node_that_stops_ends_its_streams_for_those_on_others(
    serve: Serve, redis: RedisServer, config: Path, connect: Connect
) -> None:
    environ: dict[str, object] = {"REDIS_URL": redis.url, "CONFIG_DIR": config, "TRADING_FEED": "none"}
    here, there = [await serve(**environ) for _ in range(2)]
    await asked(connect, here)
    phone = await joined(connect, there)
    await phone.expect("stream_chunk")
    await here.runner.cleanup()
    assert (await phone.expect("stream_end"))["error"]["code"] == "GOING_AWAY"


class StreamReader(Reader):
    """Keeps the stream that it heard, of all its connections."""

    heard_stream: list[tuple[str, Any]]

    async def _read(self) -> str:
        frame = await super()._read()
        if frame.startswith("42"):
            name, payload, *_ = json.loads(frame.partition(",")[2])
            if name.startswith("stream_"):
                self.heard_stream.append((name, payload))
        return frame

    async def join(self) -> None:
        await self.raw.send('42/chat,9["join",{"session_id":"s1"}]')
        while not (await self._read()).startswith("43/chat,9"):
            pass

    async def hears(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while event not in [name for name, _ in self.heard_stream]:
                await self._read()


@pytest.mark.parametrize("comes_back", ["there", "where it streams"])
async def test_who_recovers_in_the_middle_hears_every_word_once(
    nodes: tuple[Running, Running], connect: Connect, comes_back: str
) -> None:
    here, there = nodes
    if here is not there:
        await until_up(*(server.realtime.node for server in nodes if server.realtime.node is not None))
    alice = await asked(connect, here)
    heard: list[tuple[str, Any]] = []
    async with raw_socket(there.url) as raw:
        phone = StreamReader(raw, "/chat")
        phone.heard_stream = heard
        await phone.connect(token=token("alice"), recovery=True)
        await phone.join()
        await phone.hears("stream_chunk")
        backend(here).say("and on, ")
        count = len(alice.payloads("stream_chunk"))
        await until(lambda: len(alice.payloads("stream_chunk")) > count)
        known = phone.known
        raw.socket._response.close()  # the connection, without a word
    backend(here).say("missed, ")
    await until(lambda: len(alice.payloads("stream_chunk")) > count + 1)
    async with raw_socket((there if comes_back == "there" else here).url) as raw:
        again = StreamReader(raw, "/chat")
        again.heard_stream = heard
        await again.connect(token=token("alice"), recovery=True, **known)
        assert again.recovered
        backend(here).say("to the end", None)
        await again.hears("stream_end")
    await alice.expect("stream_end")
    assert heard == stream(alice)


async def test_without_redis_a_node_replays_its_own(
    serve: Serve, redis: RedisServer, config: Path, connect: Connect
) -> None:
    server = await serve(REDIS_URL=redis.url, CONFIG_DIR=config, TRADING_FEED="none", STREAM_DELAY_MS="1")
    node = server.realtime.node
    assert node is not None
    alice = await asked(connect, server)
    await redis.kill()
    await until(lambda: not node.up)
    phone = await joined(connect, server)
    backend(server).say("the end", None)
    await phone.expect("stream_end")
    await alice.expect("stream_end")
    assert stream(phone) == stream(alice)


async def test_an_answer_whose_node_dies_ends_for_the_others(
    nodes: tuple[Running, Running], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = nodes
    if here is there:
        return
    monkeypatch.setattr(node, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(node, "DEAD_SECONDS", 1)
    bob = await joined(connect, there)
    await asked(connect, here)
    await bob.expect("stream_chunk")
    await vanish(here)
    end = await bob.expect("stream_end")
    assert end["error"]["code"] == "GOING_AWAY"
    assert end["message_id"] == bob.payloads("stream_start")[0]["message_id"]
