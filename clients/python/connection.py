"""A connection to one namespace of a server, over stock `socketio.AsyncClient`; what is said on it is the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import socketio

from clients.python.recovery import RecoveringClient

TIMEOUT_SECONDS = 15
ATTEMPTS, LONGEST_DELAY_SECONDS = 10, 30


class Refused(Exception):
    """The server said no: to a connect, or to an event. `code` is its stable name."""

    def __init__(self, fault: Mapping[str, Any]) -> None:
        self.code = str(fault.get("code", "REFUSED"))
        self.fault = dict(fault)
        details = f" {dict(fault['details'])}" if fault.get("details") else ""
        super().__init__(f"{self.code}: {fault.get('message', 'refused')}{details}")


class Lost(Exception):
    """The connection ended, by the server or the network."""


class Connection:
    """`socket` is the stock client, for handlers; `call` speaks Atrium's acks; `lost` is set once it ended for good."""

    def __init__(self, socket: socketio.AsyncClient, namespace: str) -> None:
        self.socket = socket
        self.namespace = namespace
        self.lost = asyncio.Event()
        self.why = "connection lost"
        self.on("__disconnect_final", self._ended)
        self.on("disconnecting_reason", self._told_why)

    async def _told_why(self, reason: Mapping[str, Any]) -> None:
        self.why = f"{reason['code']}: {reason['message']}"

    async def _ended(self) -> None:
        self.lost.set()

    @property
    def recovered(self) -> bool:
        """It dropped and goes on where it was: same id, same rooms, and what it missed was handled first."""
        return isinstance(self.socket, RecoveringClient) and self.socket.recovered

    def on(self, event: str, handler: Any) -> None:
        self.socket.on(event, handler, namespace=self.namespace)

    async def call(self, event: str, payload: Mapping[str, object]) -> dict[str, Any]:
        """The ack without its `ok`. Raises Refused with what the server says is wrong."""
        ack = await self.socket.call(event, dict(payload), namespace=self.namespace, timeout=TIMEOUT_SECONDS)
        if not ack.pop("ok", False):
            raise Refused(ack.get("error", {}))
        return dict(ack)

    async def emit(self, event: str, payload: Mapping[str, object]) -> None:
        await self.socket.emit(event, dict(payload), namespace=self.namespace)

    async def until(self, done: Awaitable[Any]) -> Any:
        """Awaits `done`. Raises Lost when the connection ends before."""
        waiting = [asyncio.ensure_future(done), asyncio.ensure_future(self.lost.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not waiting[0].done():
                raise Lost(self.why)
            return waiting[0].result()
        finally:
            for each in waiting:
                each.cancel()


@asynccontextmanager
async def connection(namespace: str, *, recovery: bool = False) -> AsyncIterator[Connection]:
    """Not yet connected, so that handlers are in place before the first event: `await connect(...)` it.

    With `recovery` it connects again after a drop, and asks the server to go on where it was.
    """
    if recovery:
        socket = RecoveringClient(
            reconnection_attempts=ATTEMPTS, reconnection_delay_max=LONGEST_DELAY_SECONDS, handle_sigint=False
        )
    else:
        socket = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    try:
        yield Connection(socket, namespace)
    finally:
        await socket.disconnect()
        await socket.shutdown()


async def connect(opened: Connection, url: str, token: str | None) -> None:
    """Raises Refused when the server does not let it in, `socketio.exceptions.ConnectionError` when nobody is there."""
    refusal: dict[str, Any] = {}

    async def refused(reason: Any) -> None:
        if isinstance(reason, Mapping):
            refusal.update(reason.get("data") or reason)

    def auth() -> dict[str, object]:
        """Asked for at every reconnect."""
        known: dict[str, object] = {"token": token} if token else {}
        return opened.socket.asking(known) if isinstance(opened.socket, RecoveringClient) else known

    opened.on("connect_error", refused)
    try:
        await opened.socket.connect(
            url,
            namespaces=[opened.namespace],
            auth=auth,
            transports=["websocket"],
            wait_timeout=TIMEOUT_SECONDS,
        )
    except socketio.exceptions.ConnectionError as error:
        if refusal:
            raise Refused(refusal) from error
        raise


async def development_token(url: str, sub: str) -> str | None:
    """What a server under DEBUG mints for anybody; None from any other."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS)) as http,
            http.post(f"{url}/api/dev/token", json={"sub": sub}) as response,
        ):
            return str((await response.json())["token"]) if response.status == 200 else None
    except aiohttp.ClientError:
        return None
