from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.auth.keys import COOLDOWN_SECONDS, EMPTY_COOLDOWN_SECONDS, MAX_AGE_SECONDS, MAX_BODY_BYTES, JwksKeys
from server.errors import TokenInvalid
from tests.support.key_server import KeyServer


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.add_rsa("one")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def keys(issuer: KeyServer, clock: Clock) -> AsyncIterator[JwksKeys]:
    keys = JwksKeys(issuer.url, ["RS256", "ES256"], clock=clock, fetch_timeout=2)
    yield keys
    await keys.close()


async def test_fetches_once_and_then_remembers(issuer: KeyServer, keys: JwksKeys) -> None:
    assert await keys.key_for("RS256", "one") is await keys.key_for("RS256", "one")
    assert issuer.fetches == 1


async def test_a_rotated_key_is_fetched_at_its_first_use(issuer: KeyServer, keys: JwksKeys, clock: Clock) -> None:
    await keys.key_for("RS256", "one")
    issuer.rotate("one", "two")
    clock.now += COOLDOWN_SECONDS + 1
    await keys.key_for("RS256", "two")
    with pytest.raises(TokenInvalid):
        await keys.key_for("RS256", "one")


async def test_unknown_ids_fetch_at_most_once_a_minute(issuer: KeyServer, keys: JwksKeys, clock: Clock) -> None:
    await keys.key_for("RS256", "one")
    for second in range(COOLDOWN_SECONDS):
        clock.now = 1000 + second
        with pytest.raises(TokenInvalid):
            await keys.key_for("RS256", f"forged-{second}")
    assert issuer.fetches == 1
    clock.now = 1000 + COOLDOWN_SECONDS + 1
    with pytest.raises(TokenInvalid):
        await keys.key_for("RS256", "forged")
    assert issuer.fetches == 2


async def test_a_slow_issuer_is_asked_once_by_all_who_wait(issuer: KeyServer, keys: JwksKeys) -> None:
    issuer.gate.clear()
    waiting = [asyncio.create_task(keys.key_for("RS256", "one")) for _ in range(50)]
    await issuer.arrived.wait()
    assert not any(task.done() for task in waiting)
    issuer.gate.set()
    assert len({id(key) for key in await asyncio.gather(*waiting)}) == 1
    assert issuer.fetches == 1


async def test_one_who_gives_up_does_not_stop_the_fetch_of_the_others(issuer: KeyServer, keys: JwksKeys) -> None:
    issuer.gate.clear()
    first = asyncio.create_task(keys.key_for("RS256", "one"))
    second = asyncio.create_task(keys.key_for("RS256", "one"))
    await issuer.arrived.wait()
    first.cancel()
    issuer.gate.set()
    await second


async def test_an_issuer_slower_than_the_timeout_is_given_up(issuer: KeyServer, clock: Clock) -> None:
    issuer.gate.clear()
    keys = JwksKeys(issuer.url, ["RS256"], clock=clock, fetch_timeout=0.05)
    with pytest.raises(TokenInvalid):
        await keys.key_for("RS256", "one")
    await keys.close()


async def test_old_keys_are_used_while_fresh_ones_are_on_the_way(
    issuer: KeyServer, keys: JwksKeys, clock: Clock
) -> None:
    await keys.key_for("RS256", "one")
    issuer.gate.clear()
    issuer.arrived.clear()
    clock.now += MAX_AGE_SECONDS + 1
    await keys.key_for("RS256", "one")  # does not wait for the slow issuer
    await issuer.arrived.wait()


async def test_a_dead_issuer_leaves_the_last_keys_in_use(issuer: KeyServer, keys: JwksKeys, clock: Clock) -> None:
    await keys.key_for("RS256", "one")
    await issuer.stop()
    clock.now += MAX_AGE_SECONDS + 1
    await keys.key_for("RS256", "one")


async def test_an_issuer_dead_at_first_is_tried_again_soon(issuer: KeyServer, keys: JwksKeys, clock: Clock) -> None:
    issuer.status = 500
    with pytest.raises(TokenInvalid):
        await keys.key_for("RS256", "one")
    issuer.status = 200
    clock.now += EMPTY_COOLDOWN_SECONDS + 1
    await keys.key_for("RS256", "one")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"keys": 5}', b'{"keys": [5, {"kid": "one"}]}', b" " * (MAX_BODY_BYTES + 1)],
)
async def test_what_is_no_key_set_leaves_no_key(issuer: KeyServer, keys: JwksKeys, body: bytes) -> None:
    issuer.body = body
    with pytest.raises(TokenInvalid):
        await keys.key_for("RS256", "one")


async def test_a_key_answers_only_for_its_own_kind_of_algorithm(
    issuer: KeyServer, keys: JwksKeys, clock: Clock
) -> None:
    issuer.add_ec("curve")
    await keys.key_for("ES256", "curve")
    for algorithm, kid in (("ES256", "one"), ("RS256", "curve"), ("HS256", "one"), ("RS512", "one")):
        with pytest.raises(TokenInvalid):
            await keys.key_for(algorithm, kid)


async def test_closing_ends_a_fetch_under_way(issuer: KeyServer, clock: Clock) -> None:
    issuer.gate.clear()
    keys = JwksKeys(issuer.url, ["RS256"], clock=clock)
    waiting = asyncio.create_task(keys.key_for("RS256", "one"))
    await issuer.arrived.wait()
    await keys.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
