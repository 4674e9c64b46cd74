from __future__ import annotations

import asyncio
import gc
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp._websocket import helpers
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.engine import seams
from tests.support.client import PATIENCE

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET /taken HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Shout(asyncio.Protocol):
    """What takes over: answers in capitals."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Host:
    def __init__(self) -> None:
        self.taken: list[Shout] = []
        self.refused = 0
        self.tails: list[bytes] = []
        self.before: Callable[[web.Request], None] = lambda request: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.runner: web.AppRunner
        self.port = 0

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.before(request)
        await self.gate.wait()
        try:
            transport, tail = seams.take_over(request)
        except ConnectionResetError:
            self.refused += 1
            return web.Response(status=400)
        self.tails.append(tail)
        self.taken.append(Shout(transport))
        transport.set_protocol(self.taken[-1])
        transport.write(b"taken")
        return seams.Handed()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def serving(*, access_log: logging.Logger | None = None) -> AsyncIterator[Host]:
    """Who waits at its end for a connection waits for a minute."""
    host = Host()
    app = web.Application()
    app.router.add_get("/taken", host.take)
    app.router.add_get("/", _plain)
    host.runner = web.AppRunner(app, access_log=access_log, shutdown_timeout=60)
    await host.runner.setup()
    await web.TCPSite(host.runner, "127.0.0.1", 0).start()
    host.port = host.runner.addresses[0][1]
    try:
        async with asyncio.timeout(PATIENCE):
            yield host
    finally:
        for each in host.taken:
            each.transport.abort()
        await host.runner.cleanup()


async def _plain(request: web.Request) -> web.Response:
    return web.Response(text="plain")


def left() -> list[object]:
    """What aiohttp keeps of its connections and requests."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, RequestHandler | web.BaseRequest)]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - aiohttp's tasks have no event of ours
        await asyncio.sleep(0)


# -- which one moved ----------------------------------------------------------------------------------------------


def test_what_is_touched_is_where_it_was() -> None:
    assert isinstance(web.Request.protocol, property), "request.protocol"
    assert inspect.isdatadescriptor(BaseProtocol.transport), "BaseProtocol.transport can be set"  # type: ignore[attr-defined]
    assert list(inspect.signature(RequestHandler.connection_lost).parameters) == ["self", "exc"]
    assert inspect.isdatadescriptor(RequestHandler._message_tail), "what came behind the request"  # type: ignore[attr-defined]
    assert issubclass(RequestHandler, BaseProtocol)
    for name in ("prepare", "write_eof"):
        theirs, ours = (getattr(each, name) for each in (web.Response, seams.Handed))
        assert inspect.iscoroutinefunction(theirs), f"web.Response.{name}"
        assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters], name


def test_connection_lost_closes_only_what_it_still_has() -> None:
    source = inspect.getsource(RequestHandler.force_close)
    assert "if self.transport is not None" in source, "take_over sets it to None so that it is not closed"


def test_masks_are_taken_off_by_c() -> None:
    assert helpers.websocket_mask is not helpers._websocket_mask_python
    assert seams.websocket_mask is helpers.websocket_mask


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=100))
def test_unmask(mask: bytes, body: bytes) -> None:
    changed = bytearray(body)
    seams.unmask(mask, changed)
    assert changed == bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))


# -- after a take-over --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requests_before", [0, 2])
async def test_nothing_of_aiohttp_is_left(requests_before: int) -> None:
    async with serving() as host:
        tasks, before = asyncio.all_tasks(), len(left())
        reader, writer = await host.connect()
        for _ in range(requests_before):
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\nplain")).startswith(b"HTTP/1.1 200")
        writer.write(UPGRADE)
        assert await reader.readexactly(5) == b"taken"
        manager = host.runner.server
        assert manager is not None
        await until(lambda: asyncio.all_tasks() == tasks and not manager.connections)
        assert len(left()) == before
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.close()
        await host.taken[0].lost.wait()


async def test_what_came_behind_the_request_is_not_lost() -> None:
    async with serving() as host:
        reader, writer = await host.connect()
        writer.write(UPGRADE + b"early")
        assert await reader.readexactly(5) == b"taken"
        assert host.tails == [b"early"]
        writer.close()


async def test_one_that_aiohttp_reads_no_more_is_read_again() -> None:
    async with serving() as host:
        host.gate.clear()
        transports: list[asyncio.Transport] = []
        host.before = lambda request: transports.append(request.transport)  # type: ignore[arg-type]
        reader, writer = await host.connect()
        early = b"x" * 4_000_000
        writer.write(UPGRADE + early)
        await until(lambda: transports and not transports[0].is_reading())
        host.gate.set()
        assert await reader.readexactly(5) == b"taken"
        assert 0 < len(host.tails[0]) < len(early)
        rest = await reader.readexactly(len(early) - len(host.tails[0]))
        assert rest == b"X" * len(rest)
        writer.close()


async def test_it_outlives_the_server_which_does_not_wait_for_it() -> None:
    async with serving() as host:
        reader, writer = await host.connect()
        writer.write(UPGRADE)
        await reader.readexactly(5)
        await host.runner.cleanup()
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"STILL HERE"
        writer.close()


async def test_the_access_log_has_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(access_log=logging.getLogger("access")) as host:
        reader, writer = await host.connect()
        writer.write(UPGRADE)
        await reader.readexactly(5)
        await until(lambda: caplog.records)
        writer.close()
    assert [(record.name, record.levelname) for record in caplog.records] == [("access", "INFO")]
    assert "GET /taken" in caplog.text


async def test_who_is_gone_already_is_not_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as host:
        host.before = lambda request: request.transport.abort()
        reader, writer = await host.connect()
        writer.write(UPGRADE)
        assert await reader.read() == b""
        writer.close()
        host.before = lambda request: request.protocol.connection_lost(None)
        reader, writer = await host.connect()
        writer.write(UPGRADE)
        await until(lambda: host.refused == 2)
        writer.close()
        assert host.taken == []
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
