"""A connection to one namespace: kept, by a policy, over one stock `socketio` client after the other. What is said on
it is the caller's."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

import aiohttp
from socketio.exceptions import SocketIOError

from clients.python.errors import ClientError, Lost, NotConnected, Refused, TimedOut
from clients.python.keeper import woken
from clients.python.policy import ReconnectPolicy
from clients.python.recovery import Place, RecoveringClient
from clients.python.tokens import TokenSource

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
CALL_SECONDS = 15.0
RENEWALS, RENEWAL_SECONDS = 3, 5.0
TRANSPORTS = ("websocket", "polling")
ACCIDENTS = 2  # attempts that fail before another transport is tried
GREETINGS = ("connected", "connection_status")  # SPEC §3: by then what was missed has been said

State = Literal["connecting", "connected", "reconnecting", "failed", "closed"]
Handler = Callable[[Any], None]
Answerer = Callable[[Any], Any | Awaitable[Any]]


class Connection:
    """`state` and `why` (the newest error) change together. Handlers are called in the order in which events arrived;
    they are plain functions, and do not block."""

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        token: TokenSource,
        policy: ReconnectPolicy,
        http: aiohttp.ClientSession,
        transports: Sequence[str] = TRANSPORTS,
        recovery: bool = True,
        retry_first: bool = False,
        chance: random.Random | None = None,
    ) -> None:
        """`transports` are tried in turn. `retry_first`: the first connect too is tried by the policy. `http` is the
        caller's to close."""
        self.url = url
        self.namespace = namespace
        self.state: State = "connecting"
        self.why: ClientError | None = None
        self.user_id: str | None = None
        self.failed_attempts = 0
        self._token = token
        self._policy = policy
        self._http = http
        self._transports = transports
        self._recovery = recovery
        self._retry_first = retry_first
        self._chance = chance or random.Random()  # noqa: S311 - it spreads load
        self._place = Place()
        self._socket: RecoveringClient | None = None
        self._gone: asyncio.Future[None] | None = None
        self._entered: asyncio.Future[None] | None = None
        self._transport: str | None = None
        self._handlers: dict[str, list[Handler]] = {}
        self._answerers: dict[str, Answerer] = {}
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._parting: Mapping[str, Any] | None = None
        self._sent_away = False
        self._return_at: float | None = None

    # -- what callers want ----------------------------------------------------------------------------------------

    @property
    def recovered(self) -> bool:
        """It dropped and goes on where it was: same id, same rooms, and what it missed was handled first."""
        return self._place.recovered

    @property
    def id(self) -> str | None:
        return None if self._socket is None else self._socket.namespaces.get(self.namespace)

    async def open(self, timeout: float = 60.0) -> None:
        """Raises Refused when the server does not let it in, NotConnected when nobody is there, TimedOut."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"connection {self.namespace}")
        try:
            async with asyncio.timeout(timeout):
                await self._until_up()
        except TimeoutError:
            raise TimedOut(f"not connected within {timeout:g} s") from self.why

    async def call(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        timeout: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        """The ack without its `ok`. Waits for the connection to be back where it is lost. Raises Refused with what the
        server says is wrong; NotConnected: nothing was sent; Lost, TimedOut: it may have arrived."""
        is_sent = False
        try:
            async with asyncio.timeout(timeout):
                try:
                    socket, gone = await self._until_up()
                except Refused as error:  # of the connection, not of this
                    raise NotConnected(error.code, error.message) from error
                is_sent = True
                answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

                def answer(*arguments: Any) -> None:
                    if not answered.done():
                        answered.set_result(arguments[0] if arguments else None)

                try:
                    await socket.emit(event, dict(payload), namespace=self.namespace, callback=answer)
                except SocketIOError:  # the namespace is gone; whoever asks again at once would wait for nothing
                    await asyncio.wait({gone})
                    raise self._loss() from None
                await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not answered.done():
                    raise self._loss()
        except TimeoutError:
            if not is_sent:
                raise NotConnected("NOT_CONNECTED", f"no connection for {event} within {timeout:g} s") from self.why
            raise TimedOut(f"no answer to {event} within {timeout:g} s") from None
        ack = answered.result()
        if not isinstance(ack, Mapping):
            raise Refused({"code": "INVALID_ACK", "message": f"{event} was answered by {ack!r}"})
        if not ack.get("ok"):
            raise Refused(ack.get("error") or {})
        return {name: value for name, value in ack.items() if name != "ok"}

    async def emit(self, event: str, payload: Mapping[str, object]) -> None:
        """Without an answer; where there is no connection, nothing is sent."""
        if self._socket is not None and self.state == "connected":
            try:
                await self._socket.emit(event, dict(payload), namespace=self.namespace)
            except SocketIOError:
                return

    def on(self, event: str, handler: Handler) -> Callable[[], None]:
        """Calls it with each such event's payload; `*`: with (event, payload) of every one. Returns the way to stop."""
        handlers = self._handlers.setdefault(event, [])
        handlers.append(handler)
        return lambda: handlers.remove(handler) if handler in handlers else None

    def answer(self, event: str, answerer: Answerer) -> None:
        """What it returns, or what that resolves to, is the ack to the server's question."""
        self._answerers[event] = answerer

    def on_state(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls it after each change of `state`. Returns the way to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    async def ended(self) -> ClientError:
        """Waits until it has given up, or was closed: why."""
        while self.state not in ("failed", "closed"):
            await self._changed.wait()
        return self.why or NotConnected("CLOSED", "the connection was closed")

    def retry(self) -> None:
        """Tries at once: also after it has given up."""
        self._hurry.set()

    async def close(self) -> None:
        """Says goodbye. Whoever waits for something gets NotConnected."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        socket, self._socket = self._socket, None
        self._become("closed", NotConnected("CLOSED", "the connection was closed"))
        if socket is not None:
            await socket.end()

    # -- keeping it ------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        try:
            await self._keep_up()
        except Exception as error:
            log.exception("the connection to %s ended by a fault", self.namespace)
            self._become("failed", Lost("CLIENT_FAULT", repr(error)))

    async def _keep_up(self) -> None:
        was_up = False
        while True:
            why: ClientError
            try:
                socket = await self._attempt()
            except ClientError as error:
                why = error
                delay = self._next(error) if was_up or self._retry_first else None
                self.failed_attempts += 1
            else:
                was_up, self.failed_attempts = True, 0
                self._become("connected", None)
                await self._until_gone()
                why = self._loss()
                delay = self._return(why)
                self._socket = None
                await socket.end()
            if delay is None:
                self._become("failed", why)
                await self._hurry.wait()
                was_up, self.failed_attempts, delay = True, 0, 0.0
            self._hurry.clear()
            self._become("reconnecting" if was_up else "connecting", why)
            await woken(self._hurry, delay)

    def _next(self, error: ClientError) -> float | None:
        """Seconds until the next attempt after one that failed; None: there is none."""
        expired = error.code == "TOKEN_EXPIRED" and self._token.renews
        if isinstance(error, Refused) and not (error.passing or expired):
            return None
        delay = self._policy.delay(self.failed_attempts, self._chance)
        wanted = error.retry_after if isinstance(error, Refused) else 0.0
        return None if delay is None else max(delay, wanted)

    def _return(self, error: ClientError) -> float | None:
        """Seconds until the first attempt after a connection that was lost; None: the server does not want it back."""
        parting, return_at = self._parting, self._return_at
        expired = error.code == "TOKEN_EXPIRED" and self._token.renews
        if (self._sent_away and parting is None) or (parting is not None and not (parting.get("reconnect") or expired)):
            return None
        delay = self._policy.delay(0, self._chance)
        if delay is None or return_at is None:
            return delay
        return max(0.0, return_at - asyncio.get_running_loop().time())

    async def _attempt(self) -> RecoveringClient:
        """Raises ClientError."""
        token = await self._token.get()
        nobody: NotConnected | None = None
        # A websocket that worked before fails by accident: what follows would be a slower way for as long as it lasts.
        is_accident = self._transport == self._transports[0] and self.failed_attempts < ACCIDENTS
        for transport in self._transports[:1] if is_accident else self._transports:
            try:
                socket = await self._enter(transport, token)
            except NotConnected as error:
                nobody = nobody or error
            else:
                self._transport = transport
                return socket
        raise nobody or NotConnected("UNREACHABLE", "no transport is allowed")

    async def _enter(self, transport: str, token: str | None) -> RecoveringClient:
        socket = RecoveringClient(place=self._place, reconnection=False, handle_sigint=False, http_session=self._http)
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parting, self._sent_away, self._return_at = None, False, None
        self._entered = entered
        self._listen(socket, entered)
        auth: dict[str, object] = {"token": token} if token else {}
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await socket.connect(
                    self.url,
                    namespaces=[self.namespace],
                    auth=socket.asking(auth) if self._recovery else auth,
                    transports=[transport],
                    wait=False,
                )
                # Never cancelled: it would take the client's own reader with it.
                gone = asyncio.ensure_future(socket.eio.wait())
                await asyncio.wait({entered, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not entered.done():
                    entered.set_exception(NotConnected("UNREACHABLE", "the connection ended while it was made"))
                await entered
        except BaseException as error:
            if entered.done():
                entered.exception()  # retrieved
            await socket.end()
            if isinstance(error, TimeoutError):
                raise NotConnected("UNREACHABLE", f"no answer within {CONNECT_SECONDS:g} s") from None
            if isinstance(error, SocketIOError | aiohttp.ClientError | OSError | ValueError):
                raise NotConnected("UNREACHABLE", str(error) or repr(error)) from None
            raise
        self._socket, self._gone = socket, gone
        return socket

    def _listen(self, socket: RecoveringClient, entered: asyncio.Future[None]) -> None:
        async def refused(reason: Any = None) -> None:
            if isinstance(reason, Mapping) and not entered.done():
                entered.set_exception(Refused(reason.get("data") or reason))

        async def left(reason: Any = None) -> None:
            self._sent_away = reason == socket.reason.SERVER_DISCONNECT and socket.eio.state == "connected"

        socket.on("connect_error", refused, namespace=self.namespace)
        socket.on("disconnect", left, namespace=self.namespace)
        socket.on("*", self._received, namespace=self.namespace)

    async def _until_gone(self) -> None:
        if self._gone is not None:
            await asyncio.wait({self._gone})

    async def _until_up(self) -> tuple[RecoveringClient, asyncio.Future[None]]:
        while True:
            if self.state == "connected" and self._socket is not None and self._gone is not None:
                if not self._gone.done():
                    return self._socket, self._gone
            elif self.state in ("failed", "closed"):
                raise self.why or NotConnected("CLOSED", "the connection was closed")
            await self._changed.wait()

    def _loss(self) -> ClientError:
        if self._parting is not None:
            return Lost(str(self._parting.get("code", "DISCONNECTED")), str(self._parting.get("message", "")))
        if self._sent_away:
            return Lost("DISCONNECTED", "the server ended the connection")
        return Lost("CONNECTION_LOST", "the connection was lost")

    def _become(self, state: State, why: ClientError | None) -> None:
        self.state, self.why = state, why
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for listener in list(self._listeners):
            listener()

    # -- what arrives ----------------------------------------------------------------------------------------------

    async def _received(self, event: str, *arguments: Any) -> Any:
        """Up to the first question nothing is awaited: each message has a task of its own, and they start in order."""
        payload = arguments[0] if arguments else None
        if event in GREETINGS and self._entered is not None and not self._entered.done():
            self._entered.set_result(None)
        match event, payload:
            case "connected", {"user_id": str() as user_id}:
                self.user_id = user_id
            case "disconnecting_reason", {"code": _}:
                self._parting = payload
            case "server_draining", {"reconnect_after_ms": int() | float() as after}:
                self._return_at = asyncio.get_running_loop().time() + after / 1000
            case "token_expiring", {"expires_in": int() | float() as seconds} if self._token.renews:
                self._spawn(self._renew(float(seconds)))
        for handler in list(self._handlers.get(event, ())):
            self._call_handler(event, handler, payload)
        for handler in list(self._handlers.get("*", ())):
            self._call_handler(event, handler, (event, payload))
        answerer = self._answerers.get(event)
        if answerer is None:
            return None
        try:
            answer = answerer(payload)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception:
            log.exception("the answer to %s failed", event)
            return None

    def _call_handler(self, event: str, handler: Handler, payload: Any) -> None:
        try:
            handler(payload)
        except Exception:
            log.exception("a handler of %s failed", event)

    async def _renew(self, seconds: float) -> None:
        """A fresh token before the old one runs out; where there is none, the server ends the connection."""
        async with asyncio.timeout(max(seconds, 1.0)):
            for _ in range(RENEWALS):
                try:
                    token = await self._token.get()
                    if token:
                        await self.call("authenticate", {"token": token}, timeout=RENEWAL_SECONDS)
                        return
                except ClientError as error:
                    log.warning("the token was not renewed: %s", error)
                await asyncio.sleep(RENEWAL_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"connection {self.namespace}")
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.warning("%s: %r", task.get_name(), error)

        task.add_done_callback(done)
