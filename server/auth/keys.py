"""Public keys from a JWKS endpoint, cached; it fetches and caches, and verifies nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import jwt
import orjson
import structlog

from server.errors import TokenInvalid

log = structlog.get_logger(__name__)

FETCH_TIMEOUT_SECONDS = 5
COOLDOWN_SECONDS = 60  # SPEC §2: an unknown `kid` refetches at most once a minute
EMPTY_COOLDOWN_SECONDS = 5  # nobody can log in before the first fetch succeeds
MAX_AGE_SECONDS = 600  # a key withdrawn by its issuer is refused after this long
MAX_BODY_BYTES = 256 * 1024
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC"}


class JwksKeys:
    """Keys by id. Awaiting one never blocks the loop; one slow endpoint is asked by one fetch, whoever waits.

    A dead endpoint leaves the last keys in use: people who hold good tokens stay in while the issuer restarts.
    """

    def __init__(
        self,
        url: str,
        algorithms: Iterable[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        fetch_timeout: float = FETCH_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._algorithms = frozenset(algorithms)
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=fetch_timeout)
        self._keys: dict[str | None, dict[str, Any]] = {}
        self._usable: dict[tuple[str | None, str], jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetch: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None

    async def key_for(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        if algorithm not in self._algorithms:
            raise TokenInvalid
        if self._clock() - self._fetched_at > MAX_AGE_SECONDS or key_id not in self._keys:
            await self._refresh(wait=key_id not in self._keys)
        if (usable := self._usable.get((key_id, algorithm))) is not None:
            return usable
        document = self._keys.get(key_id)
        if document is None or document.get("kty") != _KEY_TYPES[algorithm[:2]]:
            raise TokenInvalid("The token was signed with an unknown key")
        if document.get("alg", algorithm) != algorithm:
            raise TokenInvalid("The token's key is for another algorithm")
        try:
            key = jwt.PyJWK.from_dict(document, algorithm)
        except jwt.PyJWTError as error:
            raise TokenInvalid("The token's key is not usable") from error
        self._usable[key_id, algorithm] = key
        return key

    async def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def _refresh(self, *, wait: bool) -> None:
        if self._fetch is None:
            cooldown = COOLDOWN_SECONDS if self._keys else EMPTY_COOLDOWN_SECONDS
            if self._clock() - self._tried_at < cooldown:
                return
            self._tried_at = self._clock()
            self._fetch = asyncio.create_task(self._fetch_keys(), name="jwks-fetch")
            self._fetch.add_done_callback(self._fetch_done)
        if wait:
            await asyncio.shield(self._fetch)

    def _fetch_done(self, task: asyncio.Task[None]) -> None:
        self._fetch = None

    async def _fetch_keys(self) -> None:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._http.get(self._url, allow_redirects=False) as response:
                response.raise_for_status()
                self._keys = _parse(await _read_bounded(response))
            self._usable.clear()
            self._fetched_at = self._clock()
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            log.warning("jwks fetch failed", url=self._url, error=repr(error))


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("the key set is too large")
    return bytes(body)


def _parse(body: bytes) -> dict[str | None, dict[str, Any]]:
    return {
        document.get("kid"): document
        for document in orjson.loads(body)["keys"]
        if isinstance(document, dict) and document.get("use", "sig") == "sig"
    }
