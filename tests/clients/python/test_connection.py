from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from clients.python import Client, Lost, NotConnected, ReconnectPolicy, Refused, TimedOut
from clients.python.connection import Connection
from tests.clients.python.opening import QUICK, Filter, client, some, until, until_state
from tests.conftest import Serve
from tests.support.client import PATIENCE
from tests.support.cluster import Nodes
from tests.support.proxy import Proxy
from tests.support.recovering import abort
from tests.support.redis import RedisServer
from tests.support.running import Running, token

NEVER_SOON = ReconnectPolicy(first=600.0, longest=600.0)


def port(server: Running) -> int:
    return int(server.url.rpartition(":")[2])


def greetings(connection: Connection) -> asyncio.Queue[Any]:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    connection.on("connected", heard.put_nowait)
    return heard


async def test_acks_without_their_ok_and_events(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        connection = await opened.connection("/trading")
        assert await connection.call("unsubscribe", {"channel": "general"}) == {"channel": "general", "success": False}
        assert (connection.state, connection.user_id, connection.recovered) == ("connected", "alice", False)
        assert connection.id
    with pytest.raises(NotConnected, match="CLOSED"):
        await connection.call("ping", {})


async def test_what_the_server_refuses_is_raised_with_its_code(serve: Serve) -> None:
    server = await serve()
    async with client(server.url, lambda: "garbage") as opened:
        with pytest.raises(Refused) as caught:
            await opened.connection("/trading")
        assert (caught.value.code, caught.value.fault["close_code"]) == ("TOKEN_INVALID", 4001)
    async with client(server.url) as opened:
        connection = await opened.connection("/trading")
        with pytest.raises(Refused, match="FORBIDDEN"):
            await connection.call("subscribe", {"channel": "user:bob"})


async def test_a_call_between_the_namespaces_end_and_the_sockets_waits_for_that(serve: Serve) -> None:
    """Whoever asks again after `Lost` would hold up the loop, in which the socket ends, for ever."""
    server = await serve()
    async with client(server.url) as opened:
        connection = await opened.connection("/trading")
        assert connection._socket is not None
        connection._socket.namespaces.clear()
        calling = asyncio.create_task(connection.call("ping", {}))
        assert not (await asyncio.wait({calling}, timeout=0.1))[0]
        await abort(server)
        with pytest.raises(Lost):
            await calling
        assert await connection.call("ping", {})


@pytest.mark.parametrize("namespace", ["/trading", "/chat"])
async def test_nobody_there(namespace: str) -> None:
    async with client("http://127.0.0.1:9") as opened:
        with pytest.raises(NotConnected, match="UNREACHABLE"):
            await (opened.session("s") if namespace == "/chat" else opened.connection(namespace))


async def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="not an http://"):
        Client("localhost:8000")
    with pytest.raises(NotConnected, match="async with"):
        await Client("http://localhost:8000").connection("/chat")


async def test_the_first_connect_too_may_be_tried_by_the_policy(serve: Serve) -> None:
    server = await serve()
    proxy = await Proxy.start("127.0.0.1", port(server))
    proxy.refuse()
    async with client(f"http://127.0.0.1:{proxy.port}", retry_first=True) as opened:
        connection = opened._new_connection("/trading")
        opening = asyncio.create_task(opened.connection("/trading"))
        await until(connection, lambda: connection.failed_attempts >= 2)
        await proxy.accept()
        assert (await opening).state == "connected"
    await proxy.close()


