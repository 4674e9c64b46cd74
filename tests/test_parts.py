from __future__ import annotations

import time

import pytest

from server.parts import authority, development_mint
from tests.support.running import settings


def test_a_server_without_a_secret_mints_nothing() -> None:
    public = settings(DEBUG="false", JWT_SECRET_KEY="", JWT_JWKS_URL="https://keys.example")
    with pytest.raises(ValueError, match="JWT_JWKS_URL"):
        development_mint(public)


async def test_minted_tokens_carry_what_the_server_checks() -> None:
    strict = settings(JWT_ISSUER="i", JWT_AUDIENCE="a,b", JWT_ALGORITHM="HS512", JWT_SECRET_KEY="x" * 64)
    identity = await authority(strict, None).identify(development_mint(strict)("alice", ["admin"], "acme"))
    assert (identity.tenant, identity.roles) == ("acme", {"admin"})
    assert (identity.expires_at or 0) > time.time()
