"""A user of the HTTP API, and what they are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.support import running


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> tuple[int, str]:
        """Status and code."""
        return self.status, self.body["error"]["code"]


class Rest:
    def __init__(self, url: str, sub: str = "alice", *, roles: tuple[str, ...] = (), tenant: str | None = None) -> None:
        self.url = url
        self.token = running.token(sub, roles=roles, tenant=tenant)

    async def call(self, method: str, path: str, **options: Any) -> Reply:
        """`options` as aiohttp's."""
        async with self.request(method, path, **options) as response:
            body = await response.read()
            return Reply(response.status, orjson.loads(body) if body else None, response.headers)

    async def get(self, path: str, **query: Any) -> Reply:
        return await self.call("GET", path, params=query)

    async def post(self, path: str, body: object = None) -> Reply:
        return await self.call("POST", path, **({} if body is None else {"json": body}))

    async def patch(self, path: str, body: object) -> Reply:
        return await self.call("PATCH", path, json=body)

    async def delete(self, path: str) -> Reply:
        return await self.call("DELETE", path)

    @asynccontextmanager
    async def events(self, path: str, body: object) -> AsyncIterator[AsyncIterator[Any]]:
        """The events of an SSE response as they come; leaving the block leaves it."""
        async with self.request("POST", path, json=body) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            yield _events(response)

    @asynccontextmanager
    async def request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """`options` as aiohttp's."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.url + path, headers=headers, **options) as response,
        ):
            yield response


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield orjson.loads(line.removeprefix(b"data: "))


async def connections(server: running.Running) -> list[dict[str, Any]]:
    """All there are on all nodes, the oldest first, as an administrator sees them."""
    reply = await Rest(server.url, "root", roles=("admin",)).get("/api/admin/connections")
    listed: list[dict[str, Any]] = reply.body["connections"]
    return listed