async def test_it_goes_on_where_it_was(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        connection = await opened.connection("/trading")
        heard = greetings(connection)
        id = connection.id
        await connection.call("subscribe", {"channel": "general"})
        for _ in range(3):
            await abort(server)
            greeting = await asyncio.wait_for(heard.get(), PATIENCE)
            assert (greeting["connection_id"], greeting["recovered"], connection.recovered) == (id, True, True)


async def test_a_call_waits_for_the_connection_to_be_back(serve: Serve) -> None:
    server = await serve()
    proxy = await Proxy.start("127.0.0.1", port(server))
    async with client(f"http://127.0.0.1:{proxy.port}") as opened:
        connection = await opened.connection("/trading")
        proxy.refuse()
        await proxy.cut()
        await until_state(connection, "reconnecting")
        asking = asyncio.create_task(connection.call("ping", {}))
        with pytest.raises(NotConnected, match="NOT_CONNECTED"):
            await connection.call("ping", {}, timeout=0.05)
        await proxy.accept()
        assert "timestamp" in await asking
    await proxy.close()


async def test_what_is_under_way_when_it_drops_is_lost(serve: Serve) -> None:
    server = await serve()
    proxy = await Proxy.start("127.0.0.1", port(server))
    async with client(f"http://127.0.0.1:{proxy.port}") as opened:
        connection = await opened.connection("/trading")
        proxy.black_hole(True)
        asking = asyncio.create_task(connection.call("ping", {}))
        with pytest.raises(TimedOut, match="no answer to ping"):
            await connection.call("ping", {}, timeout=0.05)
        await proxy.cut()
        proxy.black_hole(False)
        with pytest.raises(Lost, match="CONNECTION_LOST"):
            await asking
        await connection.call("ping", {})
    await proxy.close()


async def test_it_gives_up_by_its_policy_and_may_be_told_to_try_again(serve: Serve) -> None:
    server = await serve()
    proxy = await Proxy.start("127.0.0.1", port(server))
    policy = ReconnectPolicy(first=0.01, attempts=3)
    async with client(f"http://127.0.0.1:{proxy.port}", policy=policy) as opened:
        connection = await opened.connection("/trading")
        proxy.refuse()
        await proxy.cut()
        error = await asyncio.wait_for(connection.ended(), PATIENCE)
        assert (error.code, connection.state, connection.failed_attempts) == ("UNREACHABLE", "failed", 4)
        with pytest.raises(NotConnected):
            await connection.call("ping", {})
        await proxy.accept()
        connection.retry()
        await until_state(connection, "connected")
        await connection.call("ping", {})
    await proxy.close()


async def test_who_is_sent_away_does_not_come_back(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        connection = await opened.connection("/trading")
        assert connection.id
        await server.realtime.disconnect(connection.id, namespace="/trading")
        assert (await asyncio.wait_for(connection.ended(), PATIENCE)).code == "DISCONNECTED"


async def test_a_newer_session_takes_over(serve: Serve) -> None:
    server = await serve(SINGLE_SESSION_PER_USER="true")
    async with client(server.url) as first, client(server.url) as second:
        older = await first.connection("/trading")
        newer = await second.connection("/trading")
        assert (await asyncio.wait_for(older.ended(), PATIENCE)).code == "SESSION_REPLACED"
        await newer.call("ping", {})


async def test_a_token_that_runs_out_is_renewed_in_time(serve: Serve) -> None:
    server = await serve()
    given: list[str] = []

    async def callback() -> str:
        given.append(token("alice", lifetime=2 if not given else 3600))
        return given[-1]

    async with client(server.url, callback) as opened:
        connection = await opened.connection("/trading")
        heard = greetings(connection)
        async with Client(server.url, token("bob", lifetime=2)) as other:  # it ends no sooner than the first of alice
            ended = await asyncio.wait_for((await other.connection("/trading")).ended(), PATIENCE)
        assert ended.code == "TOKEN_EXPIRED"
        await connection.call("ping", {})
        assert (len(given), heard.empty()) == (2, True), "on the same connection"


async def test_a_token_that_was_not_renewed_is_asked_for_anew(serve: Serve) -> None:
    server = await serve()
    given: list[str] = []

    def callback() -> str:
        given.append(token("alice", lifetime=1 if len(given) < 2 else 3600))
        return given[-1] if len(given) != 2 else "garbage"

    async with client(server.url, callback) as opened:
        connection = await opened.connection("/trading")
        await until_state(connection, "reconnecting")
        await until_state(connection, "connected")
        assert len(given) >= 3


async def test_a_token_that_cannot_be_renewed_ends_it(serve: Serve) -> None:
    server = await serve()
    expiring = token("alice", lifetime=1)
    async with client(server.url, "alice") as _, Client(server.url, expiring, policy=QUICK) as opened:
        connection = await opened.connection("/trading")
        assert (await asyncio.wait_for(connection.ended(), PATIENCE)).code == "TOKEN_EXPIRED"


async def test_a_full_server_is_tried_again(serve: Serve) -> None:
    server = await serve(WS_MAX_CONNECTIONS=1)
    async with client(server.url, retry_first=True) as second:
        async with client(server.url) as first:
            await first.connection("/trading")
            waiting = second._new_connection("/trading")
            opening = asyncio.create_task(second.connection("/trading"))
            await until(waiting, lambda: waiting.failed_attempts >= 2)
            assert str(waiting.why).startswith("SERVER_FULL")
        assert (await opening).state == "connected"


async def test_where_websockets_are_cut_it_polls(serve: Serve) -> None:
    server = await serve()
    async with Filter(port(server)) as network:
        network.refused = (b"transport=websocket",)
        async with client(network.url) as opened:
            connection = await opened.connection("/trading")
            await connection.call("ping", {})
            assert connection._socket is not None
            assert connection._socket.eio.transport() == "polling"


async def test_handlers_and_answers_that_fail_harm_nobody(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = await serve()
    async with client(server.url) as opened:
        connection = await opened.connection("/trading")
        heard: list[Any] = []

        def fail(_: Any) -> None:
            raise RuntimeError("mine")

        stop = connection.on("chat_message", fail)
        connection.on("chat_message", heard.append)
        await connection.call("subscribe", {"channel": "general"})
        await connection.call("chat_message", {"message": "one"})
        stop()
        stop()
        assert [each["message"] for each in heard] == ["one"]
        assert "a handler of chat_message failed" in caplog.text


async def test_cancelled_while_it_connects_it_leaves_nothing() -> None:
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with client(f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}") as opened:
        opening = asyncio.create_task(opened.connection("/trading"))
        await asyncio.wait_for(asked.wait(), PATIENCE)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    silent.close()


async def test_leaving_says_goodbye(serve: Serve) -> None:
    """Else the server would keep the session for whoever comes back."""
    server = await serve()
    async with client(server.url, "bob") as other:
        watching = await other.session("s")
        heard: asyncio.Queue[Any] = asyncio.Queue()
        watching.on("system", heard.put_nowait)
        async with client(server.url, "operator", roles=("operator",)) as opened:
            await opened.session("s")
        async with asyncio.timeout(2):  # WS_LEAVE_DELAY is three
            while (await heard.get())["event"] != "user_left":
                pass


async def test_a_server_that_drains_is_left_for_another_at_its_time(tmp_path: Path, postgres_url: str) -> None:
    """Its policy alone would bring the client back after ten minutes."""
    async with (
        RedisServer() as redis,
        Nodes(tmp_path, database_url=postgres_url, redis_urls=[redis.url] * 2) as nodes,
    ):
        proxy = await Proxy.start("127.0.0.1", nodes.port(0))
        async with client(f"http://127.0.0.1:{proxy.port}", policy=NEVER_SOON) as opened:
            connection = await opened.connection("/trading")
            id, heard = connection.id, greetings(connection)
            proxy._target = ("127.0.0.1", nodes.port(1))
            began = time.monotonic()
            await nodes.terminate(0)
            greeting = await asyncio.wait_for(heard.get(), PATIENCE)
            assert (greeting["connection_id"], greeting["recovered"]) == (id, True)
            assert time.monotonic() - began < 10
        await proxy.close()


async def test_a_node_that_is_killed_costs_nothing(tmp_path: Path, postgres_url: str) -> None:
    async with (
        RedisServer() as redis,
        Nodes(tmp_path, database_url=postgres_url, redis_urls=[redis.url] * 2) as nodes,
    ):
        proxy = await Proxy.start("127.0.0.1", nodes.port(0))
        async with (
            client(f"http://127.0.0.1:{proxy.port}") as opened,
            client(nodes.url(1), "operator", roles=("operator",)) as other,
        ):
            session, elsewhere = await opened.session("s"), await other.session("s")
            said = []
            for number in range(40):
                if number == 20:
                    proxy._target = ("127.0.0.1", nodes.port(1))
                    await nodes.kill(0)
                sender = session if number % 2 else elsewhere
                said.append((await sender.send(str(number))).seq)
            assert said == list(range(1, 41))
            for each in (session, elsewhere):
                assert [message.content for message in await some(each, 40)] == [str(number) for number in range(40)]
        await proxy.close()


async def test_many_clients_at_once(serve: Serve) -> None:
    server = await serve()

    async def one(number: int) -> None:
        async with client(server.url, f"user-{number}") as opened:
            await (await opened.connection("/trading")).call("ping", {})

    await asyncio.gather(*map(one, range(30)))
    assert not len(server.realtime.manager)
