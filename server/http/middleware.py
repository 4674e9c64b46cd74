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
#: By pages from elsewhere, beside what they may always read.
READABLE = "Content-Disposition, Content-Range, ETag, Retry-After"

ALLOWED_ORIGIN = web.RequestKey("allowed_origin", str)


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
        request[ALLOWED_ORIGIN] = origin
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            response = web.Response(status=204)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, PUT, PATCH, DELETE"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = (
                "Authorization, Content-Type, Idempotency-Key, If-None-Match"
            )
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_SECONDS)
            return response
        return await handler(request)

    return check


async def name_origin(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: what is streamed has left before a middleware sees it."""
    origin = request.get(ALLOWED_ORIGIN)
    if origin is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = READABLE
        response.headers[hdrs.VARY] = ", ".join(filter(None, (response.headers.get(hdrs.VARY), hdrs.ORIGIN)))


def _is_near(origin: str, host: str, *, allow_loopback: bool) -> bool:
    """Hosts are compared without the scheme: behind a proxy that ends TLS, ours is not the one the browser sees."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.netloc == host or (allow_loopback and parts.hostname in LOOPBACK)
