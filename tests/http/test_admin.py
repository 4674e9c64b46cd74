from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from server.app import _authority  # the rules for tokens that a whole server has
from server.http import admin, middleware
from server.http.api import Api
from server.identity import Identity
from server.realtime.admission import Admission
from server.realtime.connection import Connection
from server.realtime.limits import RateLimits
from server.realtime.roster import Roster
from tests.support import running
from tests.support.rest import Rest

PATH = admin.CONNECTIONS
HERE = [
    Connection("c1", "/copilot", Identity("alice", tenant="acme"), "10.0.0.1", connected_at=1.0),
    Connection("c2", "/chat", Identity("alice", tenant="acme"), "10.0.0.1", connected_at=2.0),
    Connection("c3", "/copilot", Identity("bob"), "10.0.0.2", connected_at=3.5),
]

As = Callable[..., Rest]


@pytest_asyncio.fixture
async def user() -> AsyncIterator[As]:
    """`user("root", roles=("admin",))`."""
    limits = RateLimits({})
    admission = Admission(_authority(running.settings(), None), limits, max_connections=1)
    app = web.Application(middlewares=[middleware.errors])
    app.add_routes(admin.routes(Roster(lambda: HERE), Api(admission, limits, max_body=1000)))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield lambda *who, **what: Rest(f"http://127.0.0.1:{runner.addresses[0][1]}", *who, **what)
    await runner.cleanup()


def ids(body: Any) -> list[str]:
    return [each["connection_id"] for each in body["connections"]]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/c1", f"{PATH}/nobody"])
@pytest.mark.parametrize("roles", [(), ("operator", "publisher"), ("Admin",)])
async def test_only_administrators_see_who_is_connected(user: As, path: str, roles: tuple[str, ...]) -> None:
    assert (await user("alice", roles=roles, tenant="acme").get(path)).error == (403, "FORBIDDEN")


async def test_one_outside_any_tenant_sees_all_the_oldest_first(user: As) -> None:
    body = (await user("root", roles=("admin",)).get(PATH)).body
    assert (ids(body), body["total"]) == (["c1", "c2", "c3"], 3)
    assert body["connections"][2] == {
        "connection_id": "c3",
        "namespace": "/copilot",
        "user_id": "bob",
        "tenant": None,
        "address": "10.0.0.2",
        "connected_at": "1970-01-01T00:00:03.500Z",
        "node": "",
    }


async def test_one_of_a_tenant_sees_the_tenants_and_no_trace_of_others(user: As) -> None:
    acme, other = [user("root", roles=("admin",), tenant=tenant) for tenant in ("acme", "other")]
    assert ids((await acme.get(PATH)).body) == ["c1", "c2"]
    assert (await other.get(PATH)).body == {"connections": [], "total": 0}
    assert (await acme.get(f"{PATH}/c2")).body["user_id"] == "alice"
    for rest, hidden in ((acme, "c3"), (other, "c1"), (other, "nobody")):
        assert (await rest.get(f"{PATH}/{hidden}")).error == (404, "NOT_FOUND")


async def test_some_of_them_are_found_and_no_more_are_shown_than_wanted(user: As) -> None:
    root = user("root", roles=("admin",))
    assert ids((await root.get(PATH, namespace="/copilot")).body) == ["c1", "c3"]
    assert ids((await root.get(PATH, user_id="alice", namespace="/chat")).body) == ["c2"]
    body = (await root.get(PATH, limit=1)).body
    assert (ids(body), body["total"]) == (["c1"], 3)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"other": 1}, {"user_id": ""}])
async def test_malformed_queries(user: As, query: dict[str, Any]) -> None:
    assert (await user("root", roles=("admin",)).get(PATH, **query)).error == (422, "INVALID_MESSAGE")
