"""What each script does in a real Redis, by itself: one of a cluster, which refuses keys of two slots."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.realtime.cluster.keys import NODES, Keys
from server.realtime.cluster.scripts import (
    ALL_SCRIPTS,
    BEAT,
    EMIT,
    HELLO,
    NEWEST,
    PULSE,
    SESSION_CLAIM,
    SESSION_DROP,
    SESSION_KEEP,
    SESSION_WRITE,
    TELL_ONE,
    Script,
)
from tests.support.redis import RedisServer

RETENTION, CAP, BYTES = 60_000, 100, 10_000_000


class Scripts:
    def __init__(self, client: Redis) -> None:
        self.client = client
        self.keys = Keys(secrets.token_hex(4))

    async def run(self, script: Script, keys: list[str], *args: Any) -> Any:
        return await self.client.eval(script.text, len(keys), *keys, *args)

    async def emit(
        self, number: int, *rooms: str, origin: str = "n", cap: int = CAP, channel: str = "", letter: str = ""
    ) -> int:
        """The offset; 0 where it is there already."""
        keys = [self.keys.offset("/x"), self.keys.origin("/x", origin)]
        for room in rooms:
            keys += [self.keys.log("/x", room), self.keys.lost("/x", room), self.keys.home("/x", room)]
        answer = await self.run(
            EMIT, keys, number, RETENTION, cap, BYTES, letter or f"letter {number}", *[channel for _ in rooms]
        )
        return int(answer or 0)

    async def logged(self, room: str) -> list[tuple[int, bytes]]:
        entries: Any = await self.client.xrange(self.keys.log("/x", room))
        return [(int(id.partition(b"-")[0]), fields[b"m"]) for id, fields in entries]

    async def now(self) -> int:
        """Microseconds, by Redis's clock."""
        seconds, micros = await self.client.time()
        return int(seconds) * 1_000_000 + int(micros)

    async def hello(self, known: int, epoch: str, gave_up: int = 0) -> tuple[bytes, int]:
        """An epoch also names the Redis that it is of; without that."""
        names = [self.keys.offset("/x"), self.keys.epoch("/x"), self.keys.gap("/x")]
        found, offset = await self.run(HELLO, names, known, epoch, gave_up)
        begun, _, run = found.partition(b":")
        assert run.decode() == (await self.client.info("server"))["run_id"]
        return begun, int(offset)

    async def write(self, holder: str, *rooms: str, whole: bool = True, **fields: str) -> int | None:
        fields = ({"sid": "s", "scope": "alice", "anonymous": "0", "holder": holder} | fields) if whole else {}
        flat = [part for field in fields.items() for part in field]
        answer = await self.run(
            SESSION_WRITE, [self.keys.offset("/x"), self.key, self.home], holder, RETENTION, len(fields), *flat, *rooms
        )
        return None if answer is None else int(answer)

    async def keep(self, holder: str) -> int:
        return int(await self.run(SESSION_KEEP, [self.key, self.home], holder, RETENTION))

    async def drop(self, holder: str, lifetime: int = RETENTION) -> None:
        await self.run(SESSION_DROP, [self.key], holder, lifetime, "data")

    async def claim(self, holder: str, scope: str, taken_from: str = "-", anonymous: int = 0) -> Any:
        """What it is told, and whether it has it now."""
        answer = await self.run(
            SESSION_CLAIM, [self.key, self.home], holder, f"to {holder}", scope, RETENTION, taken_from, anonymous
        )
        return answer, (await self.session()).get("holder") == holder

    @property
    def key(self) -> str:
        return self.keys.session("/x", "p")

    @property
    def home(self) -> str:
        return self.keys.home("/x", "s")

    async def session(self) -> dict[str, str]:
        found: Any = await self.client.hgetall(self.key)
        return {name.decode(): value.decode() for name, value in found.items()}


@pytest.fixture(scope="module")
def in_a_cluster() -> Iterator[RedisServer]:
    server = RedisServer(cluster=True)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(server.__aenter__())
        yield server
        runner.run(server.__aexit__())


@pytest_asyncio.fixture
async def x(in_a_cluster: RedisServer) -> AsyncIterator[Scripts]:
    async with in_a_cluster.client() as client:
        yield Scripts(client)


def test_scripts_are_known_by_what_they_are() -> None:
    assert {EMIT, PULSE, HELLO, NEWEST, BEAT} <= set(ALL_SCRIPTS)
    for script in ALL_SCRIPTS:
        assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()  # noqa: S324


