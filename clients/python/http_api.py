"""The server's HTTP API for a client: one request, with its token, in a bounded time. What is asked is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from clients.python.errors import NotConnected, Refused, TimedOut
from clients.python.tokens import TokenSource

SECONDS = 15.0


class HttpApi:
    def __init__(self, url: str, token: TokenSource, http: aiohttp.ClientSession) -> None:
        """`http` is the caller's to close."""
        self._url = url
        self._token = token
        self._http = http

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
        form: aiohttp.FormData | None = None,
        timeout: float = SECONDS,
    ) -> dict[str, Any]:
        """The body of the response. Raises Refused, NotConnected, TimedOut."""
        token = await self._token.get()
        try:
            async with self._http.request(
                method,
                f"{self._url}{path}",
                params={name: str(value) for name, value in (query or {}).items()},
                json=json,
                data=form,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=aiohttp.ClientTimeout(timeout),
            ) as response:
                body = await _json(response)
                if response.ok:
                    return body
                raise Refused(body.get("error") or {"code": f"HTTP_{response.status}", "message": response.reason})
        except TimeoutError:
            raise TimedOut(f"no answer to {method} {path} within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotConnected("NOT_CONNECTED", str(error) or repr(error)) from error


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Empty for what is no JSON object, such as a proxy's page."""
    try:
        body = await response.json(content_type=None)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
