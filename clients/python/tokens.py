"""Where a client's token comes from: a text, or a callback that is asked at every connect and before one runs out."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from collections.abc import Awaitable, Callable

import aiohttp

from clients.python.errors import NotConnected

SECONDS = 15.0

Token = str | Callable[[], str | Awaitable[str | None] | None] | None


class TokenSource:
    def __init__(self, token: Token) -> None:
        self._token = token
        self.user_id = subject(token) if isinstance(token, str) else None  # of the newest one

    @property
    def renews(self) -> bool:
        """Asked again it may give another one."""
        return callable(self._token)

    async def get(self) -> str | None:
        """Raises NotConnected, with the code TOKEN_UNAVAILABLE, when the callback fails or takes too long."""
        if not callable(self._token):
            return self._token
        try:
            async with asyncio.timeout(SECONDS):
                given = self._token()
                token = await given if inspect.isawaitable(given) else given
        except Exception as error:
            raise NotConnected("TOKEN_UNAVAILABLE", f"no token: {error!r}") from error
        self.user_id = subject(token)
        return token


def subject(token: str | None) -> str | None:
    """Who a JWT is for, by its own word: nothing is checked here, as the server does. None where it does not say."""
    try:
        body = (token or "").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return str(claims["sub"]) or None
    except (IndexError, KeyError, TypeError, ValueError):
        return None


async def development_token(url: str, sub: str, roles: tuple[str, ...] = ()) -> str | None:
    """What a server under DEBUG mints for anybody; None from any other."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as http,
            http.post(f"{url}/api/dev/token", json={"sub": sub, "roles": list(roles)}) as response,
        ):
            return str((await response.json())["token"]) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None
