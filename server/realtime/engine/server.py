"""The Engine.IO server: its sessions, their heartbeats and bounds, and the HTTP door to both transports.

It stands where python-socketio expects python-engineio's `AsyncServer`, and has what that uses of it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import engineio
import orjson
import structlog
from aiohttp import web

from server.realtime.engine import frames, handshake, polling, protocol, seams, websocket
from server.realtime.engine.dialect import Dialect
from server.realtime.engine.heartbeat import Beat, Heartbeat
from server.realtime.engine.outlet import Counters, Outlet
from server.realtime.engine.protocol import Refused
from server.realtime.engine.session import PlainSession, Session
from server.realtime.engine.websocket import Websocket

log = structlog.get_logger(__name__)

TRANSPORTS = ("polling", "websocket")
POLL_GRACE_SECONDS = 0.5
LOST_A_TURN_SECONDS = 0.005

#: `connect` is called with a session and its request, and may raise Refused; `message` with a session and its data;
#: `disconnect` with a session and the reason. What they return, if anything, is awaited.
Handler = Callable[..., Awaitable[None] | None]


class Engine:
    """Times in seconds, sizes in bytes. As in the protocol, a session whose ping is not answered in time is gone;
    `most_missed_pongs` gives it more than one chance."""

    async_mode = "aiohttp"
    reason = engineio.AsyncServer.reason

    def __init__(
        self,
        *,
        ping_interval: float = 25,
        ping_timeout: float = 20,
        most_missed_pongs: int = 1,
        max_http_buffer_size: int = 1_000_000,
        outbox_messages: int = 1000,
        outbox_bytes: int = 1024 * 1024,
        max_sessions: int = 100_000,
        transports: tuple[str, ...] = TRANSPORTS,
        compression: bool = True,
        clock: Callable[[], float] = time.monotonic,
        **_: object,  # python-socketio passes what python-engineio knows: json, logger, async_handlers
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.max_sessions = max_sessions
        self.never_too_big = max_http_buffer_size // 4
        self.message_too_big: Callable[[Session, str | bytes], bool] = lambda session, data: (
            len(data) > self._most_bytes
        )
        self.last_words: Callable[[Session], None] = lambda session: None  # before one is given up for its heartbeat
        self._handlers: dict[str, Handler] = {}
        self.on_message: Handler = lambda session, data: None
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._most_bytes = max_http_buffer_size
        self._transports = transports
        self._compression = compression
        self._clock = clock
        self.outlet = Outlet(most=outbox_messages, most_bytes=outbox_bytes)
        self._websockets: set[Websocket] = set()
        self._no_websocket = asyncio.Event()
        self._heartbeat: Heartbeat[str] = Heartbeat(ping_interval, ping_timeout, most_missed_pongs)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._requests: set[asyncio.Task[Any]] = set()  # that poll
        self._lost: deque[Websocket] = deque()
        self._stopping = False
        self._silence = most_missed_pongs * (ping_interval + ping_timeout) - ping_interval

    # -- what python-socketio uses ------------------------------------------------------------------------------

    def on(self, event: str, handler: Handler) -> None:
        self._handlers[event] = handler
        if event == "message":
            self.on_message = handler

    def attach(self, app: web.Application, path: str = "engine.io") -> None:
        for route in (f"/{path.strip('/')}/", f"/{path.strip('/')}"):
            app.router.add_route("*", route, self.handle_request)

    async def send(self, transport_id: str, data: str | bytes) -> None:
        session = self.sessions.get(transport_id)
        if session is not None:
            session.send(frames.message(data))

    def transport(self, transport_id: str) -> str:
        return self.sessions[transport_id].transport

    async def get_session(self, transport_id: str) -> dict[str, Any]:
        session = self.sessions[transport_id]
        if session.user_session is None:
            session.user_session = {}  # python-socketio writes into what it is given
        return session.user_session

    async def save_session(self, transport_id: str, session: dict[str, Any]) -> None:
        self.sessions[transport_id].user_session = session

    async def disconnect(self, transport_id: str) -> None:
        self.close(transport_id)

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return self.start(target(*arguments, **options))

    async def sleep(self, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)

    def create_event(self) -> asyncio.Event:
        return asyncio.Event()

    def generate_id(self) -> str:
        return secrets.token_urlsafe(15)

    async def shutdown(self) -> None:
        """Ends every session, waits for its websocket to close, and ends the tasks that end others."""
        self._stopping = True
        for transport_id in list(self.sessions):
            self.close(transport_id, protocol.GOING_AWAY)
        for each in list(self._websockets):
            each.close(protocol.GOING_AWAY)
        if self._requests:  # polls are told; a POST may never end
            await asyncio.wait(self._requests, timeout=POLL_GRACE_SECONDS)
        for task in (*self._requests, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._requests, *self._tasks, return_exceptions=True)
        if self._websockets:
            self._no_websocket.clear()
            await self._no_websocket.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- sessions -----------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        return self.outlet.counters

    async def answers(self, transport_id: str, seconds: float) -> bool:
        """Whether there is still a client: asked by a ping out of turn."""
        session = self.sessions.get(transport_id)
        if session is None or session.handling:
            return session is not None
        if session.pong is None:
            session.pong = asyncio.get_running_loop().create_future()
            session.send(frames.PING)
        pong = session.pong
        await asyncio.wait([pong], timeout=seconds)
        session.pong = None
        return pong.done()

    def close(self, transport_id: str, code: int = protocol.NORMAL) -> None:
        session = self.sessions.get(transport_id)
        if session is not None:
            session.end(self.reason.SERVER_DISCONNECT, code)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._serve(request)
        except ConnectionError:  # the client is gone; there is nobody to answer
            return web.Response(status=400)
        except Refused as refused:
            if refused.status == 413:  # as Node
                return web.Response(status=413)
            body = orjson.dumps({"code": refused.code, "message": refused.message})
            return web.Response(status=refused.status, body=body, content_type="application/json")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._stopping:
            raise protocol.unavailable()
        wants_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        transport = request.query.get("transport")
        if transport not in self._transports:
            raise protocol.transport_unknown()
        if (transport == "websocket") != wants_websocket:
            raise protocol.bad_request()
        transport_id = request.query.get("sid")
        if transport_id is None:
            protocol.check_handshake(request.method, request.query, self._transports)
            return await self._open(request, wants_websocket=wants_websocket)
        session = self.sessions.get(transport_id)
        if session is None:
            raise protocol.session_unknown()
        if wants_websocket:
            self._accept(request, self._agree(request)).probe(session)
            return seams.Handed()
        if session.transport == "websocket" or request.method not in ("GET", "POST"):
            raise protocol.bad_request()
        with self._tracked():
            if request.method == "GET":
                return await polling.take(request, session, self._most_bytes)
            return await polling.bring(request, session, self._most_bytes)

    async def _open(self, request: web.Request, *, wants_websocket: bool) -> web.StreamResponse:
        if len(self.sessions) >= self.max_sessions:
            raise protocol.unavailable()
        agreed = self._agree(request) if wants_websocket else None
        session = Session(self.generate_id(), self, self.outlet)
        session.send(frames.Packet(protocol.OPEN + orjson.dumps(self._handshake(session, agreed)).decode()))
        return await self._begin(request, session, agreed)

    async def open_plain(
        self, request: web.Request, dialect: Dialect, opened: Callable[[Session], Awaitable[None]]
    ) -> web.StreamResponse:
        """A WebSocket without Engine.IO. What `opened` does comes before anything is read of it. Raises Refused."""
        if self._stopping:
            raise protocol.unavailable()
        agreed = self._agree(request)
        session = PlainSession(self.generate_id(), self, self.outlet, dialect)

        async def enter() -> None:
            if not session.closed:  # since it was served, by who had the turn before
                await opened(session)

        try:
            if len(self.sessions) < self.max_sessions:
                return await self._begin(request, session, agreed, enter)
            self._accept(request, agreed).close(protocol.TRY_LATER)
        except ConnectionError:  # the client is gone; there is nobody to answer
            return web.Response(status=400)
        return seams.Handed()

    async def _begin(
        self,
        request: web.Request,
        session: Session,
        agreed: handshake.Agreement | None,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> web.StreamResponse:
        """On what was agreed, or by polling where nothing was; `first` as of `Websocket.serve`. Raises Refused to who
        polls; a websocket is told in its own way."""
        self.sessions[session.id] = session
        try:
            work = self._handlers["connect"](session, request)
            if work is not None:
                await work
            if not session.closed:
                self._heartbeat.add(session.id, self._clock())
                self._set_timer()
            if agreed is None:
                with self._tracked():
                    return await polling.take(request, session, self._most_bytes)
            self._accept(request, agreed).serve(session, first)
        except Refused:
            session.end(self.reason.TRANSPORT_ERROR)
            if agreed is None:
                raise
            self._accept(request, agreed).close(protocol.TRY_LATER)
        except BaseException:
            session.end(self.reason.TRANSPORT_ERROR)
            raise
        return seams.Handed()

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """So that shutdown can end it."""
        task = asyncio.current_task()
        if task is not None:
            self._requests.add(task)
        try:
            yield
        finally:
            if task is not None:
                self._requests.discard(task)

    def _agree(self, request: web.Request) -> handshake.Agreement:
        return handshake.agree(request.method, request.headers, offer_deflate=self._compression)

    def _accept(self, request: web.Request, agreed: handshake.Agreement) -> Websocket:
        accepted = websocket.accept(request, agreed, self, self._most_bytes)
        self._websockets.add(accepted)
        return accepted

    def _handshake(self, session: Session, agreed: handshake.Agreement | None) -> dict[str, object]:
        return {
            "sid": session.id,
            "upgrades": ["websocket"] if agreed is None and "websocket" in self._transports else [],
            "pingInterval": round(self._ping_interval * 1000),
            "pingTimeout": round(self._silence * 1000),
            "maxPayload": self._most_bytes,
        }

    # -- what sessions and websockets tell ------------------------------------------------------------------------

    def too_big(self, session: Session, data: str | bytes) -> bool:
        return self.message_too_big(session, data)

    def on_pong(self, session: Session) -> None:
        self._heartbeat.pong(session.id, self._clock())
        self._set_timer()

    def on_overflow(self, session: Session) -> None:
        """It was found while something was sent to it, maybe to many: it ends after that."""
        log.info("too slow to read", transport=session.id)
        asyncio.get_running_loop().call_soon(session.end, self.reason.TRANSPORT_ERROR, protocol.TOO_SLOW)

    def on_closed(self, session: Session, reason: str) -> None:
        self._heartbeat.remove(session.id)
        self.sessions.pop(session.id, None)
        try:
            work = self._handlers["disconnect"](session, reason)
        except Exception:
            log.exception("disconnect failed", transport=session.id)
        else:
            if work is not None:
                self.start(_awaited(work))

    def on_lost(self, websocket: Websocket) -> None:
        if not self._lost:
            asyncio.get_running_loop().call_soon(self._end_lost)
        self._lost.append(websocket)

    def _end_lost(self) -> None:
        """Spread over as many turns of the loop as it needs."""
        until = time.perf_counter() + LOST_A_TURN_SECONDS
        while self._lost and time.perf_counter() < until:
            websocket = self._lost.popleft()
            self._websockets.discard(websocket)
            websocket.lost()
        if self._lost:
            asyncio.get_running_loop().call_soon(self._end_lost)
        elif not self._websockets:
            self._no_websocket.set()

    # -- heartbeats ---------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Pings and gives up what is due; one timer serves all sessions."""
        self._timer = None
        for beat, transport_id in self._heartbeat.due(self._clock()):
            session = self.sessions[transport_id]
            if beat is Beat.PING:
                session.send(frames.PING)
            elif session.handling:  # its pong may have come, and wait behind what is handled
                self._heartbeat.add(transport_id, self._clock())
            else:
                self.last_words(session)
                session.end(self.reason.PING_TIMEOUT, protocol.HEARTBEAT_LOST)
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._heartbeat.next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock()), self.beat)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("engine task failed", exc_info=error)


async def _awaited(work: Awaitable[None]) -> None:
    await work
