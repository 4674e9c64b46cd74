"""PYTHON-SOCKETIO.md §4: a server stops in bounded time whatever its clients do, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from server.realtime.connection import Connection
from server.realtime.engine.server import Engine
from server.realtime.engine.session import Session
from server.realtime.server import Bounds
from tests.realtime.inherited.wire import Poller, alive, connect_packet, eventually, poller, wire
from tests.support.client import PATIENCE
from tests.support.echo import EchoNamespace, serving
from tests.support.raw import POLLING, WEBSOCKET
from tests.support.running import Running

Kind = Callable[[AsyncExitStack, Running, EchoNamespace], Awaitable[None]]


async def idle_poller(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    one = await stack.enter_async_context(poller(server.url))
    await one.join()
    await polling(stack, server, one)


async def polling(stack: AsyncExitStack, server: Running, one: Poller) -> None:
    waiting = asyncio.create_task(one.get())
    stack.callback(waiting.cancel)
    await eventually(lambda: server.realtime.eio.sessions[one.sid].polling)


async def poller_between_polls(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    await (await stack.enter_async_context(poller(server.url))).join()


async def poller_that_posts(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    """And never ends."""
    one = await stack.enter_async_context(poller(server.url))
    await one.join()

    async def body() -> AsyncIterator[bytes]:
        yield b"4"
        await asyncio.Event().wait()

    posting = asyncio.create_task(one.http.post(one.url, data=body()))
    stack.callback(posting.cancel)
    await eventually(lambda: server.realtime.eio.sessions[one.sid].posting)


async def idle_websocket(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    await (await stack.enter_async_context(wire(server.url))).join()


async def websocket_without_connect(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    await stack.enter_async_context(wire(server.url))


async def websocket_that_does_not_read(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    one = await stack.enter_async_context(wire(server.url))
    await one.join("silent")
    for _ in range(400):  # more than the kernel takes for it
        await namespace.emit("flood", {"text": "x" * 20_000}, room="everyone")
        await asyncio.sleep(0)


async def upgrade_half_done(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    one = await stack.enter_async_context(poller(server.url))
    await one.join()
    probe = await stack.enter_async_context(wire(server.url, f"{WEBSOCKET}&sid={one.sid}"))
    await probe.send("2probe")
    assert await probe.receive() == "3probe"


async def upgrade_not_begun(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    one = await stack.enter_async_context(poller(server.url))
    await one.join()
    await stack.enter_async_context(wire(server.url, f"{WEBSOCKET}&sid={one.sid}"))
    await polling(stack, server, one)


async def in_a_slow_handler(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    one = await stack.enter_async_context(wire(server.url))
    await one.join()
    await one.send(*(f'42/echo,{number}["wait",{{"number":{number}}}]' for number in range(100)))
    await namespace.entered.wait()


async def being_admitted(stack: AsyncExitStack, server: Running, namespace: EchoNamespace) -> None:
    """For ever."""
    reached = asyncio.Event()

    async def admit(*arguments: object, **known: object) -> Connection:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    namespace.admit = admit  # type: ignore[method-assign]
    for transport in (wire, poller):
        reached.clear()
        one = await stack.enter_async_context(transport(server.url))
        if isinstance(one, Poller):
            posting = asyncio.create_task(one.post(connect_packet()))
            stack.callback(posting.cancel)
        else:
            await one.send(connect_packet())
        await reached.wait()


KINDS: list[Kind] = [
    idle_poller,
    poller_between_polls,
    poller_that_posts,
    idle_websocket,
    websocket_without_connect,
    websocket_that_does_not_read,
    upgrade_half_done,
    upgrade_not_begun,
    in_a_slow_handler,
    being_admitted,
]


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> set[object]:
    """Requests that the engine is at: the server's runner waits for them, long."""
    requests: set[object] = set()
    handle = Engine.handle_request

    async def counted(self: Engine, request: web.Request) -> web.StreamResponse:
        one = object()  # a request has no hash
        requests.add(one)
        try:
            return await handle(self, request)
        finally:
            requests.discard(one)

    monkeypatch.setattr(Engine, "handle_request", counted)
    return requests


def timers() -> Iterator[str]:
    """Those that call into the server; of the loop, which has no public list of them."""
    for handle in asyncio.get_running_loop()._scheduled:  # type: ignore[attr-defined]
        if not handle.cancelled() and str(getattr(handle._callback, "__module__", "")).startswith("server."):
            yield repr(handle)


async def stop(kinds: list[Kind], unanswered: set[object]) -> None:
    roomy = Bounds(outbox_messages=100_000, outbox_bytes=100_000_000)
    async with AsyncExitStack() as stack, serving(bounds=roomy) as (server, namespace):
        for kind in kinds:
            await kind(stack, server, namespace)
        async with asyncio.timeout(PATIENCE / 2):  # a bound on hanging, below that of an upgrade
            await server.realtime.stop()
            await eventually(lambda: not unanswered)
        assert not server.realtime.eio.sessions
        assert len(server.realtime.manager) == 0
        assert len(server.realtime.tasks) == 0


@pytest.mark.parametrize("kinds", [*([kind] for kind in KINDS), KINDS], ids=[*(kind.__name__ for kind in KINDS), "all"])
async def test_it_stops_and_leaves_nothing(kinds: list[Kind], unanswered: set[object]) -> None:
    before = asyncio.all_tasks()
    await stop(kinds, unanswered)
    await eventually(lambda: asyncio.all_tasks() <= before)
    assert not any(alive(Session, Connection).values())
    assert list(timers()) == []


async def test_a_server_without_clients_stops_and_stops_again() -> None:
    async with serving() as (server, _):
        await server.realtime.stop()
        await server.realtime.stop()


async def test_who_comes_while_it_stops_does_not_stay(unanswered: set[object]) -> None:
    async with AsyncExitStack() as stack, serving() as (server, namespace):
        await websocket_that_does_not_read(stack, server, namespace)
        stopping = asyncio.create_task(server.realtime.stop())
        await asyncio.sleep(0)
        async with aiohttp.ClientSession() as http:
            for transport in (POLLING, POLLING, WEBSOCKET):
                with contextlib.suppress(aiohttp.ClientError):
                    if transport == POLLING:
                        async with http.get(server.url + transport):
                            pass
                    else:
                        await http.ws_connect(server.url + transport)
        await stopping
        assert not server.realtime.eio.sessions
        await eventually(lambda: not unanswered)
