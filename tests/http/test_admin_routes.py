"""Every route of administrators: who may use it, in one table. A new route without its row fails (SPEC §9)."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.conftest import Serve
from tests.support import running

#: Whether an admin of a tenant may: what is of the whole process is not theirs.
ROUTES: dict[str, tuple[bool, Any]] = {
    "GET /api/admin/connections": (True, None),
    "GET /api/admin/connections/{connection_id}": (True, None),
    "GET /api/admin/connections/{connection_id}/missed": (True, None),
    "POST /api/admin/connections/{connection_id}/disconnect": (True, {}),
    "POST /api/admin/users/{user_id}/disconnect": (True, {}),
    "GET /api/admin/rooms": (True, None),
    "POST /api/admin/broadcast": (True, {"namespace": "/chat", "event": "said"}),
    "GET /api/admin/nodes": (False, None),
    "GET /api/admin/figures": (False, None),
    "GET /api/admin/alerts": (False, None),
}
QUERIES = {"GET /api/admin/connections/{connection_id}/missed": {"room": "r", "seq": "1"}}
EVERYTHING_ELSE = ("operator", "publisher", "group:desk", "Admin", "administrator")


async def test_who_may_do_what(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="", WS_REQUIRE_AUTH="false")
    shown = {
        f"{route.method} {route.resource.canonical}"
        for route in server.app.router.routes()
        if route.resource is not None
        and route.resource.canonical.startswith("/api/admin")
        and route.method not in ("HEAD", "OPTIONS")
    }
    assert shown == set(ROUTES)
    callers = {
        "nobody": None,
        "user": running.token("alice", roles=EVERYTHING_ELSE),
        "admin": running.token("root", roles=("admin",)),
        "admin of a tenant": running.token("root", roles=("admin",), tenant="acme"),
        "expired": running.token("root", roles=("admin",), lifetime=-3600),
    }
    found: dict[str, dict[str, int]] = {}
    async with aiohttp.ClientSession() as http:
        for name, (_, body) in ROUTES.items():
            method, _, path = name.partition(" ")
            url = server.url + path.format(connection_id="nobody", user_id="nobody")
            for caller, token in callers.items():
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                async with http.request(method, url, headers=headers, json=body, params=QUERIES.get(name)) as response:
                    found.setdefault(name, {})[caller] = response.status
    for name, (of_tenant, _) in ROUTES.items():
        allowed = 404 if "{connection_id}" in name else 200
        assert found[name] == {
            "nobody": 401,
            "user": 403,
            "admin": allowed,
            "admin of a tenant": allowed if of_tenant else 403,
            "expired": 401,
        }, name


@pytest.mark.parametrize("name", [name for name in ROUTES if name.startswith("POST")])
async def test_broken_bodies(serve: Serve, name: str) -> None:
    server = await serve(TRADING_FEED="none", CHAT_DEFAULT_AGENT="")
    url = server.url + name.removeprefix("POST ").format(connection_id="nobody", user_id="nobody")
    headers = {"Authorization": f"Bearer {running.token('root', roles=('admin',))}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession() as http:
        for body in (b"[]", b"{", b'{"other": 1}', b'{"reason": 5}', b"\xff"):
            async with http.post(url, headers=headers, data=body) as response:
                assert response.status == 422, body
