"""A client of one server, as one user: opens what is asked of it, and closes all of it. Each thing has its module."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from clients.python.channel import Channel
from clients.python.connection import TRANSPORTS, Connection
from clients.python.copilot import ASK_SECONDS, QUESTIONS, Answer, Answering, Copilot, Progress
from clients.python.errors import ClientError, Lost, NotConnected, TimedOut
from clients.python.fallback import Fallback
from clients.python.http_api import HttpApi
from clients.python.monitor import Monitor
from clients.python.outbox import FileOutbox, MemoryOutbox
from clients.python.policy import ReconnectPolicy, choose
from clients.python.sender import Sender
from clients.python.session import ChatSession
from clients.python.tokens import Token, TokenSource

PUBLISH_SECONDS = 60.0
OPEN_SECONDS = 60.0

A = TypeVar("A", bound=Answering)
Opened = TypeVar("Opened", ChatSession, Channel, Monitor)


class Client:
    """Use it as `async with`. A namespace is connected when something of it is first asked for, on a connection of its
    own; what raises then is said there. Leaving the block ends everything."""

    def __init__(
        self,
        url: str,
        token: Token = None,
        *,
        policy: str | ReconnectPolicy | None = None,
        outbox: Path | str | None = None,
        fallback: bool = True,
        recovery: bool = True,
        retry_first: bool = False,
        transports: Sequence[str] = TRANSPORTS,
        chance: random.Random | None = None,
    ) -> None:
        """`token`: a text, or a callback, plain or async, that is asked at each connect and before one runs out.
        `policy`: a name of POLICIES, or one of your own; by default each namespace has its seed's. `outbox`: a file
        that keeps what was said and is not acked yet for the next process. `fallback`: chat goes by HTTP where the
        socket cannot be had. `recovery`: the server keeps the session of a connection that dropped. `retry_first`: the
        first connect too is tried by the policy. Raises ValueError."""
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url}: not an http:// or https:// address")
        choose(policy, "/")
        self.url = url.rstrip("/")
        self._token = TokenSource(token)
        self._policy = policy
        self._outbox = None if outbox is None else Path(outbox)
        self._allow_fallback = fallback
        self._recovery = recovery
        self._retry_first = retry_first
        self._transports = transports
        self._chance = chance
        self._answering: dict[str, Answering] = {}
        self._connections: dict[str, Connection] = {}
        self._copilot: Copilot | None = None
        self._chat: tuple[Fallback, Sender] | None = None
        self._resumed = False
        self._locks: dict[str, asyncio.Lock] = {}
        self._opened: set[ChatSession | Channel | Monitor] = set()
        self._closing = AsyncExitStack()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = await self._closing.enter_async_context(aiohttp.ClientSession())
        self.api = HttpApi(self.url, self._token, self._http)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for each in list(self._opened):
                await each.close()
        finally:
            await self._closing.aclose()

    async def _open(self, opened: Opened) -> Opened:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await opened.open()
        except TimeoutError:
            await opened.close()
            raise TimedOut(f"not open within {OPEN_SECONDS:g} s") from None
        except BaseException:
            await opened.close()
            raise
        self._opened = {each for each in self._opened if not each.closed} | {opened}
        return opened

    # -- namespaces ------------------------------------------------------------------------------------------------

    async def connection(self, namespace: str) -> Connection:
        """Connected, when it returns. Raises Refused, NotConnected, TimedOut."""
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            connection = self._connections.get(namespace) or self._new_connection(namespace)
            try:
                await connection.open()
            except ClientError:
                if not (namespace == "/chat" and self._chat is not None and self._chat[0].active):
                    raise
            return connection

    def _new_connection(self, namespace: str) -> Connection:
        if self._http is None or self._http.closed:
            raise NotConnected("CLOSED", "use the client as `async with Client(...) as client`")
        connection = Connection(
            self.url,
            namespace,
            token=self._token,
            policy=choose(self._policy, namespace),
            http=self._http,
            transports=self._transports,
            recovery=self._recovery,
            retry_first=self._retry_first,
            chance=self._chance,
        )
        self._connections[namespace] = connection
        self._closing.push_async_callback(connection.close)
        if namespace == "/chat":
            fallback = Fallback(connection, allowed=self._allow_fallback)
            self._closing.push_async_callback(fallback.close)
            outbox = MemoryOutbox() if self._outbox is None else FileOutbox(self._outbox, self.url)
            sender = Sender(connection, fallback, self.api, outbox, self._token)
            self._closing.push_async_callback(sender.close)
            self._chat = fallback, sender
        return connection

    # -- chat ------------------------------------------------------------------------------------------------------

    async def session(self, session_id: str, *, after_seq: int | None = None) -> ChatSession:
        """Joined, when it returns; what an earlier process left unsent is on its way. Raises ClientError."""
        connection = await self.connection("/chat")
        assert self._chat is not None  # noqa: S101 - made with the connection
        fallback, sender = self._chat
        session = await self._open(ChatSession(session_id, connection, fallback, self.api, sender, after_seq=after_seq))
        if not self._resumed:
            self._resumed = True
            await sender.resume()
        return session

    @property
    def unsent(self) -> int:
        """Messages that are not acked yet."""
        return 0 if self._chat is None else len(self._chat[1])

    # -- trading ---------------------------------------------------------------------------------------------------

    async def channel(self, name: str, *, since: tuple[str, int] | None = None) -> Channel:
        """Subscribed, when it returns. `since`: epoch and seq of the last update seen. Raises ClientError."""
        return await self._open(Channel(name, await self.connection("/trading"), since))

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        type: str = "message",
        idempotency_key: str | None = None,
        timeout: float = PUBLISH_SECONDS,
    ) -> Mapping[str, Any]:
        """`{seq, epoch, subscribers}`. Published once, also where the connection is lost before the ack: it is sent
        again with the same key. Raises ClientError."""
        connection = await self.connection("/trading")
        key = idempotency_key or uuid.uuid4().hex
        payload = {"channel": channel, "type": type, "data": data, "idempotency_key": key}
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        return await connection.call("publish", payload)
                    except (Lost, TimedOut, NotConnected):
                        if connection.state in ("failed", "closed"):
                            raise
        except TimeoutError:
            raise TimedOut(f"not published for sure within {timeout:g} s") from None

    # -- monitor ---------------------------------------------------------------------------------------------------

    async def monitor(
        self,
        *,
        equipment: Sequence[str] | None = None,
        lines: Sequence[str] | None = None,
        statuses: Sequence[str] | None = None,
    ) -> Monitor:
        """All machines, or those that fit what is given; one connection has one filter. Raises ClientError."""
        connection = self._connections.get("/monitor") or self._new_connection("/monitor")
        # Before it is connected: the newest status comes at once.
        monitor = Monitor(connection, {"equipment": equipment, "lines": lines, "statuses": statuses})
        try:
            await connection.open()
        except BaseException:
            await monitor.close()
            raise
        return await self._open(monitor)

    # -- copilot ---------------------------------------------------------------------------------------------------

    def answers(self, question: str) -> Callable[[A], A]:
        """Decorates what answers the server's question `request_available_data`, `request_api` or
        `clarification_request`: a function, plain or async, of its payload. It returns the datasets, the rows, the
        person's answer; or the whole object."""
        if question not in QUESTIONS:
            raise ValueError(f"the server does not ask {question!r}: {', '.join(QUESTIONS)}")

        def register(handler: A) -> A:
            self._answering[question] = handler
            return handler

        return register

    async def ask(
        self,
        text: str,
        *,
        on_progress: Progress | None = None,
        timeout: float = ASK_SECONDS,
    ) -> Answer:
        """The copilot's answer. Raises Refused with the code that it ended with, or another ClientError."""
        if self._copilot is None:
            connection = self._connections.get("/copilot") or self._new_connection("/copilot")
            self._copilot = Copilot(connection, self._answering)
            self._closing.push_async_callback(self._copilot.close)
        await self.connection("/copilot")
        return await self._copilot.ask(text, on_progress=on_progress, timeout=timeout)
