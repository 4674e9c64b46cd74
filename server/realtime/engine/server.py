"""The Engine.IO server: its sessions, their heartbeats and bounds, and the HTTP door to both transports.

It stands where python-socketio expects python-engineio's `AsyncServer`, and has what that uses of it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import engineio
import orjson
import structlog
from aiohttp import web

from server.realtime.engine import frames, polling, protocol
from server.realtime.engine.heartbeat import Beat, Heartbeat
from server.realtime.engine.outbox import Cork
from server.realtime.engine.protocol import Refused
from server.realtime.engine.session import Session
from server.realtime.engine.websocket import Websocket

log = structlog.get_logger(__name__)

TRANSPORTS = ("polling", "websocket")

Handler = Callable[..., Awaitable[Any]]


class Engine:
    """Times in seconds, sizes in bytes."""

    async_mode = "aiohttp"
    reason = engineio.AsyncServer.reason

    def __init__(
        self,
        *,
        ping_interval: float = 25,
        ping_timeout: float = 20,
        most_missed_pongs: int = 1,
        max_http_buffer_size: int = 1_000_000,
        outbox_messages: int = 10_000,
        outbox_bytes: int = 16 * 1024 * 1024,
        max_sessions: int = 100_000,
        transports: tuple[str, ...] = TRANSPORTS,
        clock: Callable[[], float] = time.monotonic,
        **_: object,  # python-socketio passes what python-engineio knows: json, logger, async_handlers
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.max_sessions = max_sessions
        self.message_too_big: Callable[[Session, str | bytes], bool] = lambda session, data: (
            len(data) > self._most_bytes
        )
        self._handlers: dict[str, Handler] = {}
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._most_bytes = max_http_buffer_size
        self._outbox_messages = outbox_messages
        self._outbox_bytes = outbox_bytes
        self._transports = transports
        self._clock = clock
        self._cork = Cork()
        self._heartbeat: Heartbeat[str] = Heartbeat(ping_interval, ping_timeout, most_missed_pongs)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._silence = most_missed_pongs * (ping_interval + ping_timeout) - ping_interval

    # -- what python-socketio uses ------------------------------------------------------------------------------

    def on(self, event: str, handler: Handler) -> None:
        self._handlers[event] = handler

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
        return self.sessions[transport_id].user_session

    async def save_session(self, transport_id: str, session: dict[str, Any]) -> None:
        self.sessions[transport_id].user_session = session

    async def disconnect(self, transport_id: str) -> None:
        await self.close(transport_id)

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return self._start(target(*arguments, **options))

    async def sleep(self, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)

    def create_event(self) -> asyncio.Event:
        return asyncio.Event()

    def generate_id(self) -> str:
        return secrets.token_urlsafe(15)

    async def shutdown(self) -> None:
        """Ends every session, and the tasks that end others."""
        await asyncio.gather(*(self.close(each, protocol.GOING_AWAY) for each in list(self.sessions)))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- sessions -----------------------------------------------------------------------------------------------

    async def close(self, transport_id: str, code: int = protocol.NORMAL) -> None:
        session = self.sessions.get(transport_id)
        if session is not None:
            await session.end(self.reason.SERVER_DISCONNECT, code)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._serve(request)
        except ConnectionError:  # the client is gone; there is nobody to answer
            return web.Response(status=400)
        except Refused as refused:
            body = orjson.dumps({"code": refused.code, "message": refused.message})
            return web.Response(status=refused.status, body=body, content_type="application/json")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
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
            return await Websocket(request, self._most_bytes).upgrade(session)
        if session.transport == "websocket" or request.method not in ("GET", "POST"):
            raise protocol.bad_request()
        if request.method == "GET":
            return await polling.take(request, session, self._most_bytes)
        return await polling.bring(request, session, self._most_bytes)

    async def _open(self, request: web.Request, *, wants_websocket: bool) -> web.StreamResponse:
        if len(self.sessions) >= self.max_sessions:
            raise Refused(4, "Server full", status=503)
        websocket = Websocket(request, self._most_bytes) if wants_websocket else None
        if websocket is not None:
            await websocket.open()
        session = self._new_session(request)
        try:
            session.send(frames.Packet(protocol.OPEN + orjson.dumps(self._handshake(session, websocket)).decode()))
            await self._handlers["connect"](session.id, session.environ)
            self._heartbeat.add(session.id, self._clock())
            self._set_timer()
            if websocket is not None:
                return await websocket.serve(session)
            return await polling.take(request, session, self._most_bytes)
        except Refused:
            await session.end(self.reason.TRANSPORT_ERROR)
            if websocket is None:
                raise
            await websocket.close(protocol.TRY_LATER)
            return websocket.socket
        except BaseException:
            await session.end(self.reason.TRANSPORT_ERROR)
            raise

    def _new_session(self, request: web.Request) -> Session:
        session = Session(
            self.generate_id(),
            {"aiohttp.request": request},
            self,
            self._cork,
            most=self._outbox_messages,
            most_bytes=self._outbox_bytes,
        )
        self.sessions[session.id] = session
        return session

    def _handshake(self, session: Session, websocket: Websocket | None) -> dict[str, object]:
        return {
            "sid": session.id,
            "upgrades": ["websocket"] if websocket is None and "websocket" in self._transports else [],
            "pingInterval": round(self._ping_interval * 1000),
            "pingTimeout": round(self._silence * 1000),
            "maxPayload": self._most_bytes,
        }

    # -- what sessions tell -------------------------------------------------------------------------------------

    async def on_message(self, session: Session, data: str | bytes) -> None:
        await self._handlers["message"](session.id, data)

    def too_big(self, session: Session, data: str | bytes) -> bool:
        return self.message_too_big(session, data)

    def on_pong(self, session: Session) -> None:
        self._heartbeat.pong(session.id, self._clock())
        self._set_timer()

    def on_overflow(self, session: Session) -> None:
        log.info("too slow to read", transport=session.id)
        self._start(session.end(self.reason.TRANSPORT_ERROR, protocol.TOO_SLOW))

    async def on_closed(self, session: Session, reason: str) -> None:
        self._heartbeat.remove(session.id)
        try:
            await self._handlers["disconnect"](session.id, reason)
        except Exception:
            log.exception("disconnect failed", transport=session.id)
        finally:
            self.sessions.pop(session.id, None)

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
                self._start(session.end(self.reason.PING_TIMEOUT, protocol.HEARTBEAT_LOST))
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._heartbeat.next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock()), self.beat)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("engine task failed", exc_info=error)
