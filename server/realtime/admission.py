"""Who may connect: rate by address, room on this node, and a good token. What they may do later is `auth.policy`'s."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Protocol

from server.errors import ConnectionClosed, RateLimited, ServerFull, TokenInvalid, TokenMissing, TooManyConnects
from server.identity import Identity, anonymous
from server.realtime.limits import RateLimits

CONNECT_RATE = "connects"


class Authenticator(Protocol):
    async def identify(self, token: str | None) -> Identity:
        """Raises TokenMissing, TokenExpired or TokenInvalid."""


class NoTokens:
    """Of a server that was given no way to check one: it trusts none."""

    async def identify(self, token: str | None) -> Identity:
        raise TokenMissing if not token else TokenInvalid


class Admission:
    def __init__(
        self,
        authenticator: Authenticator,
        limits: RateLimits,
        *,
        max_connections: int,
        exempt_loopback: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._authenticator = authenticator
        self._limits = limits
        self._max_connections = max_connections
        self._exempt_loopback = exempt_loopback
        self.now = now
        self._admitted: dict[str, int] = {}  # transport id -> its admitted namespaces

    async def arrive(self, address: str) -> ConnectionClosed | None:
        """Counts a new transport; a refusal is kept for its first CONNECT, where a client can read it."""
        if self._exempt_loopback and _is_loopback(address):
            return None
        try:
            await self._limits.hit(CONNECT_RATE, address)
        except RateLimited as error:
            return TooManyConnects(retry_after=error.retry_after, limit=error.limit)
        return None

    def enter(self, transport_id: str) -> None:
        """Takes a place for one namespace of a transport: one transport fills one place, whatever it multiplexes.

        Raises ServerFull. Every `enter` is followed by one `leave`.
        """
        held = self._admitted.get(transport_id, 0)
        if not held and len(self._admitted) >= self._max_connections:
            raise ServerFull
        self._admitted[transport_id] = held + 1

    def leave(self, transport_id: str) -> None:
        held = self._admitted.pop(transport_id, 0) - 1
        if held > 0:
            self._admitted[transport_id] = held

    def holds(self, transport_id: str) -> bool:
        return transport_id in self._admitted

    async def identify(self, auth: object, header: str | None, query: str | None, *, required: bool) -> Identity:
        """Token places in the order of SPEC §2: `auth.token`, `Authorization: Bearer`, `?token=`.

        A token that is given must be good, also where none is required.
        """
        token = auth.get("token") if isinstance(auth, dict) else None
        if token is not None and not isinstance(token, str):
            raise TokenInvalid("auth.token must be text")
        if not token and header is not None:
            scheme, _, credentials = header.partition(" ")
            token = credentials.strip() if scheme.lower() == "bearer" else None
        token = token or query
        if not token:
            if required:
                raise TokenMissing
            return anonymous()
        return await self._authenticator.identify(token)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
