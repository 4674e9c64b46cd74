from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.client import PATIENCE
from tests.support.proxy import Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Echo:
    """What it hears it says again; `heard` is all of it."""

    port: int = 0
    heard: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            while chunk := await reader.read(65536):
                self.heard += chunk
                writer.write(chunk)
        writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    yield echo
    server.close()


@pytest_asyncio.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    proxy = await Proxy.start("127.0.0.1", echo.port)
    yield proxy
    await proxy.close()


async def connected(proxy: Proxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said_again(streams: Streams, text: bytes) -> bytes:
    reader, writer = streams
    writer.write(text)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(text))


async def end(streams: Streams) -> None:
    streams[1].transport.abort()


async def test_it_forwards_both_ways(proxy: Proxy) -> None:
    streams = await connected(proxy)
    assert await said_again(streams, b"hello") == b"hello"
    large = bytes(range(256)) * 40_000
    assert await said_again(streams, large) == large
    await end(streams)


async def test_an_end_on_one_side_ends_the_other(proxy: Proxy) -> None:
    streams = await connected(proxy)
    streams[1].write_eof()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await streams[0].read()
    await end(streams)


async def test_refused_connections_leave_those_there_are(proxy: Proxy) -> None:
    streams = await connected(proxy)
    await said_again(streams, b"hello")
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connected(proxy)
    assert await said_again(streams, b"still here") == b"still here"
    await proxy.accept()
    again = await connected(proxy)
    assert await said_again(again, b"hello") == b"hello"
    assert proxy.port == port
    await end(streams)
    await end(again)


async def test_cut_connections_are_reset_and_new_ones_work(proxy: Proxy) -> None:
    streams = await connected(proxy)
    await said_again(streams, b"hello")
    await proxy.cut()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await streams[0].read()
    again = await connected(proxy)
    assert await said_again(again, b"hello") == b"hello"
    await end(again)


async def test_a_black_hole_forwards_nothing_and_keeps_connections(echo: Echo, proxy: Proxy) -> None:
    streams = await connected(proxy)
    await said_again(streams, b"before")
    proxy.black_hole(True)
    streams[1].write(b"into it")
    during = await connected(proxy)  # it is accepted, as by a machine that then hangs
    during[1].write(b"new")
    for each in (streams, during):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await each[0].read(1)
    assert echo.heard == b"before"
    proxy.black_hole(False)
    async with asyncio.timeout(PATIENCE):
        assert await streams[0].readexactly(7) == b"into it"
        assert await during[0].readexactly(3) == b"new"
    await end(streams)
    await end(during)


async def test_delay_is_each_way_and_not_for_each_chunk(proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    streams = await connected(proxy)
    await said_again(streams, b"hello")
    proxy.delay(0.05)
    began = loop.time()
    reader, writer = streams
    for _ in range(100):
        writer.write(b"chunk")
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await reader.readexactly(5)
    first = loop.time() - began
    assert first >= 0.1
    proxy.delay(0)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(99 * 5) == b"chunk" * 99
    await end(streams)
