from __future__ import annotations

import pytest

from server.realtime.insight.census import Census
from server.realtime.insight.gathering import Gathering
from server.realtime.insight.views import SORTS, Sight
from server.realtime.others import NoOthers
from server.realtime.rooms import room_name
from tests.support import echo
from tests.support.client import Client
from tests.support.running import token

pytestmark = pytest.mark.undeclared("its namespace is one of tests")
ALL, ACME = Sight(everywhere=True, tenant=None), Sight(everywhere=False, tenant="acme")
NAMES = ("namespace", "user_id", "tenant", "node", "room", "address", "transport", "door", "q")
ANY: dict[str, object] = {**dict.fromkeys(NAMES), "slow": False}


async def test_who_is_here_in_which_order_and_who_is_seen() -> None:
    async with echo.serving() as (running, namespace):
        census = Census(namespace.server, Gathering(NoOthers()))
        clients = [Client("/echo") for _ in range(3)]
        for client, name, tenant in zip(clients, ("zoe", "bob", "amy"), (None, "acme", "acme"), strict=True):
            await client.connect(running.url, token(name, tenant=tenant))
        room = room_name("acme", "session", "s1")
        [bob] = [each for each in namespace.connections if each.user_id == "bob"]
        await namespace.enter(bob, room)

        async def users(sight: Sight, by: str, **wanted: object) -> list[str]:
            options = {"descending": False, "offset": 0, "limit": 10} | {
                name: wanted.pop(name) for name in ("descending", "offset", "limit") if name in wanted
            }
            found = await census.connections(sight, {**ANY, **wanted}, by=by, **options)  # type: ignore[arg-type]
            return [each["user_id"] for each in found["connections"]]

        for by in SORTS:
            assert sorted(await users(ALL, by)) == ["amy", "bob", "zoe"]
        assert await users(ALL, "connected_at") == ["zoe", "bob", "amy"]
        assert await users(ALL, "connected_at", descending=True, limit=2) == ["amy", "bob"]
        assert await users(ALL, "user_id", offset=1) == ["bob", "zoe"]
        assert await users(ACME, "user_id") == ["amy", "bob"]
        assert await users(ACME, "user_id", room=room) == ["bob"]
        assert await users(ACME, "user_id", tenant="rival") == []
        assert len((await census.ids(ACME, "/echo"))[0]) == 2
        [seen] = (await census.rooms(ACME, {"namespace": None, "kind": "session", "q": None, "room": None}))["rooms"]
        assert (seen["room"], seen["name"], seen["members"]) == (room, "s1", 1)
        assert await census.connection(Sight(everywhere=False, tenant="rival"), bob.id) is None
        closed = await census.close(ACME, {"user_id": "zoe"}, "")
        assert [each["closed"] for each in closed.answers] == [0]
        closed = await census.close(ALL, {"user_id": "bob"}, "")
        assert [each["closed"] for each in closed.answers] == [1]
        for client in clients:
            await client.close()
