"""The copilot by Socket.IO and by plain WebSockets, on one node and on two: who may be there, how often they may ask,
and what becomes of a query whose client or node goes (SPEC §2, §3 and §7, the seed's phases 3 to 5)."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest
import pytest_asyncio
import websockets

from server.namespaces.copilot import namespace
from server.namespaces.copilot.schemas import MAX_DATASETS
from server.namespaces.copilot.service import MAX_RUNNING_PER_USER
from server.realtime.cluster import node
from tests.conftest import Serve
from tests.support.client import PATIENCE, Client
from tests.support.copilot import COSTS, EVENT_OF, GCP, ROWS, copilot
from tests.support.managers import node_of, until, until_up, vanish
from tests.support.planner import Straight
from tests.support.redis import RedisServer
from tests.support.rest import connections
from tests.support.running import Running, token

OFFERED = {"datasets": [COSTS]}
DATA, PERSON, API = EVENT_OF


class Caller(Protocol):
    """A client by whichever door."""

    async def connect(self, server: Running, user: str) -> None: ...

    async def say(self, event: str, **payload: object) -> None:
        """Without an ack."""

    async def hear(self, event: str) -> Any:
        """The oldest that was not yet heard."""

    async def closed(self) -> int:
        """The server ended it: the close code."""

    async def close(self) -> None: ...


class BySocketIO(Client):
    def __init__(self) -> None:
        super().__init__("/copilot")

    async def connect(self, server: Running, user: str) -> None:  # type: ignore[override]
        await super().connect(server.url, token(user))

    async def say(self, event: str, **payload: object) -> None:
        await self.emit(event, payload)

    async def hear(self, event: str) -> Any:
        return await self.expect(event)

    async def closed(self) -> int:
        code: int = (await self.expect("disconnecting_reason"))["close_code"]
        await self.expect("disconnect")
        return code


class Plain:
    def __init__(self) -> None:
        self._passed: list[dict[str, Any]] = []

    async def connect(self, server: Running, user: str) -> None:
        url = server.url.replace("http", "ws")
        self.socket = await websockets.connect(f"{url}/ws/copilot?token={token(user)}")

    async def say(self, event: str, **payload: object) -> None:
        await self.socket.send(json.dumps({"type": event, **payload}))

    async def hear(self, event: str) -> Any:
        for at, message in enumerate(self._passed):
            if message["type"] == event:
                return self._passed.pop(at)
        async with asyncio.timeout(PATIENCE):
            while (message := json.loads(await self.socket.recv()))["type"] != event:
                self._passed.append(message)
        return message

    async def closed(self) -> int:
        with pytest.raises(websockets.ConnectionClosed):
            await self.hear("")
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()


DOORS: dict[str, Callable[[], Caller]] = {"socket.io": BySocketIO, "plain": Plain}
BOTH = pytest.mark.parametrize("doors", list(itertools.permutations(DOORS)), ids="-".join)
MIXED = pytest.mark.parametrize("doors", [tuple(DOORS)], ids="-".join)
EACH = pytest.mark.parametrize("door", list(DOORS))

TWO_NODES = pytest.mark.parametrize("start", [2], ids=["two nodes"], indirect=True)

Call = Callable[..., Awaitable[Caller]]
Start = Callable[..., Awaitable[tuple[Running, Running]]]


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "EmbeddedPlanner", Straight)


@pytest_asyncio.fixture(params=[1, 2], ids=["one node", "two nodes"])
async def start(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Start]:
    """Two servers of a cluster, or one that stands for both."""
    async with AsyncExitStack() as stack:

        async def start(**environ: object) -> tuple[Running, Running]:
            environ = {"TRADING_FEED": "none", **environ}
            if request.param == 1:
                here = await serve(**environ)
                return here, here
            redis = await stack.enter_async_context(RedisServer())
            here, there = [await serve(REDIS_URL=redis.url, **environ) for _ in range(2)]
            await until_up(node_of(here), node_of(there))
            return here, there

        yield start


@pytest_asyncio.fixture
async def call() -> AsyncIterator[Call]:
    """`await call(server, "plain", "alice")`: one that is connected."""
    callers: list[Caller] = []

    async def call(server: Running, door: str, user: str = "alice") -> Caller:
        caller = DOORS[door]()
        callers.append(caller)
        await caller.connect(server, user)
        await caller.hear("connected")
        return caller

    yield call
    for each in callers:
        await each.close()


async def answer(caller: Caller, question: str, **given: object) -> Any:
    """The question, which is answered by its event."""
    asked = await caller.hear(question)
    await caller.say(EVENT_OF[question], requestId=asked["requestId"], **given)
    return asked


async def complete(caller: Caller, query_id: str) -> None:
    await answer(caller, API, data=ROWS)
    assert (await caller.hear("response"))["query_id"] == query_id


async def is_there(caller: Caller) -> None:
    await caller.say("ping", timestamp="x")
    assert (await caller.hear("pong"))["timestamp"] == "x"


async def gone(server: Running, count: int) -> None:
    """So many are left in the namespace, on this node."""
    await until(lambda: len(copilot(server).connections) == count)


# -- one session for each user (seed, 5-1) ----------------------------------------------------------------------


@BOTH
async def test_the_newer_session_replaces_the_older(start: Start, call: Call, doors: tuple[str, str]) -> None:
    here, there = await start(SINGLE_SESSION_PER_USER="true")
    stranger = await call(here, doors[0], "bob")
    older = await call(here, doors[0])
    newer = await call(there, doors[1])
    assert await older.closed() == 4009
    await is_there(newer)
    await is_there(stranger)


@MIXED
async def test_many_sessions_stay_where_they_may(start: Start, call: Call, doors: tuple[str, str]) -> None:
    here, there = await start(SINGLE_SESSION_PER_USER="false")
    tabs = [await call(here, doors[0]), await call(there, doors[1])]
    for each in tabs:
        await is_there(each)


@EACH
async def test_a_query_goes_on_in_the_session_that_replaced_its_own(start: Start, call: Call, door: str) -> None:
    here, there = await start(SINGLE_SESSION_PER_USER="true")
    older = await call(here, door)
    await older.say("query", text="cost", query_id="q")
    asked = await older.hear(DATA)
    newer = await call(there, door)
    assert (await older.closed(), (await answer(newer, DATA, **OFFERED))["requestId"]) == (4009, asked["requestId"])
    await complete(newer, "q")


# -- rates (seed, 5-2) ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shared", [True, False])
async def test_connections_of_a_user_count_together_or_alone(
    start: Start, call: Call, doors: tuple[str, str], shared: bool
) -> None:
    here, there = await start(SHARE_RATE_LIMIT=shared, RATE_LIMIT_QUERIES_PER_MINUTE=2)
    tabs = [await call(here, doors[0]), await call(there, doors[1])]
    for at in range(2 if shared else 4):
        await tabs[at % 2].say("query", text="cost")
        await tabs[at % 2].hear(DATA)
    for tab in tabs:
        await tab.say("query", text="cost")
        error = await tab.hear("error")
        assert (error["code"], error["limit"], error["remaining"]) == ("RATE_LIMITED", 2, 0)
        assert 0 < error["retry_after"] <= 60_000
        await is_there(tab)
    other = await call(there, doors[0], "bob")
    await other.say("query", text="cost")
    await other.hear(DATA)


@EACH
@TWO_NODES
async def test_what_was_asked_for_counts_as_no_event(start: Start, call: Call, door: str) -> None:
    here, _ = await start(RATE_LIMIT_EVENTS_PER_SECOND=3, RATE_LIMIT_QUERIES_PER_MINUTE=100)
    tab = await call(here, door)
    for _ in range(2):
        await tab.say("query", text="cost")
        asked = await tab.hear(DATA)
        await tab.say("available_data", requestId=asked["requestId"], datasets=[{"name": "costs"}])
        asked = await tab.hear("request_api")
        await tab.say("api_result", requestId=asked["requestId"], data=[{"cost": 1}])
        assert (await tab.hear("response"))["data"] == {"overall": 1.0}


# -- many at once (seed, 5-3) -----------------------------------------------------------------------------------


@MIXED
async def test_users_are_answered_each_alone_and_one_who_leaves_disturbs_nobody(
    start: Start, call: Call, doors: tuple[str, str]
) -> None:
    here, there = await start()
    alice, bob, carol = [
        await call(server, door, user)
        for server, door, user in ((here, doors[0], "alice"), (there, doors[1], "bob"), (here, doors[1], "carol"))
    ]
    for each in (alice, bob, carol):
        await each.say("query", text="cost", query_id="the same id")
    await alice.hear(DATA)
    await alice.close()
    for number, each in enumerate((bob, carol)):
        await answer(each, DATA, **OFFERED)
        await answer(each, API, data=[{"cost": number}])
        assert (await each.hear("response"))["data"]["overall"] == number


@MIXED
async def test_who_is_connected_is_known_on_every_node(start: Start, call: Call, doors: tuple[str, str]) -> None:
    here, there = await start()
    alice, _ = await call(here, doors[0], "alice"), await call(there, doors[1], "bob")
    for server in (here, there):
        listed = await connections(server)
        assert [(each["user_id"], each["namespace"]) for each in listed] == [("alice", "/copilot"), ("bob", "/copilot")]
        assert len({each["node"] for each in listed}) == len({here.url, there.url})
    await alice.close()
    await gone(here, 1 if here is there else 0)
    assert [each["user_id"] for each in await connections(there)] == ["bob"]


@MIXED
async def test_a_users_queries_count_on_all_nodes_and_stay_apart(
    start: Start, call: Call, doors: tuple[str, str]
) -> None:
    here, there = await start(RATE_LIMIT_ENABLED="false")
    tabs = [await call(here, doors[0]), await call(there, doors[1])]
    for at in range(MAX_RUNNING_PER_USER):
        await tabs[at % 2].say("query", text="cost", query_id=str(at))
        await tabs[at % 2].hear(DATA)
    for tab in tabs:
        await tab.say("query", text="cost")
        assert (await tab.hear("error"))["code"] == "LIMIT_EXCEEDED"
    await tabs[0].say("cancel", query_id="1")  # the other tab's, on the other node
    error = await tabs[1].hear("error")
    assert (error["query_id"], error["code"]) == ("1", "CANCELLED")
    await tabs[1].hear("request_expired")
    await tabs[0].say("query", text="cost", query_id="1")
    await tabs[0].hear(DATA)


async def test_a_thousand_open_queries_hold_nobody_up_and_leave_nothing(serve: Serve, call: Call) -> None:
    server = await serve(RATE_LIMIT_ENABLED="false")
    users, each_has = 20, 50
    copilot(server).service._most = each_has
    callers = [await call(server, "plain", f"user-{at}") for at in range(users)]
    for caller, at in itertools.product(callers, range(each_has)):
        await caller.say("query", text="cost", query_id=str(at))
    await until(lambda: len(copilot(server).asks) == users * each_has)
    bob = await call(server, "socket.io", "bob")
    await bob.say("query", text="cost", query_id="q")
    await answer(bob, DATA, **OFFERED)
    await complete(bob, "q")

    async def answer_all(caller: Caller) -> None:
        for _ in range(each_has):
            await answer(caller, DATA, **OFFERED)
        for _ in range(each_has):
            await answer(caller, API, data=ROWS)
        answered = {(await caller.hear("response"))["query_id"] for _ in range(each_has)}
        assert answered == {str(at) for at in range(each_has)}

    await asyncio.gather(*map(answer_all, callers))
    counts = copilot(server).asks.counts
    assert (counts.sent, counts.answered) == (2 * (users * each_has + 1),) * 2
    assert (len(copilot(server).asks), len(copilot(server).service)) == (0, 0)
    members = server.realtime.manager.members("/copilot", None)
    assert not any(member.callbacks for member in members)


# -- drops ------------------------------------------------------------------------------------------------------


@BOTH
async def test_a_client_that_comes_back_by_any_door_is_asked_again(
    start: Start, call: Call, doors: tuple[str, str]
) -> None:
    here, there = await start()
    first = await call(here, doors[0])
    await first.say("query", text="cost", query_id="q")
    await answer(first, DATA, datasets=[COSTS, GCP])
    asked = await first.hear(PERSON)
    await first.close()
    await gone(here, 0)
    again = await call(there, doors[1])
    assert (await answer(again, PERSON, answer="aws_costs"))["requestId"] == asked["requestId"]
    await complete(again, "q")
    await again.say("human_response", requestId=asked["requestId"], answer="gcp_costs")
    assert (await again.hear("error"))["code"] == "UNKNOWN_REQUEST"


@EACH
@TWO_NODES
async def test_whose_node_dies_is_told_of_the_query_once(
    start: Start, call: Call, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(node, "DEAD_SECONDS", 1)
    here, there = await start()
    caller = await call(here, door)
    await caller.say("query", text="cost", query_id="q")
    await caller.hear(DATA)
    again = await call(there, door)
    await vanish(here)
    error = await again.hear("error")
    assert (error["query_id"], error["code"]) == ("q", "GOING_AWAY")
    await again.say("query", text="cost", query_id="q")
    await answer(again, DATA, **OFFERED)
    await complete(again, "q")


@EACH
@TWO_NODES
async def test_who_has_moved_is_told_of_a_query_that_ends_with_its_node(start: Start, call: Call, door: str) -> None:
    here, there = await start()
    caller = await call(here, door)
    await caller.say("query", text="cost", query_id="q")
    await caller.hear(DATA)
    await caller.close()
    await gone(here, 0)
    again = await call(there, door)
    await again.hear(DATA)
    await here.runner.cleanup()
    error = await again.hear("error")
    assert (error["query_id"], error["code"]) == ("q", "GOING_AWAY")


# -- bad input --------------------------------------------------------------------------------------------------


@EACH
async def test_bad_answers_change_nothing(start: Start, call: Call, door: str) -> None:
    here, there = await start()
    caller, mallory = await call(here, door), await call(there, door, "mallory")
    await caller.say("query", text="cost", query_id="q")
    request_id = (await caller.hear(DATA))["requestId"]
    for who, event, wrong, code in (
        (mallory, "available_data", {"requestId": request_id, **OFFERED}, "UNKNOWN_REQUEST"),
        (caller, "available_data", {"requestId": "x" * 200, **OFFERED}, "UNKNOWN_REQUEST"),
        (caller, "available_data", {"requestId": request_id[:-1], **OFFERED}, "UNKNOWN_REQUEST"),
        (caller, "api_result", {"requestId": request_id, "data": ROWS}, "UNKNOWN_REQUEST"),
        (caller, "available_data", {"requestId": request_id, "datasets": "all"}, "INVALID_MESSAGE"),
        (caller, "available_data", {"requestId": request_id, "datasets": [{"name": 5}]}, "INVALID_MESSAGE"),
    ):
        await who.say(event, **wrong)
        assert (await who.hear("error"))["code"] == code
    await caller.say("available_data", requestId=request_id, **OFFERED)
    await complete(caller, "q")
    await caller.say("available_data", requestId=request_id, **OFFERED)
    assert (await caller.hear("error"))["code"] == "UNKNOWN_REQUEST"


@EACH
async def test_ten_thousand_datasets_are_refused_in_few_words(serve: Serve, call: Call, door: str) -> None:
    caller = await call(await serve(WS_MESSAGE_SIZE_LIMIT=1_000_000), door)
    await caller.say("query", text="cost", query_id="q")
    request_id = (await caller.hear(DATA))["requestId"]
    for datasets in ([{"name": 5}] * 10_000, [COSTS] * (MAX_DATASETS + 1)):
        await caller.say("available_data", requestId=request_id, datasets=datasets)
        error = await caller.hear("error")
        assert error["code"] == "INVALID_MESSAGE"
        assert len(json.dumps(error)) < 500
    await caller.say("available_data", requestId=request_id, **OFFERED)
    await complete(caller, "q")


@EACH
async def test_an_answer_of_5_mb_ends_the_connection_and_not_the_query(serve: Serve, call: Call, door: str) -> None:
    server = await serve()
    caller = await call(server, door)
    await caller.say("query", text="cost", query_id="q")
    asked = await caller.hear(DATA)
    await caller.say("available_data", requestId=asked["requestId"], datasets=[{**COSTS, "more": "x" * 5_000_000}])
    if door == "plain":
        assert await caller.closed() == 1009
    await gone(server, 0)
    again = await call(server, door)
    assert (await answer(again, DATA, **OFFERED))["requestId"] == asked["requestId"]
    await complete(again, "q")


async def test_what_is_not_json_is_no_answer(serve: Serve) -> None:
    caller = Plain()
    await caller.connect(await serve(), "alice")
    await caller.say("query", text="cost", query_id="q")
    asked = await caller.hear(DATA)
    for nonsense in ('{"type":"available_data",', "null", "[]", '{"requestId":"x"}', "\0", b"{}"):
        await caller.socket.send(nonsense)
        assert (await caller.hear("error"))["code"] == "INVALID_MESSAGE"
    await caller.say("available_data", requestId=asked["requestId"], **OFFERED)
    await complete(caller, "q")
    await caller.close()


@EACH
async def test_a_client_that_never_answers_is_told_and_may_go_on(serve: Serve, call: Call, door: str) -> None:
    server = await serve(COPILOT_DATA_TIMEOUT=0.1)
    caller = await call(server, door)
    await caller.say("query", text="cost", query_id="q")
    asked = await caller.hear(DATA)
    assert (await caller.hear("request_expired"))["requestId"] == asked["requestId"]
    error = await caller.hear("error")
    assert (error["query_id"], error["code"]) == ("q", "CLIENT_TIMEOUT")
    await caller.say("available_data", requestId=asked["requestId"], **OFFERED)
    assert (await caller.hear("error"))["code"] == "UNKNOWN_REQUEST"
    counts = copilot(server).asks.counts
    assert (counts.sent, counts.expired, counts.refused, len(copilot(server).service)) == (1, 1, 1, 0)
