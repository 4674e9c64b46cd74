"""Who may do what on channels: everybody, by every event and every route, in one table (SPEC §5).

A new event or route without its row fails. Whoever is refused is heard by nobody, and is told the same of what there is
as of what there is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.conftest import Connect, Serve
from tests.support import running
from tests.support.client import Client
from tests.support.rest import Reply, Rest
from tests.support.running import Running


@dataclass(frozen=True)
class Caller:
    name: str
    sub: str | None
    roles: tuple[str, ...] = ()
    tenant: str | None = "acme"

    @property
    def token(self) -> str | None:
        return None if self.sub is None else running.token(self.sub, roles=self.roles, tenant=self.tenant)


EVERYTHING = ("publisher", "admin", "operator", "group:desk")
CALLERS = (
    Caller("user", "alice"),
    Caller("another user", "bob"),
    Caller("member", "mia", ("group:desk",)),
    Caller("publisher", "feed", ("publisher",)),
    Caller("admin", "ada", ("admin",)),
    # All that could open a channel but its tenant.
    Caller("other tenant", "alice", EVERYTHING, "rival"),
    Caller("no tenant", "alice", EVERYTHING, None),
    Caller("anonymous", None, (), None),
)
SIGNS = {"FORBIDDEN": "F", "NOT_FOUND": "N", "TOKEN_MISSING": "T", "UNKNOWN_REQUEST": "U"}
CHANNELS = ("general", "chat:1", "stock_updates", "ticks:A", "alerts", "user:alice", "group:desk")


@dataclass(frozen=True)
class Row:
    """`expected`: a sign for each of CALLERS.

    `+` done · `-` done, but acme, or of acme, is nothing heard or shown · `F`, `N`, `T` refused, as in SIGNS.
    """

    name: str
    expected: str
    sends: Mapping[str, Any] | None = None
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.name} {self.note}".strip()


def to(channel: str, expected: str, event: str, **fields: object) -> Row:
    return Row(event, expected, {"channel": channel, **fields}, channel)


#   user, another, member, publisher, admin · other tenant, no tenant, anonymous
SUBSCRIBE = {
    "general": "+++++" "---",
    "chat:1": "+++++" "---",
    "stock_updates": "+++++" "---",
    "ticks:A": "+++++" "---",
    "ticks:*": "+++++" "---",
    "alerts": "+++++" "---",
    "user:alice": "+FFFF" "--F",
    "group:desk": "FF+FF" "--F",
    "nowhere": "FFFFF" "FFF",
}  # fmt: skip
#: What is said outside any tenant is for all, where the class is shared.
PUBLISH = {
    "general": "FFF+F" "--F",
    "chat:1": "FFF+F" "--F",
    "stock_updates": "FFF+F" "-+F",
    "ticks:A": "FFF+F" "-+F",
    "alerts": "FFF+F" "-+F",
    "user:alice": "FFF+F" "--F",
    "group:desk": "FF++F" "--F",
    "nowhere": "FFFFF" "FFF",
}  # fmt: skip
CHAT = {name: "+++++---" if name in ("general", "chat:1") else "FFFFFFFF" for name in PUBLISH}
SEE = {
    **{name: "+++++---" for name in SUBSCRIBE if name != "ticks:*"},
    "user:alice": "+FF++" "--F",
    "group:desk": "FF+++" "--F",
    "nowhere": "FFFFF" "FFF",
}  # fmt: skip

EVENTS = [
    Row("ping", "+" * 8),
    Row("answer", "U" * 8, {"requestId": "made up", "answer": {}}),
    Row("authenticate", "+++++" "++ "),
    *(to(name, signs, "subscribe") for name, signs in SUBSCRIBE.items()),
    *(to(name, signs, "publish", data="said") for name, signs in PUBLISH.items()),
    *(to(name, signs, "chat_message", message="said") for name, signs in CHAT.items()),
    *(to(name, signs, "channel_info") for name, signs in SEE.items()),
    to("general", "+++++" "+++", "unsubscribe"),
    to("user:alice", "+++++" "+++", "unsubscribe"),  # tells nobody anything
    to("general", "FFFFF" "FFF", "presence"),  # without having subscribed
    to("alerts", "FFFFF" "FFF", "presence"),
    Row("stats", "FFFF+" "-+F"),
    Row("client_info", "FFFF+" "N+F"),
]  # fmt: skip

CHANNEL = "/api/channels/{channel}"
GROUP = "/api/groups/{name}"
MEMBER = GROUP + "/members/{user_id}"


def posted(channel: str, expected: str) -> list[Row]:
    """By itself, and in a batch."""
    rows = [
        Row(f"POST {CHANNEL}/messages", expected, {"json": body, "channel": channel}, f"{channel} {number}")
        for number, body in enumerate(({"data": "said"}, {"messages": [{"data": "said"}]}))
    ]
    if channel == "user:alice":
        rows.append(Row("POST /api/users/{user_id}/messages", expected, {"json": {"data": "said"}, "user_id": "alice"}))
    return rows


#: By HTTP nobody is anonymous.
ROUTES = [
    *itertools.chain.from_iterable(posted(name, signs) for name, signs in PUBLISH.items()),
    *(Row(f"GET {CHANNEL}", signs, {"channel": name}, name) for name, signs in SEE.items()),
    Row("GET /api/channels", "+++++" "---"),
    Row("GET /api/trading/stats", "FFFF+" "-+F"),
    Row("GET /api/trading/clients/{client_id}", "FFFF+" "N+F"),
    Row(f"GET {GROUP}", "FFFF+" "--F"),
    Row(f"PUT {MEMBER}", "FFFF+" "--F", {"user_id": "wanda"}),
    Row(f"DELETE {MEMBER}", "FFFF+" "--F", {"user_id": "wanda"}, "who is one in each tenant now"),
    Row(f"DELETE {MEMBER}", "FFFFN" "NNF", {"user_id": "mia"}, "by a token's role alone"),
]  # fmt: skip


class Floor:
    """A server, and in acme a witness of all that is said on CHANNELS."""

    def __init__(self, server: Running, witness: Client) -> None:
        self.server = server
        self.witness = witness
        self.sid: str = witness.sio.get_sid("/trading")
        self.feed = Rest(server.url, "feed", roles=("publisher",), tenant="acme")
        self.admin = Rest(server.url, "ada", roles=("admin",), tenant="acme")

    async def heard(self) -> list[Any]:
        await self.witness.settle()
        heard = [payload for event, payload in self.witness.received if event in ("message", "chat_message")]
        self.witness.received.clear()
        return heard

    async def members(self) -> list[str]:
        members: list[Any] = (await self.admin.get("/api/groups/desk")).body["members"]
        return [each["user_id"] for each in members]


@pytest.fixture
async def floor(serve: Serve, connect: Connect) -> Floor:
    server = await serve(TRADING_FEED="none", WS_REQUIRE_AUTH="false")
    witness = await connect(server, "/trading", "alice", roles=("group:desk",), tenant="acme")
    for channel in CHANNELS:
        assert (await witness.call("subscribe", {"channel": channel}))["ok"]
    return Floor(server, witness)


def refusal(error: Mapping[str, Any] | None) -> str | None:
    return None if error is None else SIGNS.get(error["code"], f"[{error['code']}]")


async def by_event(floor: Floor, row: Row, caller: Caller, client: Client) -> str:
    sends = dict(row.sends or {})
    if row.name == "authenticate":
        if caller.token is None:
            return " "
        sends = {"token": caller.token}
    if row.name == "client_info":
        sends = {"client_id": floor.sid}
    ack = await client.call(row.name, sends)
    if row.name == "subscribe":
        return await _subscribed(floor, sends["channel"], client, ack)
    heard = await floor.heard()
    if (refused := refusal(ack.get("error"))) is not None:
        return refused + ("[heard]" if heard else "")
    if row.name in ("publish", "chat_message"):
        return "+" if heard else "-"
    if row.name == "channel_info":
        return "+" if ack["subscriber_count"] else "-"
    if row.name == "stats":
        return "+" if ack["active_connections"] >= 6 else "-"
    return "+"


async def _subscribed(floor: Floor, channel: str, client: Client, ack: Mapping[str, Any]) -> str:
    """Whether it hears what is said in acme, as whoever was refused must not."""
    await client.settle()
    client.received.clear()
    said = await floor.feed.post(f"/api/channels/{channel.replace('*', 'A')}/messages", {"data": "a secret"})
    assert said.status == (403 if channel == "nowhere" else 201)
    await client.settle()
    heard = client.payloads("message")
    await client.call("unsubscribe", {"channel": channel})
    await floor.heard()
    refused = refusal(ack.get("error"))
    assert refused is None or "snapshot" not in ack
    is_own = channel == "user:alice" and not heard
    return (refused or ("+" if heard else "-")) + ("[heard]" if refused and heard and not is_own else "")


async def by_route(floor: Floor, row: Row, caller: Caller, http: aiohttp.ClientSession) -> str:
    sends = {"name": "desk", "client_id": floor.sid, **(row.sends or {})}
    method, _, path = row.name.partition(" ")
    headers = {} if caller.token is None else {"Authorization": f"Bearer {caller.token}"}
    url = floor.server.url + path.format(**sends)
    before = await floor.members() if path == MEMBER else []
    async with http.request(method, url, headers=headers, json=sends.get("json")) as response:
        reply = Reply(response.status, await response.json(), {})
    heard, members = await floor.heard(), await floor.members() if path == MEMBER else []
    if (refused := refusal(reply.body.get("error"))) is not None:
        return refused + ("[heard]" if heard or members != before else "")
    if method == "POST":
        assert [each["status"] for each in reply.body.get("results", [])] == (
            [201] if "messages" in sends["json"] else []
        )
        return "+" if heard else "-"
    if method in ("PUT", "DELETE"):
        return "+" if members != before else "-"
    if path == GROUP:
        return "+" if reply.body["count"] else "-"
    if path == "/api/channels":
        return "+" if any(each["subscriber_count"] for each in reply.body["channels"]) else "-"
    if path == CHANNEL:
        return "+" if reply.body["subscriber_count"] else "-"
    if "active_connections" in reply.body:
        return "+" if reply.body["active_connections"] > 0 else "-"
    return "+"


async def test_events(floor: Floor, connect: Connect) -> None:
    events = floor.server.realtime._served["/trading"]._events
    assert {row.name for row in EVENTS} == set(events)
    clients = [
        await connect(floor.server, "/trading", each.sub, roles=each.roles, tenant=each.tenant) for each in CALLERS
    ]
    found = {
        row.key: "".join([await by_event(floor, row, *each) for each in zip(CALLERS, clients, strict=True)])
        for row in EVENTS
    }
    assert found == {row.key: row.expected for row in EVENTS}


async def test_routes(floor: Floor) -> None:
    shown = {row.name for row in ROUTES}
    ours = ("/api/channels", "/api/groups", "/api/trading", "/api/users")
    for route in floor.server.app.router.routes():
        name = None if route.resource is None else route.resource.canonical
        if name is not None and name.startswith(ours) and route.method != "HEAD":
            assert f"{route.method} {name}" in shown
    assert (await floor.admin.call("PUT", "/api/groups/desk/members/walt")).status == 200
    async with aiohttp.ClientSession() as http:
        found = {row.key: "".join([await by_route(floor, row, caller, http) for caller in CALLERS]) for row in ROUTES}
    assert found == {row.key: row.expected[:-1] + "T" for row in ROUTES}


async def test_without_a_good_token_nothing_is_told(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none")
    tokens = {"TOKEN_MISSING": None, "TOKEN_EXPIRED": running.token("ada", roles=("admin",), lifetime=-60)}
    tokens["TOKEN_INVALID"] = running.token("ada", roles=("admin",))[:-2] + "xx"
    async with aiohttp.ClientSession() as http:
        for (code, token), row in itertools.product(tokens.items(), ROUTES):
            method, _, path = row.name.partition(" ")
            url = server.url + path.format(**{"name": "desk", "client_id": "x", **(row.sends or {})})
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            async with http.request(method, url, headers=headers, json=(row.sends or {}).get("json")) as response:
                error = (await response.json())["error"]
            assert (response.status, set(error), error["code"]) == (401, {"code", "message"}, code), row.key
