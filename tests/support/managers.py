"""Managers of many nodes on a real Redis, made as the app makes them: what one test asks of the manager of a node alone
it asks of these too, and several of them in one process are a cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis

from server.realtime import recovery
from server.realtime.cluster.address import connector
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.manager import ClusterFanout
from server.realtime.cluster.node import Node
from server.realtime.cluster.sessions import Sessions
from server.realtime.rooms import room_name
from tests.support import echo, plain
from tests.support.client import PATIENCE
from tests.support.proxy import Proxy
from tests.support.raw import RawSocket, raw_socket
from tests.support.recovering import abort
from tests.support.running import Running, token

ROOM = room_name(None, "numbered", "1")  # which `enter` enters

Serving = Callable[..., AbstractAsyncContextManager[tuple[Running, echo.EchoNamespace]]]


def clustered(
    url: str,
    *,
    prefix: str | None = None,
    recovery: recovery.Bounds | None = None,
    dispatch: Bounds | None = None,
    most_held: int = 1000,
) -> ClusterFanout:
    """Its node is not started."""
    node = Node(connector(url), prefix or secrets.token_hex(4))
    dispatch = dispatch or Bounds()
    sessions = None
    if recovery is not None:
        dispatch = dataclasses.replace(dispatch, retention=recovery.retention, log=recovery.messages)
        sessions = Sessions(node, seconds=recovery.seconds, unnoticed=recovery.retention - recovery.seconds)
    return ClusterFanout(node, Dispatch(node.id, node.keys, node.commands, dispatch), sessions, most_held=most_held)


@asynccontextmanager
async def serving(
    url: str,
    *,
    prefix: str | None = None,
    recovery: recovery.Bounds | None = None,
    dispatch: Bounds | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Running, echo.EchoNamespace]]:
    """`tests.support.echo.serving` as a node among many; `options` are its."""
    manager = clustered(url, prefix=prefix, recovery=recovery, dispatch=dispatch)
    async with plain.serving(node=manager.node, manager=manager, **options) as served:
        yield served


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """The URL by way of a proxy."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = await Proxy.start(parts.hostname, parts.port)
    try:
        yield url.replace(f":{parts.port}", f":{proxy.port}"), proxy
    finally:
        await proxy.close()


class Cluster:
    """Servers that share a Redis, in the order in which they were added."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = secrets.token_hex(4)
        self.namespaces: list[echo.EchoNamespace] = []
        self._stack = AsyncExitStack()

    async def add(self, url: str | None = None, **options: Any) -> Running:
        """`url`: by way of a proxy. It hears others from here on, and can resume sessions unless told otherwise."""
        options = {"recovery": recovery.Bounds(), "prefix": self.prefix, **options}
        server, namespace = await self._stack.enter_async_context(serving(url or self.url, **options))
        self.namespaces.append(namespace)
        return server

    async def close(self) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        async with Redis.from_url(self.url) as client:
            yield client


def manager_of(server: Running) -> ClusterFanout:
    manager = server.realtime.manager
    assert isinstance(manager, ClusterFanout)
    return manager


def node_of(server: Running) -> Node:
    assert server.realtime.node is not None
    return server.realtime.node


async def until_up(*nodes: Node, up: bool = True) -> None:
    """Returns when Redis can be counted on on all of them; or on none."""
    await until(lambda: all(node.up is up for node in nodes))


async def vanish(server: Running) -> None:
    """As `kill -9` ends a process: Redis hears nothing more of it, and its clients lose their connections."""
    await node_of(server)._tasks.close()
    await abort(server)


async def until(holds: Callable[[], bool]) -> None:
    """Of what nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Reader:
    """A client without a library, in a namespace. `heard` are the numbers of the news it got, in order."""

    def __init__(self, raw: RawSocket, namespace: str) -> None:
        self.raw = raw
        self.heard: list[int] = []
        self.recovered = False
        self._namespace = namespace
        self._known: dict[str, Any] = {}

    @property
    def id(self) -> str:
        return str(self._known["sid"])

    @property
    def known(self) -> dict[str, Any]:
        """What it sends when it comes back: `pid` and `offset`."""
        return {"pid": self._known.get("pid"), "offset": self._known.get("offset")}

    async def connect(self, **auth: object) -> None:
        await self.raw.send(f"40{self._namespace},{json.dumps(auth)}")
        self._known["offset"] = auth.get("offset")
        while not (await self._read()).startswith(f"40{self._namespace},"):
            pass  # what it missed
        while not (await self._read()).startswith(f'42{self._namespace},["connected"'):
            pass

    async def enter(self, *rooms: int) -> None:
        for room in rooms:
            await self.raw.send(f'42{self._namespace},9["enter",{{"number":{room}}}]')
            while not (await self._read()).startswith(f"43{self._namespace},9"):
                pass

    async def until(self, number: int) -> list[int]:
        """Reads on to that; what it `heard`."""
        async with asyncio.timeout(PATIENCE):
            while number not in self.heard:
                await self._read()
        return self.heard

    async def _read(self) -> str:
        frame = await self.raw.expect("4")
        if frame.startswith("40"):
            self._known |= json.loads(frame.partition(",")[2])
        elif frame.startswith("44"):
            raise ConnectionRefusedError(frame)
        elif frame.startswith("42"):
            name, payload, *offset = json.loads(frame.partition(",")[2])
            if offset:
                self._known["offset"] = offset[0]
            if name == "news":
                self.heard.append(payload["n"])
            elif name == "connected":
                self.recovered = payload["recovered"]
        return frame


@asynccontextmanager
async def reader(
    server: Running, sub: str = "alice", *, namespace: str = "/echo", recovery: bool = True, **more: object
) -> AsyncIterator[Reader]:
    """`more` is what it is authenticated by besides: `**known` of one that was cut off."""
    async with raw_socket(server.url) as raw:
        found = Reader(raw, namespace)
        await found.connect(token=token(sub), recovery=recovery, **more)
        yield found


def emit(server: Running, *numbers: int, room: str | Collection[str] | None = ROOM, **options: Any) -> None:
    for number in numbers:
        manager_of(server).deliver("/echo", ["news", {"n": number}], room=room, **options)


async def gone(server: Running, id: str) -> None:
    """The server has noticed that it is gone."""
    await until(lambda: not server.realtime.manager.is_connected(id, "/echo"))


async def left(server: Running, *rooms: int, sub: str = "alice") -> Reader:
    """What a client knows that was in rooms there, and is gone."""
    async with reader(server, sub) as found:
        await found.enter(*rooms)
    await gone(server, found.id)
    return found


@asynccontextmanager
async def back(server: Running, before: Reader, **more: Any) -> AsyncIterator[Reader]:
    """Somewhere else. `recovered` says whether it is what it was, in what it is told and in what it is called."""
    async with reader(server, **{"sub": "alice"} | before.known | more) as again:
        assert again.recovered == (again.id == before.id) == (again.known["pid"] == before.known["pid"])
        yield again
