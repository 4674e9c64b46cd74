from __future__ import annotations

from typing import Any

import pytest

from server.errors import ServerFull, TokenInvalid, TokenMissing
from server.identity import Identity
from server.realtime.admission import CONNECT_RATE, Admission
from server.realtime.limits import Rate, RateLimits


class Tokens:
    async def identify(self, token: str | None) -> Identity:
        if not token:
            raise TokenMissing
        if token == "bad":
            raise TokenInvalid
        return Identity(token)


def admission(*, max_connections: int = 2, exempt_loopback: bool = False) -> Admission:
    limits = RateLimits({CONNECT_RATE: Rate(2, 60)})
    return Admission(Tokens(), limits, max_connections=max_connections, exempt_loopback=exempt_loopback)


@pytest.mark.parametrize(
    ("auth", "header", "query", "user"),
    [
        ({"token": "auth"}, "Bearer header", "query", "auth"),
        ({}, "Bearer header", "query", "header"),
        (None, "bearer  header", "query", "header"),
        ({"token": ""}, None, "query", "query"),
        (None, "Basic abc", "query", "query"),
        (None, None, "query", "query"),
    ],
)
async def test_token_places_in_their_order(auth: Any, header: str | None, query: str | None, user: str) -> None:
    assert (await admission().identify(auth, header, query, required=True)).user_id == user


async def test_a_bad_token_in_the_first_place_is_not_made_good_by_the_next() -> None:
    with pytest.raises(TokenInvalid):
        await admission().identify({"token": "bad"}, "Bearer header", "query", required=True)


async def test_without_a_token() -> None:
    with pytest.raises(TokenMissing):
        await admission().identify({}, None, None, required=True)
    assert (await admission().identify({}, None, None, required=False)).anonymous
    with pytest.raises(TokenInvalid):
        await admission().identify({"token": "bad"}, None, None, required=False)


@pytest.mark.parametrize("token", [5, ["x"], {"a": 1}, True])
async def test_a_token_is_text(token: object) -> None:
    with pytest.raises(TokenInvalid):
        await admission().identify({"token": token}, None, None, required=True)


def test_a_transport_fills_one_place_whatever_it_multiplexes() -> None:
    gate = admission()
    for _ in range(4):
        gate.enter("one")
    gate.enter("two")
    with pytest.raises(ServerFull):
        gate.enter("three")
    gate.enter("two")
    for _ in range(4):
        assert gate.holds("one")
        gate.leave("one")
    assert not gate.holds("one")
    gate.enter("three")


async def test_connects_are_counted_by_address() -> None:
    gate = admission()
    assert [await gate.arrive("10.0.0.1"), await gate.arrive("10.0.0.1")] == [None, None]
    refusal = await gate.arrive("10.0.0.1")
    assert refusal is not None
    assert refusal.to_refusal()["code"] == "RATE_LIMITED"
    assert refusal.reconnect
    assert await gate.arrive("10.0.0.2") is None


@pytest.mark.parametrize(("address", "exempt"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("", False)])
async def test_loopback_may_be_exempt(address: str, exempt: bool) -> None:
    gate = admission(exempt_loopback=True)
    refusals = [await gate.arrive(address) for _ in range(5)]
    assert (refusals[-1] is None) == exempt
