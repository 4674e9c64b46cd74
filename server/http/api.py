"""What JSON routes share: who asks, what they send, how often, and whether anything is new. It has no route itself."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

import orjson
import structlog
from aiohttp import ETag, hdrs, web
from aiohttp_sse import sse_response

from server.errors import AtriumError, HandlerTimeout, InternalError, InvalidMessage, MessageTooBig
from server.http.middleware import json_response
from server.identity import Identity
from server.realtime import json_codec
from server.realtime.admission import Admission
from server.realtime.limits import RateLimits
from server.realtime.namespace import EVENT_RATE
from server.realtime.schema import Identifier, Payload, Shape

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 15.0

#: A header that stands for the body's field of this name, where its schema has one and it is not said there.
KEY_HEADER, KEY_FIELD = "Idempotency-Key", "idempotency_key"

#: The events of an SSE response, each with its `type`.
Stream = AsyncGenerator[Mapping[str, object], None]


@dataclass(frozen=True, slots=True)
class Download:
    """A file, whole or as it comes. The `filename` is the server's own choice: printable ASCII without quotes."""

    filename: str
    content_type: str
    body: bytes | AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Reply:
    """With a status other than the endpoint's usual one."""

    status: int
    body: Mapping[str, object]


Answer = Mapping[str, object] | Reply | Stream | Download
Handler = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`rate` names the limit it counts under, beside the one for any request; `timeout` is in seconds. A `public` one
    may be asked without a token, where its routes are made so."""

    method: str
    path: str
    body: type[Payload] | None
    query: type[Payload] | None
    status: int
    rate: str | None
    timeout: float | None
    public: bool

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def endpoint(
    method: str,
    path: str,
    *,
    body: type[Payload] | None = None,
    query: type[Payload] | None = None,
    status: int = HTTPStatus.OK,
    rate: str | None = None,
    timeout: float | None = None,
    public: bool = False,
) -> Callable[[Handler], Handler]:
    """Declares a method as the handler of a route: it is called with who asks and with the fields of path, query and
    body as keyword arguments. The mapping it returns is the response, in a `Reply` with another status, a `Download` a
    file; a generator is sent as SSE, event by event.

    What it raises before it returns is an error response. `timeout` replaces the one of all endpoints.
    """
    declared = Endpoint(method, path, body, query, status, rate, timeout, public)

    def declare(handler: Handler) -> Handler:
        wanted = list(inspect.signature(handler).parameters)[2:]
        given = [*declared.parameters, *(name for each in (body, query) if each is not None for name in each().fields)]
        if sorted(wanted) != sorted(given):
            raise TypeError(f"{method} {path}: the handler takes {wanted}, its path and schemas have {given}")
        handler.__dict__["endpoint"] = declared
        return handler

    return declare


class Api:
    """`max_body` in bytes, times in seconds. `share_rate_limit`: requests and events of a user count together."""

    def __init__(
        self,
        admission: Admission,
        limits: RateLimits,
        *,
        max_body: int,
        share_rate_limit: bool = True,
        timeout: float = 10.0,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._admission = admission
        self._limits = limits
        self._max_body = max_body
        self._share_rate_limit = share_rate_limit
        self._timeout = timeout
        self._heartbeat = heartbeat

    def routes(self, namespace: str, *owners: object, require_auth: bool = True) -> list[web.RouteDef]:
        """Every endpoint of the owners; what they count, they count as events of that namespace do. Without
        `require_auth` those that are `public` need no token."""
        return [
            self._route(namespace, method.__func__.__dict__["endpoint"], method, require_auth=require_auth)
            for owner in owners
            for _, method in inspect.getmembers(owner, inspect.ismethod)
            if "endpoint" in method.__func__.__dict__
        ]

    async def identify(self, request: web.Request, *, required: bool = True) -> Identity:
        """Who asks, by the header alone: without a token there is nobody whose session it could be (SPEC §2).

        Raises TokenMissing, TokenExpired, TokenInvalid, and RateLimited for who asks too often.
        """
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        identity = await self._admission.identify(None, authorization, None, required=required)
        who = (request.remote,) if identity.anonymous else identity.scope
        await self._limits.hit(EVENT_RATE, "http", *who, shared=False)
        return identity

    async def count(self, namespace: str, rate: str, identity: Identity) -> Mapping[str, object]:
        """As the events of the namespace that have this rate, and where that is wanted together with them."""
        if self._share_rate_limit:
            remaining = await self._limits.hit(rate, namespace, *identity.scope)
        else:
            remaining = await self._limits.hit(rate, "http", namespace, *identity.scope, shared=False)
        return {} if remaining is None else {"remaining": remaining}

    def _route(self, namespace: str, declared: Endpoint, handler: Handler, *, require_auth: bool) -> web.RouteDef:
        required = require_auth or not declared.public
        path = Shape(Payload.from_dict({name: Identifier(required=True) for name in declared.parameters})())
        query = Shape((declared.query or Payload)())
        body = None if declared.body is None else Shape(declared.body())

        async def answer(request: web.Request) -> Answer:
            identity = await self.identify(request, required=required)
            fields = path.load(dict(request.match_info)) | query.load(_parameters(request))
            if body is not None:
                sent = await self._read(request)
                key = request.headers.get(KEY_HEADER)
                if key is not None and isinstance(sent, dict) and KEY_FIELD in body.schema.fields:
                    sent = {KEY_FIELD: key, **sent}
                fields |= body.load(sent)
            if declared.rate is None:
                return await handler(identity, **fields)
            counted = await self.count(namespace, declared.rate, identity)
            answer = await handler(identity, **fields)
            return {**counted, **answer} if isinstance(answer, Mapping) else answer

        async def respond(request: web.Request) -> web.StreamResponse:
            try:
                async with asyncio.timeout(declared.timeout or self._timeout) as deadline:
                    answered = await answer(request)
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise HandlerTimeout from None
            if isinstance(answered, Reply):
                return json_response(answered.body, answered.status)
            if isinstance(answered, Download):
                return await _sent(request, answered)
            if not isinstance(answered, Mapping):
                return await self._stream(request, answered)
            if declared.method == hdrs.METH_GET:
                return _revalidated(request, answered)
            return json_response(answered, declared.status)

        pattern = re.sub(r"{(\w+)}", r"{\1:[^/]+}", declared.path)  # ids may hold braces
        if declared.method == hdrs.METH_GET:
            return web.get(pattern, respond)  # and HEAD
        return web.route(declared.method, pattern, respond)

    async def _read(self, request: web.Request) -> object:
        """The JSON of the body; nothing is `{}`. Raises MessageTooBig once it is, InvalidMessage."""
        if (request.content_length or 0) > self._max_body:
            raise MessageTooBig
        received = bytearray()
        try:
            async for chunk in request.content.iter_any():
                received += chunk
                if len(received) > self._max_body:
                    raise MessageTooBig
        except (web.RequestPayloadError, ConnectionError):  # badly compressed, or never to be whole
            raise InvalidMessage("The body is broken") from None
        if not received:
            return {}
        if request.content_type != "application/json":
            raise InvalidMessage("The body must be application/json")
        try:
            return json_codec.loads(bytes(received))
        except json_codec.PayloadRefused as error:
            raise InvalidMessage(str(error)) from None
        except ValueError:
            raise InvalidMessage("The body is not JSON") from None

    async def _stream(self, request: web.Request, events: Stream) -> web.StreamResponse:
        """Who leaves, or no longer reads, ends only this. What the generator raises is the last event, `error`."""
        async with aclosing(events), aclosing(_told(events, request)) as told:
            if request.transport is None:
                return web.Response()  # nobody is there to read it
            try:
                async with sse_response(
                    request, sep="\n", allow_all_methods=True, ping_interval=self._heartbeat
                ) as response:
                    async for event in told:
                        await response.send(orjson.dumps(event).decode())
            except (ConnectionError, TimeoutError):
                log.debug("reader gone", path=request.path)
        return response


async def _told(events: Stream, request: web.Request) -> Stream:
    try:
        async for event in events:
            yield event
    except AtriumError as error:
        yield {"type": "error", **error.to_wire()}
    except Exception:
        internal = InternalError(secrets.token_hex(8))
        log.exception("stream failed", path=request.path, error_id=internal.error_id)
        yield {"type": "error", **internal.to_wire()}


async def _sent(request: web.Request, download: Download) -> web.StreamResponse:
    headers = {
        hdrs.CONTENT_TYPE: download.content_type,
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{download.filename}"',
        hdrs.CACHE_CONTROL: "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if isinstance(download.body, bytes):
        return web.Response(body=download.body, headers=headers)
    response = web.StreamResponse(headers=headers)
    async with aclosing(download.body) as parts:
        await response.prepare(request)
        try:
            async for part in parts:
                await response.write(part)
            await response.write_eof()
        except Exception:  # a database that is away raises ConnectionError, as a reader that is gone does
            if request.transport is None or request.transport.is_closing():
                log.debug("reader gone", path=request.path)
            else:
                log.exception("download failed", path=request.path)
                request.transport.abort()  # the reader must not take the part for the whole
    return response


def _parameters(request: web.Request) -> dict[str, str]:
    """Raises InvalidMessage for one that is given twice: which is meant would be a guess."""
    query = request.query
    if twice := {name: ["Given twice."] for name in query if len(query.getall(name)) > 1}:
        raise InvalidMessage(details=twice)
    return dict(query)


def _revalidated(request: web.Request, answered: Mapping[str, object]) -> web.Response:
    """304 to who polls and has it. The tag is weak: it is the body's, whatever the way there makes of that."""
    body = orjson.dumps(answered)
    tag = ETag(hashlib.blake2b(body, digest_size=16).hexdigest(), is_weak=True)
    if any(each.value in (tag.value, "*") for each in request.if_none_match or ()):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = web.Response(body=body, content_type="application/json")
    response.etag = tag
    response.headers[hdrs.CACHE_CONTROL] = "private, no-cache"
    response.headers[hdrs.VARY] = hdrs.AUTHORIZATION
    return response
