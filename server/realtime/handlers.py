"""python-socketio's `@on` handlers and `AsyncNamespace` classes as a namespace: their signatures, under our order."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import socketio
import structlog
from aiohttp import web

from server.identity import Identity, anonymous
from server.realtime.connection import Connection
from server.realtime.link import Link
from server.realtime.membership import Membership, Reply

if TYPE_CHECKING:
    from server.realtime.server import RealtimeServer

log = structlog.get_logger(__name__)


class Handlers(Membership):
    """Everybody is admitted whom the `connect` handler does not refuse. What a handler returns is the ack: a tuple is
    several arguments, `()` an empty ack, and None is none, as of a Node handler that does not call back."""

    def __init__(self, path: str, server: RealtimeServer) -> None:
        self.path = path
        self.server = server

    async def identify(self, link: Link, auth: Any) -> Identity:
        return anonymous()

    async def admit(self, connection: Connection, auth: Any, *, recovered: bool) -> None:
        arguments: tuple[Any, ...] = (connection.id, self.server.environ.get(connection.transport_id, {}), auth or None)
        if not self._takes_auth(arguments):
            arguments = arguments[:2]
        if await self.server.trigger("connect", self.path, *arguments) is False:
            raise socketio.exceptions.ConnectionRefusedError

    async def handle(self, connection: Connection, name: str, arguments: Sequence[Any], reply: Reply | None) -> None:
        if name in self.server.reserved_events:
            return
        try:
            result = await self.server.trigger(name, self.path, connection.id, *arguments)
        except Exception:
            log.exception("handler failed", namespace=self.path, event_name=name, connection=connection.id)
            return
        if reply is not None and result is not None and result is not self.server.not_handled:
            reply(*(result if isinstance(result, tuple) else (result,)))

    async def ended(self, connection: Connection, rooms_left: Collection[str], reason: str) -> None:
        await self.server.trigger("disconnect", self.path, connection.id, reason)

    def _takes_auth(self, arguments: tuple[Any, ...]) -> bool:
        """Looked up, not tried: a TypeError from within a handler is no reason to call it again."""
        handler, given = self.server.find_handler("connect", self.path, arguments)
        if handler is None:
            return True
        try:
            inspect.signature(handler).bind(*given)
        except TypeError:
            return False
        return True


def environ(request: web.Request) -> dict[str, Any]:
    """A request as handlers know it from python-socketio: WSGI's names, and the request itself."""
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    return {
        **headers,
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "REMOTE_ADDR": request.remote or "",
        "aiohttp.request": request,
    }