async def test_offsets_rise_whoever_asks_and_are_redis_time(x: Scripts) -> None:
    before = await x.now()
    found = []
    for number in range(1, 51):
        found.append(await x.emit(number, "r"))
        found.append(int(await x.run(NEWEST, [x.keys.offset("/x")])))
    assert found == sorted(found)
    emitted, newest = found[::2], found[1::2]
    assert len(set(emitted)) == 50
    assert all(later > earlier for earlier, later in zip(newest, emitted[1:], strict=False)), "above what was newest"
    assert before <= found[0] <= found[-1] <= await x.now() + 100


async def test_offsets_rise_though_the_clock_goes_back(x: Scripts) -> None:
    ahead = await x.now() + 3_600_000_000
    await x.client.set(x.keys.offset("/x"), ahead)
    assert [await x.emit(number, "r") for number in (1, 2)] == [ahead + 1, ahead + 2]


async def test_at_once_each_gets_its_own(x: Scripts) -> None:
    found = await asyncio.gather(*(x.emit(1, "r", origin=f"n{number}") for number in range(100)))
    assert len(set(found)) == 100
    assert [offset for offset, _ in await x.logged("r")] == sorted(found)


async def test_an_event_is_logged_in_each_room_once_however_often_it_is_sent(x: Scripts) -> None:
    offset = await x.emit(1, "r", "s")
    assert await x.emit(1, "r", "s") == 0
    assert await x.emit(2, "r") > offset
    assert await x.emit(1, "r") == 0, "a node's numbers only rise"
    assert [text for _, text in await x.logged("r")] == [b"letter 1", b"letter 2"]
    assert await x.logged("s") == [(offset, b"letter 1")]


async def test_a_log_of_big_events_is_cut_and_says_so(x: Scripts) -> None:
    for number in range(1, 257):
        await x.emit(number, "r", cap=10_000, letter="x" * 60_000)
    kept = len(await x.logged("r"))
    assert 64 < kept < BYTES // 60_000 + 64
    assert await x.client.get(x.keys.lost("/x", "r")) is not None


async def test_a_log_is_cut_and_says_up_to_where(x: Scripts) -> None:
    offsets = [await x.emit(number, "r", cap=10) for number in range(1, 12)]
    assert len(await x.logged("r")) == 11, "a tenth more is no reason to cut"
    assert await x.client.get(x.keys.lost("/x", "r")) is None
    offsets.append(await x.emit(12, "r", cap=10))
    assert [offset for offset, _ in await x.logged("r")] == offsets[2:]
    lost = int(await x.client.get(x.keys.lost("/x", "r")) or 0)
    assert offsets[1] <= lost <= offsets[2]
    for key in (x.keys.log("/x", "r"), x.keys.lost("/x", "r")):
        assert 0 < await x.client.pttl(key) <= RETENTION


async def test_what_is_too_old_goes(x: Scripts) -> None:
    """In whole nodes of Redis's list, so that it costs nothing."""
    old = await x.now() - 2 * RETENTION * 1000
    for number in range(500):
        await x.client.xadd(x.keys.log("/x", "r"), {"m": b"old"}, id=f"{old + number}-0")
    await x.emit(1, "r", cap=10_000)
    assert len(await x.logged("r")) < 200
    assert (await x.logged("r"))[-1][1] == b"letter 1"


async def test_it_is_published_where_the_room_is_heard(x: Scripts) -> None:
    async with x.client.pubsub() as heard:
        names = [f"{x.keys.prefix}:{name}" for name in ("room", "node-a", "node-b")]
        await heard.subscribe(*names)
        for _ in names:
            await heard.get_message(timeout=5)
        room, a, b = names
        offset = await x.emit(1, "r", channel=room)
        await x.emit(2, "r")
        await x.emit(3, "sid", channel=f"@{a}")
        await x.emit(4, "sid", channel="@")
        await x.client.set(x.keys.home("/x", "sid"), b)
        await x.emit(5, "sid", channel=f"@{a}")
        await x.emit(6, "sid", channel="@")
        found: list[tuple[str, bytes]] = []
        while len(found) < 4:
            message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
            assert message is not None
            found.append((message["channel"].decode(), message["data"].split(b" ", 1)[1]))
            if len(found) == 1:
                assert message["data"] == b"%d letter 1" % offset
        assert found == [(room, b"letter 1"), (a, b"letter 3"), (b, b"letter 5"), (b, b"letter 6")]


