from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from server.errors import NodeSilent
from server.identity import Identity
from server.realtime.connection import Connection
from server.realtime.insight import views
from server.realtime.insight.census import Census
from server.realtime.insight.gathering import Gathering
from server.realtime.insight.views import SORTS, Sight
from server.realtime.others import Body, NoOthers
from server.realtime.rooms import room_name
from tests.support import echo
from tests.support.client import Client
from tests.support.running import token

pytestmark = pytest.mark.undeclared("its namespace is one of tests")
ALL, ACME = Sight(everywhere=True, tenant=None), Sight(everywhere=False, tenant="acme")
RIVAL = Sight(everywhere=False, tenant="rival")
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
        assert await census.connection(RIVAL, bob.id) is None
        for sight, name, tenants, closed in (
            (ACME, "zoe", None, 0),
            (ALL, "bob", [None], 0),
            (ALL, "zoe", ["acme"], 0),
            (ALL, "zoe", [None], 1),
            (ALL, "bob", None, 1),
        ):
            found = await census.close_user(sight, name, "", tenants=tenants)
            assert [each["closed"] for each in found.answers] == [closed], (name, tenants)
        [amy] = [each for each in namespace.connections if each.user_id == "amy"]
        for sight, closed in ((RIVAL, 0), (ALL, 1), (ALL, 0)):
            found = await census.close(sight, amy.id, "")
            assert [each["closed"] for each in found.answers] == [closed]
        for client in clients:
            await client.close()


MANY = 10_000
_T = TypeVar("_T")


class Outbox:
    def __init__(self, size: int) -> None:
        self.waiting_bytes = self.peak_bytes = self.peak_messages = size

    def __len__(self) -> int:
        return self.waiting_bytes


class Manager:
    """So many connections, each in a room of its own. Their sizes go up and down."""

    def __init__(self) -> None:
        self._members = [self._member(number) for number in range(MANY)]

    @staticmethod
    def _member(number: int) -> SimpleNamespace:
        size = number * 7919 % MANY
        tenant = "acme" if number % 2 else None
        return SimpleNamespace(
            connected=True,
            connection=Connection(f"c{number}", "/x", Identity(f"u{size}", tenant=tenant), "::1", connected_at=number),
            link=SimpleNamespace(door="", behind=False, session=SimpleNamespace(transport="websocket")),
            outbox=Outbox(size),
            record=SimpleNamespace(dropped=size, conflated=0),
            recoverable=None,
            resumed=False,
        )

    def members(self, namespace: str, room: None) -> list[SimpleNamespace]:
        return self._members

    def rooms(self) -> Iterator[tuple[str, str, int]]:
        return (("/x", room_name("acme" if n % 2 else None, "session", f"{n:05}"), n % 9) for n in range(MANY))


@pytest.fixture
def crowd() -> Census:
    server: Any = SimpleNamespace(node=None, served=[SimpleNamespace(path="/x")], manager=Manager())
    return Census(server, Gathering(NoOthers()))


async def turns(asked: Awaitable[_T]) -> tuple[_T, int]:
    """Its answer, and how often others had the loop meanwhile."""
    task, count = asyncio.ensure_future(asked), 0
    while not task.done():
        await asyncio.sleep(0)
        count += 1
    return await task, count


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", SORTS)
async def test_of_many_only_those_are_looked_at_closely_that_are_shown(
    crowd: Census, monkeypatch: pytest.MonkeyPatch, by: str, descending: bool
) -> None:
    looked: list[Any] = []
    look = views.of_connection

    def counted(*what: Any) -> dict[str, Any]:
        looked.append(what)
        return look(*what)

    monkeypatch.setattr(views, "of_connection", counted)
    asked = crowd.connections(ALL, ANY, by=by, descending=descending, offset=10, limit=40)
    found, count = await turns(asked)
    assert (len(looked), len(found["connections"]), found["total"]) == (50, 40, MANY)
    assert count >= MANY // 500
    everything = await crowd.connections(ALL, ANY, by=by, descending=descending, offset=0, limit=MANY)
    assert found["connections"] == everything["connections"][10:50]
    if by != "user_id":
        places = range(MANY)[::-1] if descending else range(MANY)
        sizes = [int(each["user_id"][1:]) for each in everything["connections"]]
        at = [each["connected_at"] for each in everything["connections"]]
        assert (at if by == "connected_at" else sizes) == list(places)


@pytest.mark.parametrize("sight", [ALL, ACME])
async def test_many_rooms_leave_others_the_loop(crowd: Census, sight: Sight) -> None:
    wanted = {"namespace": None, "kind": "session", "q": "0", "room": None}
    found, count = await turns(crowd.rooms(sight, wanted, by="members", descending=True, limit=50))
    assert count >= MANY // 500
    assert [each["members"] for each in found["rooms"]] == [8] * 50
    names = [each["name"] for each in found["rooms"]]
    assert names == sorted(names)
    last = (await crowd.rooms(sight, wanted, descending=True, limit=1))["rooms"][0]
    assert last["name"] == "09999"


class Silent(NoOthers):
    async def ask_each(self, verb: str, body: Body) -> Mapping[str, Body | None]:
        return {"n2": None}


async def test_what_a_silent_node_may_have_is_not_said_to_be_nowhere() -> None:
    async with echo.serving() as (_, namespace):
        census = Census(namespace.server, Gathering(Silent()))
        with pytest.raises(NodeSilent) as told:
            await census.connection(ALL, "nobody")
        assert told.value.details == {"silent": ["n2"]}
