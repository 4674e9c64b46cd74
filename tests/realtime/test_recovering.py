"""Connection state recovery (SPEC §3), with the stock JavaScript client, on both transports."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import Any

import pytest

from server.realtime import recovery
from server.realtime.connection import Connection
from server.realtime.rooms import room_name
from server.realtime.server import Bounds
from tests.support import echo
from tests.support.client import PATIENCE
from tests.support.echo import Answer, EchoNamespace
from tests.support.managers import Serving
from tests.support.raw import raw_socket
from tests.support.recovering import abort, client, raw_connect
from tests.support.running import Running, token

ROOM = room_name(None, "numbered", "1")

each_transport = pytest.mark.parametrize("transport", ["websocket", "polling"])


def emit(server: Running, *numbers: int, room: str = ROOM, **options: Any) -> None:
    for number in numbers:
        server.realtime.deliver("/echo", "news", {"n": number}, room=room, **options)


async def gone(namespace: EchoNamespace) -> None:
    """The server has noticed."""
    async with asyncio.timeout(PATIENCE):
        await namespace.gone_event.wait()
    namespace.gone_event.clear()


# -- who comes back -------------------------------------------------------------------------------------------------


@each_transport
@pytest.mark.parametrize("side", ["client", "server"])
async def test_after_a_drop_it_goes_on_where_it_was(serving: Serving, transport: str, side: str) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server, transport) as alice:
        first = await alice.connect()
        assert first["recovered"] is False
        await alice.call("enter", {"number": 1})
        emit(server, 1)
        await alice.settle()
        if side == "client":
            await alice.cut()
        else:
            await abort(server)
            await alice.expect("disconnect")
        emit(server, 2)  # a poll that nobody reads any more is noticed now
        await gone(namespace)
        emit(server, 100, volatile=True)
        emit(server, 101, room=room_name(None, "numbered", "2"))
        emit(server, 102, skip=[first["id"]])
        emit(server, 3, room=first["id"])
        emit(server, 4)
        alice.heard.clear()
        again = await alice.connect()
        assert again == first | {"recovered": True}
        assert [name for name, *_ in alice.heard] == ["news", "news", "news", "connect", "connected"]
        emit(server, 5)
        await alice.settle()
        assert alice.numbers() == [2, 3, 4, 5]


async def test_again_and_again_by_itself(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        await alice.call("enter", {"number": 1})
        await alice.tell("reconnect", True)
        await alice.settle()
        for number in range(5):
            emit(server, 2 * number)  # may be lost with the connection
            await abort(server)
            await gone(namespace)
            emit(server, 2 * number + 1)
            assert await alice.connected() == first | {"recovered": True}
        assert alice.numbers() == list(range(10))


@each_transport
async def test_who_saw_only_its_greeting_comes_back_too(serving: Serving, transport: str) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server, transport) as alice:
        first = await alice.connect()
        await alice.cut()
        await gone(namespace)
        emit(server, 1, room=first["id"])
        assert await alice.connect() == first | {"recovered": True}
        assert alice.numbers() == [1]


async def test_who_saw_not_even_that_is_sent_it(serving: Serving) -> None:
    """It has no offset to send."""
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        async with raw_socket(server.url) as raw:
            known = await raw_connect(raw)
        await gone(namespace)
        async with raw_socket(server.url) as raw:
            await raw.send(f"40/echo,{json.dumps({'token': token(), 'recovery': True, 'pid': known['pid']})}")
            assert '"recovered":false' in await raw.expect('42/echo,["connected"')
            assert json.loads((await raw.expect("40/echo,"))[8:]) == known


async def test_binary_events_are_replayed_whole(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        await alice.cut()
        await gone(namespace)
        server.realtime.deliver("/echo", "picture", {"bytes": b"\x00\xff"}, room=first["id"])
        assert (await alice.connect())["recovered"]
        [[_, picture, offset]] = [heard for heard in alice.heard if heard[0] == "picture"]
        assert picture == {"bytes": {"type": "Buffer", "data": [0, 255]}}
        await alice.cut()
        await gone(namespace)
        alice.heard.clear()
        assert (await alice.connect())["recovered"]
        assert "picture" not in [name for name, *_ in alice.heard]
        assert re.match(r"\d+", offset)


async def test_who_was_too_slow_to_read_recovers_all_of_it(serving: Serving) -> None:
    bounds = Bounds(outbox_messages=50)
    async with serving(bounds=bounds, recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        await alice.call("enter", {"number": 1})
        await alice.tell("pause")
        sent = 0
        async with asyncio.timeout(PATIENCE):
            while not namespace.gone_event.is_set():
                server.realtime.deliver("/echo", "news", {"n": sent, "text": secrets.token_hex(10_000)}, room=ROOM)
                sent += 1
                await asyncio.sleep(0)
        namespace.gone_event.clear()
        assert server.realtime.eio.counters.too_slow == 1
        await alice.tell("resume")
        await alice.expect("disconnect")
        seen = len(alice.numbers())
        assert seen < sent
        assert await alice.connect() == first | {"recovered": True}
        assert alice.numbers() == list(range(sent))


async def test_what_it_is_asked_it_is_asked_again(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        [connection] = namespace.connections
        asked = asyncio.create_task(namespace.ask(connection, "question", {}, Answer, timeout=PATIENCE))
        [question] = await alice.expect("question")
        await alice.cut()
        await gone(namespace)
        await alice.tell("answer", "question", {"answer": "42"})
        assert await alice.connect() == first | {"recovered": True}
        assert await asked == {"answer": "42"}
        await alice.settle()
        assert [heard[1] for heard in alice.heard if heard[0] == "question"] == [question, question]


# -- who does not ---------------------------------------------------------------------------------------------------


@each_transport
@pytest.mark.parametrize("asks", [None, False, "true", 1])
async def test_who_does_not_ask_never_hears_of_it(serving: Serving, transport: str, asks: object) -> None:
    """Beside one who does, in the same room, and whatever else it says."""
    async with (
        serving(recovery=recovery.Bounds()) as (server, _),
        client(server, transport, recovery=asks) as bob,
        client(server) as alice,
    ):
        first = await bob.connect()
        assert "pid" not in first
        asking = await alice.connect()
        for each in (alice, bob):
            await each.call("enter", {"number": 1})
        emit(server, 1)
        await bob.settle()
        await alice.settle()
        assert ["news", {"n": 1}] in bob.heard
        assert all(len(line) == 2 for line in bob.heard)
        assert [len(line) for line in alice.heard if line[0] == "news"] == [3]
        await alice.cut()
        await bob.tell("know", {"_pid": asking["pid"], "_lastOffset": "1"})
        await bob.cut()
        again = await bob.connect()
        assert "pid" not in again
        assert again["id"] not in (first["id"], asking["id"])


async def test_without_recovery_nobody_gets_a_pid(serving: Serving) -> None:
    async with serving() as (server, _), client(server) as alice:
        assert "pid" not in await alice.connect()
        await alice.settle()
        assert all(len(line) == 2 for line in alice.heard)


# -- who is a fresh session -----------------------------------------------------------------------------------------


def check_fresh(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after["recovered"] is False
    assert after["id"] != before["id"]
    assert after["pid"] != before["pid"]


@pytest.mark.parametrize(
    "forged",
    [
        {"_lastOffset": "9" * 16},
        {"_lastOffset": f"{'9' * 16}-{'a' * 10}-1"},
        {"_lastOffset": "garbage"},
        {"_lastOffset": "-1"},
        {"_lastOffset": 1},
        {"_lastOffset": {"$gt": ""}},
        {"_pid": "unknown"},
        {"_pid": ["unknown"]},
        {"_pid": "x" * 10_000},
    ],
)
async def test_what_the_server_never_gave_out(serving: Serving, forged: dict[str, object]) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        await alice.call("enter", {"number": 1})
        await alice.tell("know", forged)
        await alice.cut()
        await gone(namespace)
        emit(server, 1)
        check_fresh(first, await alice.connect())
        emit(server, 2)
        await alice.settle()
        assert alice.numbers() == [], "it is in no room of the session that it could not have"


async def test_the_pid_of_another_user(serving: Serving) -> None:
    async with (
        serving(recovery=recovery.Bounds()) as (server, namespace),
        client(server) as alice,
        client(server, token=token("mallory")) as mallory,
    ):
        first = await alice.connect()
        await alice.cut()
        await gone(namespace)
        await mallory.tell("know", {"_pid": first["pid"], "_lastOffset": "1"})
        check_fresh(first, await mallory.connect())
        assert await alice.connect() == first | {"recovered": True}


async def test_who_comes_too_late() -> None:
    now = 0.0
    async with (
        echo.serving(recovery=recovery.Bounds(seconds=10), clock=lambda: now) as (server, namespace),
        client(server) as alice,
    ):
        first = await alice.connect()
        await alice.cut()
        await gone(namespace)
        now = 9.9
        assert (await alice.connect())["recovered"]
        await alice.cut()
        await gone(namespace)
        now = 19.9
        check_fresh(first, await alice.connect())


@each_transport
async def test_who_said_goodbye(serving: Serving, transport: str) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server, transport) as alice:
        first = await alice.connect()
        await alice.tell("goodbye")
        await gone(namespace)
        check_fresh(first, await alice.connect())


@each_transport
async def test_who_was_sent_away(serving: Serving, transport: str) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, _), client(server, transport) as alice:
        first = await alice.connect()
        await server.realtime.disconnect(first["id"], namespace="/echo")
        await alice.expect("disconnect")
        check_fresh(first, await alice.connect())


async def test_who_speaks_no_socketio(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        async with raw_socket(server.url) as raw:
            known = await raw_connect(raw)
            await raw.send("4nonsense")
            await raw.closed()
        await gone(namespace)
        async with raw_socket(server.url) as raw:
            again = await raw_connect(raw, pid=known["pid"])
            assert not known.items() & again.items()


async def test_one_of_two_at_once(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace):
        async with raw_socket(server.url) as raw:
            known = await raw_connect(raw)
        await gone(namespace)
        async with raw_socket(server.url) as one, raw_socket(server.url) as other:
            replies = await asyncio.gather(*(raw_connect(each, pid=known["pid"]) for each in (one, other)))
            assert sorted(reply == known for reply in replies) == [False, True]
            assert len({reply["sid"] for reply in replies}) == len({reply["pid"] for reply in replies}) == 2


async def test_who_missed_more_than_is_logged() -> None:
    async with echo.serving(recovery=recovery.Bounds(messages=10)) as (server, namespace), client(server) as alice:
        first = await alice.connect()
        await alice.call("enter", {"number": 1})
        await alice.cut()
        await gone(namespace)
        emit(server, *range(10))
        assert (await alice.connect())["recovered"]
        assert alice.numbers() == list(range(10))
        await alice.cut()
        await gone(namespace)
        emit(server, *range(11))
        check_fresh(first, await alice.connect())
        assert alice.numbers() == list(range(10))


# -- whose rights have changed --------------------------------------------------------------------------------------


async def test_a_token_that_expired_meanwhile_opens_nothing(serving: Serving) -> None:
    """But a fresh one does."""
    now = 0.0
    async with (
        serving(recovery=recovery.Bounds(), now=lambda: now) as (server, namespace),
        client(server, token=token(lifetime=3600)) as alice,
    ):
        first = await alice.connect()
        await alice.cut()
        await gone(namespace)
        now = 1e12
        await alice.tell("connect")
        [error] = await alice.expect("connect_error")
        assert (error["code"], error["close_code"]) == ("TOKEN_EXPIRED", 4001)
        now = 0.0
        assert await alice.connect() == first | {"recovered": True}


async def test_rooms_that_it_has_to_leave_are_not_replayed(serving: Serving) -> None:
    async with serving(recovery=recovery.Bounds()) as (server, namespace), client(server) as alice:
        await alice.connect()
        for number in (1, 2):
            await alice.call("enter", {"number": number})

        async def leave(connection: Connection) -> None:
            await namespace.leave(connection, ROOM)

        namespace.recovered = leave  # type: ignore[method-assign]
        await alice.cut()
        await gone(namespace)
        emit(server, 1)
        emit(server, 2, room=room_name(None, "numbered", "2"))
        assert (await alice.connect())["recovered"]
        emit(server, 3)
        emit(server, 4, room=room_name(None, "numbered", "2"))
        await alice.settle()
        assert alice.numbers() == [2, 4]
