"""The server's HTTP API for a client: one request, with its token, in a bounded time. What is asked is the caller's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from clients.python.errors import NotConnected, Refused, TimedOut
from clients.python.tokens import TokenSource

SECONDS = 15.0


def session_path(session_id: str) -> str:
    """Of a chat session; its id may hold anything."""
    return f"/api/chat/sessions/{quote(session_id, safe='')}"


class HttpApi:
    def __init__(self, url: str, token: TokenSource, http: aiohttp.ClientSession) -> None:
        """`http` is the caller's to close."""
        self._url = url
        self._token = token
        self._http = http
        #: Seconds, as exact as the server's `Date`, one; None before it answered.
        self.clock_ahead: float | None = None

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
        """The body of the response. Raises Refused, NotConnected, TimedOut; a proxy that has no server is no server."""
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
                self._look_at_the_clock(response)
                body = await _json(response)
                if response.ok:
                    return body
                said = f"{response.status} {response.reason}"
                if response.status >= 500 and not body.get("error"):
                    raise NotConnected("UNREACHABLE", said)
                raise Refused(body.get("error") or {"code": "REFUSED", "message": said})
        except TimeoutError:
            raise TimedOut(f"no answer to {method} {path} within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotConnected("UNREACHABLE", str(error) or repr(error)) from error

    def _look_at_the_clock(self, response: aiohttp.ClientResponse) -> None:
        try:
            self.clock_ahead = parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()
        except (KeyError, ValueError):
            return


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Empty for what is no JSON object, such as a proxy's page."""
    try:
        body = await response.json(content_type=None)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
