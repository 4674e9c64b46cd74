from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import Forbidden, InvalidMessage, LimitExceeded
from server.identity import Identity
from server.namespaces.trading.catalogue import Catalogue, load
from server.namespaces.trading.channels import room
from server.namespaces.trading.schemas import Since
from server.namespaces.trading.service import MESSAGES_A_TURN, TradingService
from server.realtime import rooms
from server.realtime.connection import Connection

CATALOGUE = load(Path("config/channels.toml"))
Event = tuple[str, Mapping[str, object]]


class Hall:
    """Rooms in memory that give way to other tasks wherever a real delivery may."""

    def __init__(self) -> None:
        self.present: dict[str, list[Connection]] = {}
        self.heard: dict[str, list[Event]] = {}
        self.volatile: list[str] = []

    def arrive(self, connection_id: str, user_id: str, *roles: str, tenant: str | None = None) -> Connection:
        connection = Connection(connection_id, "/trading", Identity(user_id, tenant, frozenset(roles)), "")
        self.heard[connection_id] = []
        self._put(connection, connection_id)
        self._put(connection, rooms.user_room(tenant, user_id))
        return connection

    def _put(self, connection: Connection, room: str) -> None:
        connection.rooms.add(room)
        members = self.present.setdefault(room, [])
        if connection not in members:
            members.append(connection)

    @property
    def connections(self) -> list[Connection]:
        return list(dict.fromkeys(each for members in self.present.values() for each in members))

    async def enter(self, connection: Connection, room: str) -> None:
        await asyncio.sleep(0)
        self._put(connection, room)
        await asyncio.sleep(0)

    async def leave(self, connection: Connection, room: str) -> bool:
        if room not in connection.rooms:
            return False
        connection.rooms.discard(room)
        self.present[room].remove(connection)
        await asyncio.sleep(0)
        return True

    def members(self, room: str | Collection[str]) -> list[Connection]:
        rooms = [room] if isinstance(room, str) else room
        return list(dict.fromkeys(each for room in rooms for each in self.present.get(room, [])))

    async def emit(
        self,
        event: str,
        payload: Mapping[str, object],
        *,
        room: str | Collection[str],
        skip: Collection[str] = (),
        volatile: bool = False,
        conflate: Hashable | None = None,
    ) -> None:
        if volatile:
            self.volatile.append(event)
        for member in self.members(room):
            if member.id not in skip:
                self.heard[member.id].append((event, payload))
        await asyncio.sleep(0)


class House:
    def __init__(self, *, max_channels: int = 10_000) -> None:
        self.now = 0.0
        self.hall = Hall()
        self.service = TradingService(self.hall, CATALOGUE, max_channels=max_channels, clock=lambda: self.now)
        self.feed = self.hall.arrive("feed", "feed", "publisher")

    async def publish(self, channel: str, data: object = None, key: str | None = None) -> Mapping[str, object]:
        return await self.service.publish(self.feed.identity, channel, "message", data, key)

    def seqs(self, connection: Connection) -> list[object]:
        return [payload["seq"] for _, payload in self.hall.heard[connection.id]]


# -- subscribing --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["publish", "publish", "subscribe", "unsubscribe", "late", "yield", "age", "publish 2"]),
        max_size=40,
    )
)
def test_an_ack_and_the_events_after_it_are_every_message_once_whatever_overlaps(steps: list[str]) -> None:
    async def run() -> None:
        house = House()
        alice = house.hall.arrive("a1", "alice")
        running: list[asyncio.Task[object]] = []
        acks: list[tuple[dict[str, object], int]] = []
        last: Since | None = None

        async def subscribe(since: Since | None) -> None:
            nonlocal last
            ack = await house.service.subscribe(alice, "stock_updates", since)
            acks.append((ack, 0 if since is None else since.seq))
            last = Since(str(ack["epoch"]), int(str(ack["seq"])))

        subscribed = False
        for step in steps:
            if step.startswith("publish"):
                running += [asyncio.create_task(house.publish("stock_updates")) for _ in range(int(step[8:] or 1))]
            elif step == "subscribe":
                await subscribe(None)
                subscribed = True
            elif step == "late":
                await subscribe(last)
                subscribed = True
            elif step == "unsubscribe":
                await house.service.unsubscribe(alice, "stock_updates")
                subscribed = False
            elif step == "age":
                house.now += 2000  # of the 3600 that are kept
            else:
                await asyncio.sleep(0)
        await asyncio.gather(*running)
        heard = [int(str(seq)) for seq in house.seqs(alice)]
        assert heard == sorted(set(heard))
        total = sum(int(step[8:] or 1) for step in steps if step.startswith("publish"))
        for ack, since_seq in acks:
            given = [message["seq"] for message in ack.get("messages", ack.get("snapshot"))]
            seq = int(str(ack["seq"]))
            assert ack.get("recovered", False) == ("messages" in ack) != ("snapshot" in ack)
            assert given == list(range(seq - len(given) + 1, seq + 1))
            if "messages" in ack:
                assert given == list(range(since_seq + 1, seq + 1))
        if subscribed:
            final = int(str(acks[-1][0]["seq"]))
            assert [seq for seq in heard if seq > final] == list(range(final + 1, total + 1))

    asyncio.run(run())


