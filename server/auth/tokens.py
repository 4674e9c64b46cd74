"""Turns a bearer token into an identity and mints tokens for development; where keys come from is `keys.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import jwt

from server.errors import TokenExpired, TokenInvalid, TokenMissing
from server.identity import TOKEN_LEEWAY_SECONDS, Identity

MAX_TOKEN_CHARS = 8192
MAX_MOMENT = 2**53  # seconds; NaN is not below it either
NEVER = 253_402_300_799  # the last second of the year 9999: no date is later
MAX_CLAIM_CHARS = 100  # the width of user_id in the chat seed's tables


class KeySource(Protocol):
    """Finds the key that a token claims to be signed with."""

    async def key_for(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        """Raises TokenInvalid when there is none of that id for exactly that algorithm."""


class SecretKey:
    """One shared secret for HMAC algorithms; it answers for no other, so keys and algorithms cannot be confused."""

    def __init__(self, secret: str, algorithm: str = "HS256") -> None:
        self._algorithm = algorithm
        self._key = jwt.PyJWK.from_dict(
            {"kty": "oct", "k": jwt.utils.base64url_encode(secret.encode()).decode()}, algorithm
        )

    async def key_for(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        if algorithm != self._algorithm:
            raise TokenInvalid
        return self._key


class TokenAuthority:
    """Verifies tokens: the algorithm picks its configured key source; the token's header never picks both."""

    def __init__(
        self,
        sources: Mapping[str, KeySource],
        *,
        issuer: str | None = None,
        audience: Sequence[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sources = dict(sources)
        self._issuer = issuer
        self._audience = list(audience)
        self._now = now

    async def identify(self, token: str | None) -> Identity:
        """Raises TokenMissing, TokenExpired or TokenInvalid (SPEC §2)."""
        if not token:
            raise TokenMissing
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise TokenInvalid("The token is too long, or no token at all")
        try:
            header = jwt.get_unverified_header(token)
            source = self._sources.get(str(header.get("alg")))
            if source is None:
                raise TokenInvalid
            algorithm, key_id = header["alg"], header.get("kid")
            key = await source.key_for(algorithm, key_id if isinstance(key_id, str) else None)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience or None,
                # `exp` is compared below, by the injected clock
                options={
                    "require": ["sub", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_aud": bool(self._audience),
                    "verify_iss": self._issuer is not None,
                },
            )
        except jwt.PyJWTError as error:
            raise TokenInvalid from error
        return self._identity(claims)

    def _identity(self, claims: Mapping[str, object]) -> Identity:
        now = self._now()
        expires_at, not_before = _moment(claims["exp"]), _moment(claims.get("nbf", 0))
        if now > expires_at + TOKEN_LEEWAY_SECONDS:
            raise TokenExpired
        if now < not_before - TOKEN_LEEWAY_SECONDS:
            raise TokenInvalid
        user_id = _claim(claims, "sub")
        if user_id is None:
            raise TokenInvalid
        realm_access = claims.get("realm_access")
        realm_roles = realm_access.get("roles") if isinstance(realm_access, Mapping) else None
        return Identity(
            user_id=user_id,
            tenant=_claim(claims, "currentCompanyId"),
            roles=frozenset(_role_names(realm_roles)) | frozenset(_role_names(claims.get("roles"))),
            username=_claim(claims, "preferred_username"),
            name=_claim(claims, "name"),
            email=_claim(claims, "email"),
            expires_at=min(expires_at, NEVER),
        )


def _moment(claim: object) -> float:
    """Seconds since the epoch. Raises TokenInvalid."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not abs(claim) < MAX_MOMENT:
        raise TokenInvalid
    return float(claim)


def mint(
    secret: str,
    sub: str,
    *,
    roles: Sequence[str] = (),
    tenant: str | None = None,
    lifetime: float = 3600,
    algorithm: str = "HS256",
    issuer: str | None = None,
    audience: Sequence[str] = (),
    now: Callable[[], float] = time.time,
) -> str:
    """A token for development and operations; `lifetime` in seconds."""
    issued_at = int(now())
    claims: dict[str, object] = {"sub": sub, "iat": issued_at, "exp": int(issued_at + lifetime)}
    if roles:
        claims["roles"] = list(roles)
    if tenant is not None:
        claims["currentCompanyId"] = tenant
    if issuer is not None:
        claims["iss"] = issuer
    if audience:
        claims["aud"] = list(audience)
    return jwt.encode(claims, secret, algorithm=algorithm)


def _claim(claims: Mapping[str, object], name: str) -> str | None:
    """A text claim; absent is None, anything but short printable text is a fault."""
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CLAIM_CHARS or not value.isprintable():
        raise TokenInvalid(f"The token's {name} is not usable")
    return value


def _role_names(roles: object) -> list[str]:
    return [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
