"""What channels look like is in `test_broker.py`; here, whose names are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from server.identity import Identity
from server.namespaces.trading.catalogue import load
from tests.conftest import Connect, Serve
from tests.support.client import Client
from tests.support.managers import node_of, until_up
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running

CATALOGUE = load(Path("config/channels.toml"))


@pytest_asyncio.fixture(params=["memory", "redis"])
async def server(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Running]:
    if request.param == "memory":
        yield await serve(TRADING_FEED="none")
        return
    async with RedisServer() as redis:
        found = await serve(TRADING_FEED="none", REDIS_URL=redis.url)
        await until_up(node_of(found))
        yield found


async def test_nobody_learns_the_names_of_other_peoples_channels_by_paging(server: Running, connect: Connect) -> None:
    publisher: Client = await connect(server, "/trading", "feed", roles=("publisher",))
    for name in ("alerts", "group:merger", "user:alice", "user:bob-secret", "ticks:A", "group:mine"):
        assert (await publisher.call("publish", {"channel": name, "data": 1}))["ok"]
    for roles, expected in (
        (("group:mine",), ["alerts", "group:mine", "ticks:A", "user:alice"]),
        (("admin",), ["alerts", "group:merger", "group:mine", "ticks:A", "user:alice", "user:bob-secret"]),
    ):
        rest, found, after = Rest(server.url, "alice", roles=roles), list[str](), ""
        while True:
            query = "?limit=1" + (f"&after={after}" if after else "")
            page = (await rest.call("GET", f"/api/channels{query}")).body
            found += [each["channel"] for each in page["channels"]]
            if (after := page["next"]) is None:
                break
            assert after == found[-1]
        assert found == expected


def test_what_is_visible_is_so_by_the_first_class_that_fits() -> None:
    alice = CATALOGUE.visible(Identity("alice", roles=frozenset({"group:a", "ticks:x", "nonsense"})))
    for name in ("alerts", "ticks:A", "chat:1", "user:alice", "group:a"):
        assert name in alice
    for name in ("user:bob", "group:b", "nonsense", "", "ticks:", "alertsx", 5):
        assert name not in alice
    assert "user:bob" in CATALOGUE.visible(Identity("feed", roles=frozenset({"publisher"})))
