"""What every HTTP request passes: origins for all doors alike, errors in one JSON shape. It knows no route."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from urllib.parse import urlsplit

import orjson
import structlog
from aiohttp import hdrs, web

from server.errors import AtriumError, InternalError, OriginRefused, RateLimited

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PREFLIGHT_SECONDS = 600
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def json_response(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """`{"error": {"code", "message", ...}}` for whatever goes wrong; nothing unexpected is shown raw."""
    try:
        return await handler(request)
    except AtriumError as error:
        response = json_response({"error": error.to_wire()}, error.http_status)
        if isinstance(error, RateLimited):
            response.headers[hdrs.RETRY_AFTER] = str(-(-error.retry_after // 1000))
        return response
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        code = HTTPStatus(error.status).name
        response = json_response({"error": {"code": code, "message": error.reason}}, error.status)
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    except Exception:
        internal = InternalError(secrets.token_hex(8))
        log.exception("request failed", path=request.path, error_id=internal.error_id)
        return json_response({"error": internal.to_wire()}, internal.http_status)


def origins(allowed: Collection[str], *, allow_loopback: bool) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Refuses browsers from elsewhere. `allowed` holds origins, or `*`; a page of this server's own is always allowed,
    and with `allow_loopback` one that a developer's own machine serves.

    aiohttp-cors would do for plain routes, but raises on the Socket.IO one and knows no websocket; one rule for every
    door is shorter.
    """
    everyone = "*" in allowed

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return await handler(request)
        if not (everyone or origin in allowed or _is_near(origin, request.host, allow_loopback=allow_loopback)):
            refusal = OriginRefused()
            return json_response({"error": refusal.to_wire()}, refusal.http_status)
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            response: web.StreamResponse = web.Response(status=204)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, PUT, PATCH, DELETE"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Authorization, Content-Type"
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_SECONDS)
        else:
            response = await handler(request)
        if not response.prepared:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.VARY] = hdrs.ORIGIN
        return response

    return check


def _is_near(origin: str, host: str, *, allow_loopback: bool) -> bool:
    """Hosts are compared without the scheme: behind a proxy that ends TLS, ours is not the one the browser sees."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.netloc == host or (allow_loopback and parts.hostname in LOOPBACK)
