from __future__ import annotations

import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from jwt.utils import base64url_encode

from server.auth.keys import JwksKeys
from server.auth.tokens import MAX_TOKEN_CHARS, SecretKey, TokenAuthority, mint
from server.errors import AtriumError, TokenExpired, TokenInvalid, TokenMissing
from server.identity import TOKEN_LEEWAY_SECONDS
from server.timestamps import iso_utc
from tests.support.key_server import KeyServer
from tests.support.running import SECRET

NOW = 1_800_000_000.0


def authority(**options: Any) -> TokenAuthority:
    return TokenAuthority({"HS256": SecretKey(SECRET)}, now=lambda: NOW, **options)


def encode(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode({"exp": NOW + 60, "sub": "alice"} | claims, secret, algorithm=algorithm)


async def test_the_claims_of_a_keycloak_token() -> None:
    identity = await authority().identify(
        encode(
            {
                "sub": "997726f9",
                "preferred_username": "user@example.com",
                "name": "홍길동",
                "email": "user@example.com",
                "currentCompanyId": "ae06161e",
                "realm_access": {"roles": ["platform_admin", "default-roles"]},
                "roles": ["operator", 5],
                "aud": ["platform_api", "account"],
            }
        )
    )
    assert identity.user_id == "997726f9"
    assert identity.tenant == "ae06161e"
    assert identity.roles == {"platform_admin", "default-roles", "operator"}
    assert (identity.username, identity.name) == ("user@example.com", "홍길동")
    assert identity.expires_at == NOW + 60
    assert not identity.anonymous


@pytest.mark.parametrize("token", [None, ""])
async def test_no_token(token: str | None) -> None:
    with pytest.raises(TokenMissing):
        await authority().identify(token)


async def test_a_token_for_ever_expires_on_the_last_date_that_can_be_written() -> None:
    identity = await authority().identify(encode({"exp": 2**53 - 1}))
    assert identity.expires_at is not None
    assert iso_utc(datetime.fromtimestamp(identity.expires_at, UTC)) == "9999-12-31T23:59:59.000Z"


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"exp": NOW - TOKEN_LEEWAY_SECONDS - 1}, TokenExpired),
        ({"exp": NOW - TOKEN_LEEWAY_SECONDS + 1}, None),
        ({"exp": None}, TokenInvalid),
        ({"exp": "soon"}, TokenInvalid),
        ({"exp": True}, TokenInvalid),
        ({"exp": 10**400}, TokenInvalid),
        ({"exp": float("nan")}, TokenInvalid),
        ({"nbf": NOW + TOKEN_LEEWAY_SECONDS + 1}, TokenInvalid),
        ({"nbf": NOW + TOKEN_LEEWAY_SECONDS - 1}, None),
        ({"sub": ""}, TokenInvalid),
        ({"sub": None}, TokenInvalid),
        ({"sub": 5}, TokenInvalid),
        ({"sub": "a\nb"}, TokenInvalid),
        ({"sub": "x" * 101}, TokenInvalid),
        ({"currentCompanyId": {"id": 1}}, TokenInvalid),
        ({"realm_access": "admin", "roles": "admin"}, None),
    ],
)
async def test_claims_at_their_limits(claims: dict[str, Any], error: type[AtriumError] | None) -> None:
    if error is None:
        assert (await authority().identify(encode(claims))).roles == frozenset()
    else:
        with pytest.raises(error):
            await authority().identify(encode(claims))


async def test_issuer_and_audience_are_checked_when_configured() -> None:
    strict = authority(issuer="https://sso.example", audience=["atrium"])
    good = {"iss": "https://sso.example", "aud": ["account", "atrium"]}
    assert (await strict.identify(encode(good))).user_id == "alice"
    for wrong in ({"iss": "https://evil.example"}, {"aud": "account"}, {"aud": None}, {"iss": None}):
        with pytest.raises(TokenInvalid):
            await strict.identify(encode({key: value for key, value in (good | wrong).items() if value is not None}))


@pytest.mark.parametrize(
    "token",
    [
        "garbage",
        "a.b.c",
        encode({}, secret="another secret that is long enough"),
        encode({}, algorithm="HS512", secret="x" * 64),
        encode({}) + "x",
        encode({})[:-2],
        jwt.encode({"sub": "alice", "exp": NOW + 60}, None, algorithm="none"),
        "x" * (MAX_TOKEN_CHARS + 1),
        "토큰",
        "\udcff.a.b",
    ],
)
async def test_forged_and_broken_tokens(token: str) -> None:
    with pytest.raises(TokenInvalid):
        await authority().identify(token)


async def test_the_public_key_is_no_secret() -> None:
    """Algorithm confusion: a token signed by HMAC with the RSA public key as the secret."""
    issuer = KeyServer()
    issuer.add_rsa("one")
    await issuer.start()
    keys = JwksKeys(issuer.url, ["RS256"])
    verifier = TokenAuthority({"RS256": keys})
    assert (await verifier.identify(issuer.sign("one"))).user_id == "alice"
    [document] = issuer.documents()
    claims = {"sub": "alice", "exp": int(time.time()) + 60}
    for secret in (json.dumps(document), document["n"]):
        with pytest.raises(TokenInvalid):
            await verifier.identify(signed_by_hand(claims, secret))
    other = KeyServer()
    other.add_rsa("one")
    with pytest.raises(TokenInvalid):
        await verifier.identify(other.sign("one"))
    with pytest.raises(TokenInvalid):
        await verifier.identify(jwt.encode(claims, issuer.private["one"], algorithm="RS256", headers={"kid": "../x"}))
    await keys.close()
    await issuer.stop()


def signed_by_hand(claims: dict[str, Any], secret: str) -> str:
    """PyJWT refuses to sign with what looks like a public key; an attacker does not."""
    parts = [base64url_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "one"}, claims)]
    body = b".".join(parts)
    return (body + b"." + base64url_encode(hmac.digest(secret.encode(), body, "sha256"))).decode()


async def test_what_is_minted_is_accepted() -> None:
    token = mint(
        SECRET, "bob", roles=["admin"], tenant="acme", lifetime=120, now=lambda: NOW, issuer="i", audience=["a"]
    )
    identity = await authority(issuer="i", audience=["a"]).identify(token)
    assert (identity.user_id, identity.tenant, identity.roles) == ("bob", "acme", {"admin"})
    assert identity.expires_at == NOW + 120
