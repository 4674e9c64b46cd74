from __future__ import annotations

import asyncio

from clients.python import ReconnectPolicy
from clients.python.connection import Connection
from clients.python.fallback import Fallback
from tests.clients.python.opening import client, until_state
from tests.conftest import Serve
from tests.support.proxy import Proxy


async def active(fallback: Fallback, expected: bool) -> None:
    changed = asyncio.Event()
    stop = fallback.on_change(changed.set)
    async with asyncio.timeout(10):
        while fallback.active is not expected:
            changed.clear()
            await changed.wait()
    stop()


async def test_after_so_many_attempts_and_until_the_socket_is_back(serve: Serve) -> None:
    server = await serve()
    proxy = await Proxy.start("127.0.0.1", int(server.url.rpartition(":")[2]))
    url = f"http://127.0.0.1:{proxy.port}"
    async with client(url, policy=ReconnectPolicy(first=0.01)) as opened:
        connection = await opened.connection("/trading")
        fallback = Fallback(connection, allowed=True)
        proxy.refuse()
        await proxy.cut()
        await active(fallback, True)
        assert (connection.state, connection.failed_attempts) == ("reconnecting", 5)
        await proxy.accept()
        await active(fallback, False)
        assert connection.state == "connected"
        await fallback.close()
    await proxy.close()


async def test_a_socket_that_was_given_up_is_tried_now_and_then(serve: Serve) -> None:
    server = await serve()
    proxy = await Proxy.start("127.0.0.1", int(server.url.rpartition(":")[2]))
    url = f"http://127.0.0.1:{proxy.port}"
    async with client(url, policy=ReconnectPolicy(first=0.01, attempts=1)) as opened:
        connection = await opened.connection("/trading")
        fallback = Fallback(connection, allowed=True, retry_seconds=0.1)
        proxy.refuse()
        await proxy.cut()
        await active(fallback, True)
        await until_state(connection, "failed")
        await proxy.accept()
        await active(fallback, False)
        await fallback.close()
    await proxy.close()


async def test_who_is_refused_has_no_other_way(serve: Serve) -> None:
    server = await serve(SINGLE_SESSION_PER_USER="true")
    tokens = iter([None])
    async with client(server.url) as opened:
        connection: Connection = await opened.connection("/trading")
        fallback, forbidden = Fallback(connection, allowed=True), Fallback(connection, allowed=False)
        connection._token._token = lambda: next(tokens)
        for session in list(server.realtime.eio.sessions.values()):
            session.outbox._transport.abort()  # type: ignore[union-attr]
        await until_state(connection, "failed")
        assert connection.why is not None
        assert connection.why.code == "TOKEN_MISSING"
        assert not fallback.active
        assert not forbidden.active
        await fallback.close()
        await forbidden.close()