async def test_no_channel_is_answered_as_in_the_seed() -> None:
    house = House()
    with pytest.raises(InvalidMessage, match=r"^Channel name required for subscription$"):
        await house.service.subscribe(house.feed, None, None)
    with pytest.raises(InvalidMessage, match=r"^Channel name required for unsubscription$"):
        await house.service.unsubscribe(house.feed, None)


async def test_a_class_without_history_gives_no_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "channels.toml"
    path.write_text('["general"]\nsubscribe = ["any"]')
    hall = Hall()
    service = TradingService(hall, await asyncio.to_thread(load, path))
    ack = await service.subscribe(hall.arrive("a1", "alice"), "general", None)
    assert set(ack) == {"channel", "success", "seq", "epoch"}


async def test_history_ages() -> None:
    house = House()
    alice = house.hall.arrive("a1", "alice")
    first = await house.publish("stock_updates", "old")
    house.now = 3599
    await house.publish("stock_updates", "new")
    assert [each["data"] for each in (await house.service.subscribe(alice, "stock_updates", None))["snapshot"]] == [
        "old",
        "new",
    ]
    house.now = 3600
    since = Since(str(first["epoch"]), 0)
    ack = await house.service.subscribe(alice, "stock_updates", since)
    assert ack["recovered"] is False
    assert [each["data"] for each in ack["snapshot"]] == ["new"]


async def test_a_subscription_there_is_no_room_for_leaves_nothing_behind() -> None:
    house = House(max_channels=2)
    alice = house.hall.arrive("a1", "alice")
    await house.service.subscribe(alice, "chat:1", None)
    await house.service.subscribe(alice, "chat:2", None)
    before = set(alice.rooms)
    with pytest.raises(LimitExceeded):
        await house.service.subscribe(alice, "chat:3", None)
    assert alice.rooms == before
    assert (await house.service.subscribe(alice, "chat:2", None))["success"] is True
    assert (await house.service.unsubscribe(alice, "chat:1"))["success"] is True
    assert (await house.service.subscribe(alice, "chat:3", None))["success"] is True


async def test_a_channel_is_not_forgotten_while_someone_enters_it() -> None:
    house = House(max_channels=1)
    alice, bob = house.hall.arrive("a1", "alice"), house.hall.arrive("b1", "bob")
    subscribing = asyncio.create_task(house.service.subscribe(alice, "chat:1", None))
    await asyncio.sleep(0)
    await house.service.chat(bob, "chat:2", "hi")
    ack = await subscribing
    assert (await house.publish("chat:1"))["epoch"] == ack["epoch"]
    assert house.seqs(alice) == [1]


# -- publishing ---------------------------------------------------------------------------------------------------


async def test_the_same_key_by_two_connections_at_once_is_one_message() -> None:
    house = House()
    alice = house.hall.arrive("a1", "alice")
    await house.service.subscribe(alice, "alerts", None)
    acks = await asyncio.gather(*(house.publish("alerts", number, "k1") for number in range(5)))
    assert all(ack == acks[0] for ack in acks)
    assert house.seqs(alice) == [1]
    house.now += 299
    assert await house.publish("alerts", "again", "k1") == acks[0]
    house.now += 1
    assert (await house.publish("alerts", "again", "k1"))["seq"] == 2


async def test_a_key_is_good_for_one_user_and_one_channel() -> None:
    house = House()
    other = house.hall.arrive("o", "other", "publisher").identity
    namesake = house.hall.arrive("n", "feed", "publisher", tenant="acme").identity
    await house.publish("chat:1", 1, "k1")
    assert (await house.publish("chat:2", 1, "k1"))["seq"] == 1
    assert (await house.service.publish(other, "chat:1", "message", 1, "k1"))["seq"] == 2
    assert (await house.service.publish(namesake, "chat:1", "message", 1, "k1"))["seq"] == 1
    assert (await house.publish("chat:1", 1, None))["seq"] == 3


