"""Tokens for the demo pages and for trying things out. Its route exists only under DEBUG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import orjson
from aiohttp import web
from marshmallow import fields, validate

from server.errors import InvalidMessage
from server.http.middleware import json_response
from server.realtime.schema import Identifier, Payload, load

LIFETIME_SECONDS = 3600


class Mint(Protocol):
    def __call__(self, sub: str, roles: Sequence[str], tenant: str | None, lifetime: float = LIFETIME_SECONDS) -> str:
        """A token; `lifetime` in seconds."""


class TokenRequest(Payload):
    sub = Identifier(required=True)
    roles = fields.List(Identifier(), load_default=list, validate=validate.Length(max=50))
    tenant = Identifier(load_default=None, allow_none=True)


def routes(mint: Mint) -> list[web.RouteDef]:
    schema = TokenRequest()

    async def token(request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
        except ValueError:
            raise InvalidMessage("The body is not JSON") from None
        wanted = load(schema, body)
        minted = mint(wanted["sub"], wanted["roles"], wanted["tenant"])
        return json_response({"token": minted, "expires_in": LIFETIME_SECONDS})

    return [web.post("/api/dev/token", token)]