# -- epochs ---------------------------------------------------------------------------------------------------------


async def test_an_epoch_is_one_for_all_until_redis_knows_less_than_a_node(x: Scripts) -> None:
    epoch, offset = await x.hello(0, "first")
    assert epoch == b"first"
    assert (await x.hello(0, "second"))[0] == b"first"
    assert (await x.hello(offset, "second"))[0] == b"first"
    emitted = await x.emit(1, "r")
    assert (await x.hello(emitted, "second"))[0] == b"first"
    await x.client.set(x.keys.offset("/x"), offset - 1000)
    epoch, anew = await x.hello(emitted, "second")
    assert (epoch, anew >= emitted) == (b"second", True)
    assert (await x.hello(0, "third"))[0] == b"second"
    assert await x.emit(2, "r") > emitted


async def test_a_redis_that_is_empty_gives_no_offset_that_was_given_before(x: Scripts) -> None:
    ahead = await x.now() + 1_000_000_000
    assert await x.hello(ahead, "first") == (b"first", ahead)
    assert await x.emit(1, "r") == ahead + 1


async def test_a_run_of_the_server_that_began_with_what_another_saved_ends_an_epoch(x: Scripts) -> None:
    """Its newest offset may be that of each node, and something was said after it was saved."""
    _, offset = await x.hello(0, "first")
    await x.client.set(x.keys.epoch("/x"), f"first:{'0' * 40}")
    epoch, anew = await x.hello(offset, "second")
    assert (epoch, anew >= offset) == (b"second", True)
    assert (await x.hello(anew, "third"))[0] == b"second"


async def test_who_gave_up_events_says_at_which_offset(x: Scripts) -> None:
    await x.hello(0, "first")
    assert await x.client.get(x.keys.gap("/x")) is None
    _, offset = await x.hello(0, "first", 1)
    assert int(await x.client.get(x.keys.gap("/x")) or 0) == offset


async def test_a_pulse_says_how_far_all_is_and_finds_out_that_redis_forgot(x: Scripts) -> None:
    names = [x.keys.offset("/x"), x.keys.epoch("/x")]
    assert await x.run(PULSE, names, "channel", "/x") is None
    await x.hello(0, "first")
    emitted = await x.emit(1, "r")
    async with x.client.pubsub() as heard:
        channel = f"{x.keys.prefix}:channel"
        await heard.subscribe(channel)
        await heard.get_message(timeout=5)
        epoch = await x.run(PULSE, names, channel, "/x")
        assert epoch == await x.client.get(x.keys.epoch("/x"))
        assert epoch.startswith(b"first:")
        message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message is not None
        word, offset, namespace = message["data"].split(b" ")
        assert (word, namespace) == (b"pulse", b"/x")
        assert int(offset) >= emitted
        assert await x.emit(2, "r") > int(offset)


async def test_what_nobody_uses_is_forgotten_in_the_end(x: Scripts) -> None:
    """A server's Redis may have been used under other prefixes before."""
    await x.hello(0, "first", 1)
    for number in range(5):
        await x.emit(number, "r", cap=2)
    await x.write("one", "r")
    await x.claim("other", "alice", taken_from="one")
    found = {key async for key in x.client.scan_iter(f"{x.keys.prefix}:*")}
    assert len(found) == 8
    assert all([0 < await x.client.pttl(key) <= 86_400_000 for key in found])


# -- one connection's room ------------------------------------------------------------------------------------------


async def test_what_is_told_once_goes_where_the_connection_is(x: Scripts) -> None:
    async with x.client.pubsub() as heard:
        a, b = (f"{x.keys.prefix}:{name}" for name in "ab")
        await heard.subscribe(a, b)
        for _ in "ab":
            await heard.get_message(timeout=5)
        home = x.keys.home("/x", "s")
        for channel in ("", "@", f"@{a}", a):
            await x.run(TELL_ONE, [home], channel, f"before {channel}")
        await x.client.set(home, b)
        for channel in ("", "@", f"@{a}", a):
            await x.run(TELL_ONE, [home], channel, f"after {channel}")
        found: list[tuple[str, str]] = []
        while len(found) < 5:
            message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
            assert message is not None
            found.append((message["channel"].decode(), message["data"].decode()))
        assert found == [(a, f"before @{a}"), (a, f"before {a}"), (b, "after @"), (b, f"after @{a}"), (a, f"after {a}")]


# -- sessions -------------------------------------------------------------------------------------------------------


