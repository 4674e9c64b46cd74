"""From the agent to a person and back, through real sockets: on SQLite with one node, on PostgreSQL with two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.identity import Identity
from server.namespaces.chat.agents.backend import HANDOVER, Verdict
from tests.conftest import Connect, Serve
from tests.support.chatting import FORBIDDEN, OPERATOR, chat, config, fence, invite, join, say, scripted, start
from tests.support.client import Client
from tests.support.managers import Reader, until
from tests.support.raw import raw_socket
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import Running, token

Nodes = tuple[Running, Running]
S1 = {"session_id": "s1"}
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # where the database has no part in it
ONLY_STAFF = {"code": "FORBIDDEN", "message": "Only operators may do this"}


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture
async def nodes(redis: RedisServer, database_url: str, serve: Serve, tmp_path: Path) -> Nodes:
    """Where alice is and the agent answers, and where the operators are."""
    path = await asyncio.to_thread(config, tmp_path / "config")
    clustered = None if database_url.startswith("sqlite") else redis
    return await start(serve, clustered, DATABASE_URL=database_url, CONFIG_DIR=path)


@pytest_asyncio.fixture
async def alice(nodes: Nodes, connect: Connect) -> Client:
    """Who owns s1, and has joined it."""
    alice = await connect(nodes[0], "/chat", "alice")
    await join(alice)
    return alice


@pytest_asyncio.fixture
async def olga(nodes: Nodes, alice: Client, connect: Connect) -> Client:
    return await connect(nodes[1], "/chat", "olga", roles=OPERATOR)


async def asked(nodes: Nodes, alice: Client) -> None:
    """The agent is in the middle of its answer."""
    await say(alice, "?")
    scripted(nodes[0]).say("so far")
    await alice.expect("stream_chunk")


async def answered(nodes: Nodes, alice: Client, *, seq: int, verdict: Verdict | None = None) -> None:
    await say(alice, "?")
    scripted(nodes[0]).say("an answer", *([] if verdict is None else [verdict]), None)
    assert (await alice.expect("stream_end"))["seq"] == seq


def systems(client: Client) -> list[tuple[str, str]]:
    return [(each["event"], each["user_id"]) for each in client.payloads("system")]


# -- asking for a person ----------------------------------------------------------------------------------------------


async def test_the_bot_that_does_not_know_calls_its_tenants_staff(
    database_url: str, serve: Serve, connect: Connect
) -> None:
    server = await serve(DATABASE_URL=database_url)
    alice = await connect(server, "/chat", "alice", tenant="acme")
    staff = [await connect(server, "/chat", role, roles=(role,), tenant="acme") for role in ("operator", "admin")]
    others = [
        await connect(server, "/chat", "olga", roles=OPERATOR, tenant="other"),
        await connect(server, "/chat", "olga", roles=OPERATOR),
        await connect(server, "/chat", "pete", roles=("publisher",), tenant="acme"),
    ]
    await join(alice)
    for question in ("어제 카드를 분실했어요. 오늘 날씨 어때?", "내일 날씨는 어때?"):
        await say(alice, question)
        assert (await alice.expect("stream_end"))["suggested_action"] == HANDOVER
    await alice.expect("system", lambda told: told["event"] == "handover_requested")
    for client in (alice, *staff, *others):
        await client.settle()
    told = [client.payloads("handover_requested") for client in (*staff, alice, *others)]
    assert [len(each) for each in told] == [1, 1, 0, 0, 0, 0]
    assert told[0] == told[1]
    payload = told[0][0]
    assert payload.pop("requested_at").endswith("Z")
    assert payload.pop("intent")
    assert "분실" in payload.pop("summary")
    assert "카드" in payload.pop("keywords")
    assert payload == {
        "session_id": "s1",
        "user_id": "alice",
        "urgency": "critical",
        "suggested_action": HANDOVER,
        "reason": "",
        "requested_by": None,
    }


async def test_a_user_asks_for_a_person_once(nodes: Nodes, alice: Client, olga: Client) -> None:
    ack = await alice.call("handover_request", S1 | {"reason": "I would rather talk to a person"})
    told = await olga.expect("handover_requested")
    assert (told["reason"], told["requested_by"]) == ("I would rather talk to a person", "alice")
    assert ack["handover"] == {name: told[name] for name in told if name not in ("session_id", "user_id")}
    assert (await alice.call("handover_request", S1))["handover"] == ack["handover"]
    await answered(nodes, alice, seq=2, verdict=Verdict(suggested_action=HANDOVER))
    listed: Any = await chat(nodes[1]).directory.list(Identity("olga", roles=frozenset(OPERATOR)), everyone=True)
    assert listed["sessions"][0]["handover"] == ack["handover"]
    await fence(nodes[0], olga, "olga")
    assert len(olga.payloads("handover_requested")) == 1

    await olga.call("handover_accept", S1)
    ack = await alice.call("handover_request", S1)
    assert (ack["operator_id"], ack["handover"]) == ("olga", None)
    await olga.call("handover_return", S1)
    assert (await alice.call("handover_request", S1 | {"reason": "again"}))["ok"]
    await olga.expect("handover_requested", lambda each: each["reason"] == "again")
    assert len(olga.payloads("handover_requested")) == 2
    await chat(nodes[0]).directory.archive(Identity("alice"), "s1")
    assert (await chat(nodes[1]).directory.get(Identity("alice"), "s1"))["handover"] is None


async def test_two_ask_at_once_and_one_is_told(nodes: Nodes, alice: Client, olga: Client, connect: Connect) -> None:
    tab = await connect(nodes[1], "/chat", "alice")
    acks = await asyncio.gather(*(each.call("handover_request", S1) for each in (alice, tab, alice, tab)))
    assert all(ack["handover"] == acks[0]["handover"] for ack in acks)
    for server in nodes:
        await fence(server, olga, "olga")
    assert len(olga.payloads("handover_requested")) == 1


@ON_SQLITE
async def test_who_may_not_ask(nodes: Nodes, alice: Client, olga: Client, connect: Connect) -> None:
    there = nodes[1]
    strangers = [await connect(there, "/chat", "mallory"), await connect(there, "/chat", "alice", tenant="other")]
    for stranger in strangers:
        for session_id in ("s1", "unknown"):
            assert (await stranger.call("handover_request", {"session_id": session_id}))["error"] == FORBIDDEN
    for reason in ("x" * 1001, None, 5, "\0"):
        assert (await alice.call("handover_request", S1 | {"reason": reason}))["error"]["code"] == "INVALID_MESSAGE"
    for server in nodes:
        await fence(server, olga, "olga")
    assert olga.payloads("handover_requested") == []


# -- taking over ------------------------------------------------------------------------------------------------------


async def test_of_two_operators_who_take_over_at_once_one_does(nodes: Nodes, alice: Client, connect: Connect) -> None:
    operators = {
        f"o{number}": await connect(nodes[number % 2], "/chat", f"o{number}", roles=OPERATOR) for number in range(4)
    }
    for turn in range(8):
        session = {"session_id": f"s{turn}"}
        await alice.call("join", session)
        acks = dict(
            zip(
                operators,
                await asyncio.gather(*(each.call("handover_accept", session) for each in operators.values())),
                strict=True,
            )
        )
        (winner,) = [name for name, ack in acks.items() if ack["ok"]]
        assert acks[winner]["operator_id"] == winner
        for name in operators.keys() - {winner}:
            error = acks[name]["error"]
            assert (error["code"], error["details"]) == ("CONFLICT", {"operator_id": winner})
        assert (await operators[winner].call("handover_accept", session))["ok"]
        told = await alice.expect("system", lambda each: each["event"] == "operator_joined")
        assert (told["session_id"], told["user_id"]) == (f"s{turn}", winner)
        assert (await alice.call("join", session))["session"]["operator_id"] == winner
    assert [event for event, _ in systems(alice)] == ["operator_joined"] * 8


@ON_SQLITE
async def test_only_staff_of_the_tenant_take_over(nodes: Nodes, alice: Client, olga: Client, connect: Connect) -> None:
    here, there = nodes
    await invite(here, "bob")
    bob, mallory = await connect(there, "/chat", "bob"), await connect(there, "/chat", "mallory")
    other = await connect(there, "/chat", "olga", roles=OPERATOR, tenant="other")
    for event in ("handover_accept", "handover_return"):
        for session in (S1, {"session_id": "unknown"}):
            for client in (alice, bob, mallory):
                assert (await client.call(event, session))["error"] == ONLY_STAFF
            assert (await other.call(event, session))["error"] == FORBIDDEN
        assert (await olga.call(event, {"session_id": "unknown"}))["error"] == FORBIDDEN
    await chat(here).directory.archive(Identity("alice"), "s1")
    assert (await olga.call("handover_accept", S1))["error"]["code"] == "CONFLICT"
    assert (await join(olga))["session"]["operator_id"] is None


async def test_the_agent_falls_silent_in_the_middle(nodes: Nodes, alice: Client, olga: Client) -> None:
    await asked(nodes, alice)
    await say(alice, "and another question")
    joined = await join(olga)
    assert joined["session"]["operator_id"] == "olga"
    ends = [await client.expect("stream_end") for client in (alice, olga)]
    assert ends[0] == ends[1]
    assert ends[0]["cancelled"] is True
    assert scripted(nodes[0]).closed.is_set()
    assert ("operator_joined", "olga") in systems(alice)
    await say(alice, "hello olga")
    await say(olga, "hello alice")
    await alice.expect("message", lambda each: each["sender_id"] == "olga")
    await until(lambda: len(chat(nodes[0]).replies) == 0)
    await alice.settle()
    assert len(alice.payloads("stream_start")) == len(alice.payloads("stream_end")) == 1
    senders = [(each["sender_id"], each["content"]) for each in (await join(olga))["messages"]]
    assert ("1", "so far") in senders
    assert [sender for sender, _ in senders if sender != "1"] == ["alice", "alice", "alice", "olga"]


async def test_handed_back_the_agent_answers_again(nodes: Nodes, alice: Client, olga: Client, connect: Connect) -> None:
    await join(olga)
    await say(alice, "to olga")
    adam = await connect(nodes[1], "/chat", "adam", roles=("admin",))
    assert (await adam.call("handover_return", S1)) == {"ok": True, "session_id": "s1", "operator_id": None}
    assert (await alice.expect("system", lambda each: each["event"] == "agent_joined"))["user_id"] == "1"
    assert (await olga.call("handover_return", S1))["ok"]  # again is as once
    await answered(nodes, alice, seq=3)
    await olga.expect("stream_end")
    assert [event for event, _ in systems(alice)].count("agent_joined") == 1
    assert (await olga.call("handover_accept", S1))["ok"]


@ON_SQLITE
async def test_who_joins_without_taking_over(nodes: Nodes, alice: Client, connect: Connect) -> None:
    there = nodes[1]
    adam = await connect(there, "/chat", "adam", roles=("admin",))
    assert (await join(adam))["session"]["operator_id"] is None
    owner = await connect(there, "/chat", "oscar", roles=OPERATOR)
    assert (await join(owner, "of oscar"))["session"]["operator_id"] is None
    first, second = [await connect(there, "/chat", user, roles=OPERATOR) for user in ("olga", "otto")]
    assert (await join(first))["session"]["operator_id"] == "olga"
    assert (await join(second))["session"]["operator_id"] == "olga"
    await first.call("leave", S1)
    assert (await join(second))["session"]["operator_id"] == "olga"  # leaving gives nothing back
    assert [user for event, user in systems(alice) if event == "operator_joined"] == ["olga"]


async def test_of_two_who_join_at_once_one_takes_over(nodes: Nodes, alice: Client, connect: Connect) -> None:
    operators = [await connect(nodes[number % 2], "/chat", f"o{number}", roles=OPERATOR) for number in range(4)]
    for turn in range(4):
        await join(alice, f"s{turn}")
        acks = await asyncio.gather(*(join(each, f"s{turn}") for each in operators))
        assert len({ack["session"]["operator_id"] for ack in acks} - {None}) == 1
        assert all(ack["session"]["operator_id"] for ack in acks)


async def test_a_session_of_people_that_asked_is_taken_by_who_joins(
    nodes: Nodes, alice: Client, olga: Client, connect: Connect
) -> None:
    here = nodes[0]
    otto = await connect(nodes[1], "/chat", "otto", roles=OPERATOR)
    chat(here).directory._default_agent = None
    for session_id, is_asked in (("asked", True), ("not asked", False)):
        await join(alice, session_id)
        if is_asked:
            await alice.call("handover_request", {"session_id": session_id})
        joined = [(await join(client, session_id))["session"]["operator_id"] for client in (olga, otto)]
        assert joined == (["olga", "olga"] if is_asked else [None, None])


async def test_a_question_at_the_moment_of_the_takeover_does_not_keep_the_agent(
    nodes: Nodes, alice: Client, olga: Client
) -> None:
    """The agent of this test never ends by itself."""
    for turn in range(12):
        session = {"session_id": f"s{turn}"}
        await alice.call("join", session)
        asks, takes = say(alice, "?", f"s{turn}"), olga.call("handover_accept", session)
        await asyncio.gather(*((asks, takes) if turn % 2 else (takes, asks)))
    for server in nodes:
        await until(lambda server=server: len(chat(server).replies) == 0)  # type: ignore[misc]


# -- roles that change ------------------------------------------------------------------------------------------------


async def test_a_token_that_loses_the_role_is_staff_no_more(
    nodes: Nodes, alice: Client, olga: Client, connect: Connect
) -> None:
    there = nodes[1]
    pete = await connect(there, "/chat", "pete")
    await join(olga)
    assert (await olga.call("authenticate", {"token": token("olga")}))["ok"]
    assert (await pete.call("authenticate", {"token": token("pete", roles=OPERATOR)}))["ok"]
    await alice.expect("system", lambda each: (each["event"], each["user_id"]) == ("user_left", "olga"))
    for event in ("handover_accept", "handover_return"):
        assert (await olga.call(event, S1))["error"] == ONLY_STAFF
    await join(alice, "s2")
    await alice.call("handover_request", {"session_id": "s2"})
    await pete.expect("handover_requested")
    for server in nodes:
        await fence(server, olga, "olga")
    assert olga.payloads("handover_requested") == []
    assert (await pete.call("handover_return", S1))["ok"]


async def test_who_recovers_without_the_role_does_not_hear_what_operators_missed(nodes: Nodes, alice: Client) -> None:
    there = nodes[1]
    for roles in ((), OPERATOR):
        async with raw_socket(there.url) as raw:
            reader = Reader(raw, "/chat")
            await reader.connect(token=token("olga", roles=OPERATOR), recovery=True)
            known = reader.known
            raw.socket._response.close()  # type: ignore[union-attr]  # the connection, without a word
        session_id = f"of {roles}"
        await join(alice, session_id)
        await alice.call("handover_request", {"session_id": session_id})
        async with raw_socket(there.url) as raw:
            again = Told(raw, "/chat")
            await again.connect(token=token("olga", roles=roles), recovery=True, **known)
            assert again.recovered
            assert [each["session_id"] for each in again.requests] == ([session_id] if roles else [])


class Told(Reader):
    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.requests: list[Any] = []

    async def _read(self) -> str:
        frame = await super()._read()
        if frame.startswith("42"):
            name, payload, *_ = json.loads(frame.partition(",")[2])
            if name == "handover_requested":
                self.requests.append(payload)
        return frame


# -- what an operator should know -------------------------------------------------------------------------------------


@ON_SQLITE
async def test_analyze_over_http(nodes: Nodes, alice: Client) -> None:
    await say(alice, "어제 카드를 분실했어요")
    body = {"session_id": "s1"}
    path = "/api/v1/handover/analyze"
    for user in (Rest(nodes[1].url), Rest(nodes[1].url, "olga", roles=OPERATOR)):
        found = await user.post(path, body)
        assert found.status == 200
        assert sorted(found.body) == ["intent", "keywords", "session_id", "suggested_action", "summary", "urgency"]
        assert (found.body["urgency"], found.body["suggested_action"]) == ("critical", HANDOVER)
    for stranger in (Rest(nodes[1].url, "mallory"), Rest(nodes[1].url, "olga", roles=OPERATOR, tenant="other")):
        for session_id in ("s1", "unknown"):
            assert (await stranger.post(path, {"session_id": session_id})).body["error"] == FORBIDDEN


@ON_SQLITE
async def test_what_was_deleted_is_not_told_to_operators(nodes: Nodes, alice: Client, olga: Client) -> None:
    secret = (await say(alice, "my password is swordfish"))["message_id"]
    await alice.call("handover_request", S1)
    assert "swordfish" in json.dumps(await olga.expect("handover_requested"))
    await alice.call("delete", S1 | {"message_id": secret})
    found: Any = await chat(nodes[0]).directory.get(Identity("alice"), "s1")
    assert found["handover"]["requested_by"] == "alice"
    assert "swordfish" not in json.dumps(found)
    listed = await chat(nodes[0]).directory.list(Identity("alice"))
    assert "swordfish" not in json.dumps(listed)