async def test_a_refused_publication_uses_up_no_key_and_no_number() -> None:
    house = House()
    alice = house.hall.arrive("a1", "alice")
    with pytest.raises(Forbidden):
        await house.service.publish(alice.identity, "alerts", "message", 1, "k1")
    assert (await house.publish("alerts", 1, "k1"))["seq"] == 1


async def test_a_batch_gives_way_to_those_who_read_it() -> None:
    house = House()
    alice = house.hall.arrive("a1", "alice")
    await house.service.subscribe(alice, "alerts", None)
    batch = asyncio.create_task(house.service.publish_all(house.feed.identity, "alerts", [{"data": 1}] * 1000, None))
    most = before = 0
    while not batch.done():
        await asyncio.sleep(0)
        most, before = max(most, len(house.seqs(alice)) - before), len(house.seqs(alice))
    assert 0 < most <= MESSAGES_A_TURN
    assert house.seqs(alice) == [result["seq"] for result in batch.result()] == [*range(1, 1001)]


async def test_ticks_may_be_missed_by_the_slow_and_alerts_may_not() -> None:
    house = House()
    await house.service.announce("ticks:005930", "tick", {})
    await house.service.announce("alerts", "alert", {})
    assert house.hall.volatile == ["tick"]


async def test_what_the_server_announces_finds_no_room_quietly() -> None:
    house = House(max_channels=1)
    alice = house.hall.arrive("a1", "alice")
    await house.service.subscribe(alice, "chat:1", None)
    await house.service.announce("ticks:005930", "tick", {})
    await house.service.unsubscribe(alice, "chat:1")
    await house.service.announce("ticks:005930", "tick", {})
    assert (await house.service.subscribe(alice, "ticks:005930", None))["seq"] == 1


# -- tenants ------------------------------------------------------------------------------------------------------


async def test_market_data_reaches_every_tenant_and_a_tenants_word_stays_there() -> None:
    house = House()
    await house.service.announce("stock_updates", "message", {"price": 1})
    nobody = house.hall.arrive("n1", "nina")
    acme, rival = house.hall.arrive("a1", "alice", tenant="acme"), house.hall.arrive("r1", "ron", tenant="rival")
    for each in (nobody, acme, rival):
        ack = await house.service.subscribe(each, "stock_updates", None)
        assert [message["data"] for message in ack["snapshot"]] == [{"price": 1}]
        assert ack["seq"] == 1
    await house.service.announce("stock_updates", "message", {"price": 2})
    inside = Identity("boss", "acme", frozenset({"publisher"}))
    said = await house.service.publish(inside, "stock_updates", "message", "ours", None)
    assert (said["seq"], said["subscribers"]) == (3, 1)
    outside = await house.publish("stock_updates", {"price": 3})
    assert (outside["seq"], outside["subscribers"]) == (3, 3)
    heard = {each.id: [payload["data"] for _, payload in house.hall.heard[each.id]] for each in (nobody, acme, rival)}
    assert heard == {
        "n1": [{"price": 2}, {"price": 3}],
        "a1": [{"price": 2}, "ours", {"price": 3}],
        "r1": [{"price": 2}, {"price": 3}],
    }
    assert house.seqs(acme) == [2, 3, 4]
    assert house.seqs(rival) == [2, 3]


async def test_a_channel_that_is_not_shared_is_one_of_its_tenant() -> None:
    house = House()
    acme, nobody = house.hall.arrive("a1", "alice", tenant="acme"), house.hall.arrive("n1", "nina")
    for each in (acme, nobody):
        await house.service.subscribe(each, "general", None)
    await house.service.chat(acme, "general", "inside")
    await house.service.chat(nobody, "general", "outside")
    assert [payload["message"] for _, payload in house.hall.heard["a1"]] == ["inside"]
    assert [payload["message"] for _, payload in house.hall.heard["n1"]] == ["outside"]


# -- users --------------------------------------------------------------------------------------------------------