async def test_rooms_keep_the_offset_at_which_they_were_entered(x: Scripts) -> None:
    start = await x.write("one", "a", "b")
    assert await x.session() == {
        "sid": "s",
        "scope": "alice",
        "anonymous": "0",
        "holder": "one",
        **dict.fromkeys(("start", "in:a", "in:b"), str(start)),
    }
    later = await x.write("one", "b", "c", whole=False)
    whole = await x.write("one", "c", "d", "b", scope="bob")
    assert start is not None
    assert later is not None
    assert whole is not None
    assert start < later < whole
    session = await x.session()
    assert {name: value for name, value in session.items() if name.startswith("in:")} == {
        "in:b": str(start),
        "in:c": str(later),
        "in:d": str(whole),
    }, "written whole, it is in no others"
    assert (session["start"], session["scope"]) == (str(start), "bob")
    assert await x.emit(1, "a") > whole, "what is said from now on is behind it"
    assert 0 < await x.client.pttl(x.key) <= RETENTION


async def test_who_does_not_hold_it_writes_nothing(x: Scripts) -> None:
    await x.write("one", "a")
    before = await x.session()
    assert [await x.write("other", "b", whole=whole) for whole in (True, False)] == [-1, -1]
    assert await x.keep("other") == -1
    for lifetime in (RETENTION, 0):
        await x.drop("other", lifetime)
    assert await x.session() == before
    assert await x.keep("one") == 1


async def test_a_room_is_written_only_where_there_is_a_session(x: Scripts) -> None:
    assert await x.write("one", "a", whole=False) is None
    assert await x.keep("one") == 0
    await x.drop("one")
    assert not await x.client.exists(x.key, x.home, x.keys.offset("/x"))


@pytest.mark.parametrize(
    ("owner", "comer", "may"),
    [
        (("alice", 0), ("alice", 0), True),
        (("alice", 0), ("bob", 0), False),
        (("guest", 1), ("other guest", 1), True),
        (("guest", 1), ("bob", 0), False),
        (("alice", 0), ("guest", 1), False),
        (("guest", 1), ("guest", 0), True),
    ],
)
async def test_whose_it_is(x: Scripts, owner: tuple[str, int], comer: tuple[str, int], may: bool) -> None:
    await x.write("one", "a", scope=owner[0], anonymous=str(owner[1]))
    answer, has = await x.claim("other", comer[0], anonymous=comer[1])
    assert (answer, has) == ([b"held", b"one"] if may else None, False)
    await x.drop("one")
    answer, has = await x.claim("other", comer[0], anonymous=comer[1])
    assert (answer is not None, has) == (may, may)
    assert await x.client.get(x.home) == (b"to other" if may else None)


async def test_it_is_taken_from_nobody_else_than_was_asked(x: Scripts) -> None:
    assert await x.claim("one", "alice") == (None, False)
    await x.write("one", "a")
    assert await x.claim("other", "alice", taken_from="third") == ([b"held", b"one"], False)
    answer, has = await x.claim("other", "alice", taken_from="one")
    assert has
    assert dict(zip(answer[::2], answer[1::2], strict=True))[b"sid"] == b"s"
    assert [await x.keep(each) for each in ("one", "other")] == [-1, 1]
    for key in (x.key, x.home):
        assert 0 < await x.client.pttl(key) <= RETENTION
    await x.drop("other")
    session = await x.session()
    assert (session["holder"], session["data"]) == ("", "data")
    await x.claim("third", "alice")
    await x.drop("third", 0)
    assert await x.session() == {}


# -- nodes ----------------------------------------------------------------------------------------------------------


async def test_who_does_not_beat_is_dead_to_the_others(x: Scripts) -> None:
    alive = x.keys.key(NODES, "alive")

    async def beat(node: str) -> Any:
        return await x.run(BEAT, [alive], node, 8, f"{x.keys.prefix}:{node}")

    async with x.client.pubsub() as heard:
        await heard.subscribe(f"{x.keys.prefix}:one")
        await heard.get_message(timeout=5)
        assert await beat("one") == [1, []], "it was not known"
        assert await beat("other") == [1, []]
        assert await beat("one") == [0, []]
        for _ in range(2):
            message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
            assert message is not None
            assert message["data"] == b"beat", "to itself alone"
    await x.client.zincrby(alive, -7, "other")
    assert await beat("one") == [0, []]
    await x.client.zincrby(alive, -2, "other")
    assert await beat("one") == [0, [b"other"]]
    assert await beat("other") == [0, []], "it lives after all"
