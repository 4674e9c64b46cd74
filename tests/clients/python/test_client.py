from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from clients.python import Client, NotConnected
from tests.clients.python.opening import client, some
from tests.conftest import Serve
from tests.support.running import token


async def test_a_namespace_is_connected_when_it_is_first_asked_for(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        assert not len(server.realtime.manager)
        first, second = await asyncio.gather(opened.connection("/trading"), opened.connection("/trading"))
        assert first is second
        await opened.session("s")
        await opened.monitor()
        assert sorted(opened._connections) == ["/chat", "/monitor", "/trading"]


async def test_leaving_the_block_ends_all_whatever_happened_in_it(serve: Serve) -> None:
    server = await serve()
    with suppress(ZeroDivisionError):
        async with client(server.url) as opened:
            session, channel = await opened.session("s"), await opened.channel("general")
            1 / 0  # noqa: B018 - something goes wrong
    assert [each async for each in session] == []
    assert [each async for each in channel] == []
    assert not len(server.realtime.manager)
    with pytest.raises(NotConnected, match="CLOSED"):
        await opened.connection("/copilot")


async def test_cancelled_it_ends_too(serve: Serve) -> None:
    server = await serve()
    inside = asyncio.Event()

    async def use() -> None:
        async with client(server.url) as opened:
            session = await opened.session("s")
            inside.set()
            await some(session, 1)

    using = asyncio.create_task(use())
    await inside.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert not len(server.realtime.manager)


async def test_what_was_closed_is_forgotten(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        for _ in range(5):
            await (await opened.channel("general")).close()
        assert len(opened._opened) == 1
        connection = await opened.connection("/trading")
        assert sum(map(len, connection._handlers.values())) == 0
        assert not connection._listeners


async def test_a_policy_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="no reconnect policy 'never'"):
        Client("http://localhost:8000", token(), policy="never")