async def test_a_users_message_reaches_each_connection_once_subscribed_or_not() -> None:
    house = House()
    first, second = house.hall.arrive("a1", "alice"), house.hall.arrive("a2", "alice")
    other = house.hall.arrive("b1", "bob")
    namesake = house.hall.arrive("x1", "alice", tenant="acme")
    await house.service.subscribe(first, "user:alice", None)
    assert (await house.publish("user:alice", 1))["subscribers"] == 2
    assert (await house.service.unsubscribe(first, "user:alice"))["success"] is True
    assert (await house.service.unsubscribe(first, "user:alice"))["success"] is False
    await house.publish("user:alice", 2)
    assert [house.seqs(each) for each in (first, second, other, namesake)] == [[1, 2], [1, 2], [], []]
    ack = await house.service.subscribe(
        second, "user:alice", Since(str((await house.publish("user:alice"))["epoch"]), 1)
    )
    assert [message["seq"] for message in ack["messages"]] == [2, 3]


# -- rights that change -------------------------------------------------------------------------------------------


async def test_a_token_with_fewer_roles_costs_what_they_were_for() -> None:
    house = House()
    carol = house.hall.arrive("c1", "carol", "group:desk-1", "group:desk-2")
    for channel in ("group:desk-1", "group:desk-2", "general", "user:carol"):
        await house.service.subscribe(carol, channel, None)
    assert await house.service.review(carol) == []
    carol.identity = Identity("carol", roles=frozenset({"group:desk-2"}))
    assert await house.service.review(carol) == ["group:desk-1"]
    await house.publish("group:desk-1")
    await house.publish("group:desk-2")
    assert [payload["channel"] for _, payload in house.hall.heard["c1"]] == ["group:desk-2"]


async def test_who_comes_back_with_fewer_roles_is_told_what_that_cost() -> None:
    house = House()
    carol = house.hall.arrive("c1", "carol", "group:desk-1")
    await house.service.came(carol)
    for channel in ("group:desk-1", "general", "ticks:*"):
        await house.service.subscribe(carol, channel, None)
    carol.identity = Identity("carol")
    await house.service.came_back(carol)
    await house.publish("group:desk-1")
    await house.publish("ticks:A")
    assert [(event, payload["channel"]) for event, payload in house.hall.heard["c1"]] == [
        ("unsubscribed", "group:desk-1"),
        ("message", "ticks:A"),
    ]
    assert await house.service.presence.users(room(None, "general")) == ["carol"]
    assert await house.service.presence.users(room(None, "ticks:*")) == []


# -- whole classes ------------------------------------------------------------------------------------------------


async def test_who_comes_back_to_a_configuration_without_its_channel_leaves_it() -> None:
    house = House()
    carol = house.hall.arrive("c1", "carol", tenant="acme")
    for channel in ("alerts", "ticks:A", "ticks:*", "general"):
        await house.service.subscribe(carol, channel, None)
    assert {channel for _, channel, _ in house.service.following()} == {"alerts", "ticks:A", "ticks:*"}
    house.service._catalogue = Catalogue([kind for kind in CATALOGUE.classes if not kind.wildcard])
    assert [channel for _, channel, _ in house.service.following()] == ["alerts"]
    await house.service.came_back(carol)
    told = [payload["channel"] for event, payload in house.hall.heard["c1"] if event == "unsubscribed"]
    assert told == ["ticks:*", "ticks:A"]


async def test_a_class_is_subscribed_to_as_a_whole_only_where_it_says_so() -> None:
    house = House()
    for pattern in ("chat:*", "*", "ticks:A*", "nowhere:*"):
        with pytest.raises(InvalidMessage):
            await house.service.subscribe(house.feed, pattern, None)
        assert (await house.service.unsubscribe(house.feed, pattern))["success"] is False


async def test_whoever_follows_all_of_a_class_has_its_state_at_every_moment() -> None:
    house = House()
    alice = house.hall.arrive("a1", "alice")
    running = [asyncio.create_task(house.publish(f"ticks:{number % 3}", number)) for number in range(10)]
    ack = await house.service.subscribe(alice, "ticks:*", None)
    running += [asyncio.create_task(house.publish(f"ticks:{number % 4}", number)) for number in range(10, 20)]
    await asyncio.gather(*running)
    known = {name: each["seq"] for name, each in ack["channels"].items()}
    assert {each["channel"]: each["seq"] for each in ack["snapshot"]} == known
    for _, payload in house.hall.heard["a1"]:
        if payload["seq"] > known.get(payload["channel"], 0):
            assert payload["seq"] == known.get(payload["channel"], 0) + 1
            known[payload["channel"]] = payload["seq"]
    late = await house.service.subscribe(house.hall.arrive("b1", "bob"), "ticks:*", None)
    assert known == {name: each["seq"] for name, each in late["channels"].items()}
