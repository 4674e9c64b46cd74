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

#: The events of an SSE response, each with its `type`.
Stream = AsyncGenerator[Mapping[str, object], None]
Handler = Callable[..., Awaitable[Mapping[str, object] | Stream]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`rate` names the limit it counts under, beside the one for any request; `timeout` is in seconds."""

    method: str
    path: str
    body: type[Payload] | None
    query: type[Payload] | None
    status: int
    rate: str | None
    timeout: float | None

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
) -> Callable[[Handler], Handler]:
    """Declares a method as the handler of a route: it is called with who asks and with the fields of path, query and
    body as keyword arguments. The mapping it returns is the response; a generator is sent as SSE, event by event.

    What it raises before it returns is an error response. `timeout` replaces the one of all endpoints.
    """
    declared = Endpoint(method, path, body, query, status, rate, timeout)

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

    def routes(self, namespace: str, *owners: object) -> list[web.RouteDef]:
        """Every endpoint of the owners; what they count, they count as events of that namespace do."""
        return [
            self._route(namespace, method.__func__.__dict__["endpoint"], method)
            for owner in owners
            for _, method in inspect.getmembers(owner, inspect.ismethod)
            if "endpoint" in method.__func__.__dict__
        ]

    async def identify(self, request: web.Request) -> Identity:
        """Who asks, by the header alone: without a token there is nobody whose session it could be (SPEC §2).

        Raises TokenMissing, TokenExpired, TokenInvalid, and RateLimited for who asks too often.
        """
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        identity = await self._admission.identify(None, authorization, None, required=True)
        await self._limits.hit(EVENT_RATE, "http", *identity.scope, shared=False)
        return identity

    async def count(self, namespace: str, rate: str, identity: Identity) -> Mapping[str, object]:
        """As the events of the namespace that have this rate, and where that is wanted together with them."""
        if self._share_rate_limit:
            remaining = await self._limits.hit(rate, namespace, *identity.scope)
        else:
            remaining = await self._limits.hit(rate, "http", namespace, *identity.scope, shared=False)
        return {} if remaining is None else {"remaining": remaining}

    def _route(self, namespace: str, declared: Endpoint, handler: Handler) -> web.RouteDef:
        path = Shape(Payload.from_dict({name: Identifier(required=True) for name in declared.parameters})())
        query = Shape((declared.query or Payload)())
        body = None if declared.body is None else Shape(declared.body())

        async def answer(request: web.Request) -> Mapping[str, object] | Stream:
            identity = await self.identify(request)
            fields = path.load(dict(request.match_info)) | query.load(_parameters(request))
            if body is not None:
                fields |= body.load(await self._read(request))
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
