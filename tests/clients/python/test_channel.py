from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clients.python import Channel, Lost, Refused, Update, channel
from tests.clients.python.opening import client, some, until_state
from tests.conftest import Serve
from tests.support.cluster import Nodes
from tests.support.proxy import Proxy
from tests.support.recovering import abort

DROPS = 8
QUIET = {"TRADING_FEED": "none"}
PUBLISHER = ("publisher",)


def numbers(updates: list[Update]) -> list[Any]:
    return [update.data["n"] for update in updates]


async def test_what_was_is_a_snapshot_and_then_it_comes(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        await opened.publish("alerts", {"n": 0}, type="halt")
        alerts = await opened.channel("alerts")
        assert [(each.type, each.seq, each.data) for each in alerts.snapshot] == [("halt", 1, {"n": 0})]
        assert (alerts.seq, bool(alerts.epoch)) == (1, True)
        for number in (1, 2):
            await opened.publish("alerts", {"n": number})
        assert numbers(await some(alerts, 2)) == [1, 2]
        assert (alerts.missed, alerts.conflated, alerts.dropped) == (0, 0, 0)


async def test_it_goes_on_from_where_an_earlier_one_was(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        alerts = await opened.channel("alerts")
        await opened.publish("alerts", {"n": 0})
        await some(alerts, 1)
        assert alerts.epoch is not None
        assert alerts.seq is not None
        since = (alerts.epoch, alerts.seq)
        await alerts.close()
        assert [each async for each in alerts] == []
        for number in (1, 2):
            await opened.publish("alerts", {"n": number})
        again = await opened.channel("alerts", since=since)
        assert again.recovered is True
        assert numbers(await some(again, 2)) == [1, 2]


@pytest.mark.parametrize("recovery", [True, False])
async def test_drops_cost_nothing(serve: Serve, recovery: bool) -> None:
    server = await serve(**QUIET)
    options: dict[str, Any] = {"recovery": recovery, "transports": ("websocket",)}
    async with (
        client(server.url, **options) as opened,
        client(server.url, "pub", roles=PUBLISHER, **options) as publisher,
    ):
        alerts = await opened.channel("alerts")

        async def publish() -> None:
            for number in range(40):
                await publisher.publish("alerts", {"n": number})

        publishing = asyncio.create_task(publish())
        connection = await opened.connection("/trading")
        for _ in range(DROPS):
            await until_state(connection, "connected")
            await abort(server)
            await until_state(connection, "reconnecting")
        await publishing
        assert numbers(await some(alerts, 40)) == list(range(40))
        assert alerts.missed == 0


async def test_what_does_not_arrive_is_asked_for(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        alerts = await opened.channel("alerts")
        connection = await opened.connection("/trading")
        hear = alerts._event
        connection._handlers["*"].remove(hear)
        connection.on("*", lambda arrived: None if arrived[1].get("seq") == 2 else hear(arrived))
        for number in range(4):
            await opened.publish("alerts", {"n": number})
        assert numbers(await some(alerts, 4)) == [0, 1, 2, 3]


async def test_more_was_missed_than_the_server_has(serve: Serve) -> None:
    server = await serve(**QUIET)
    proxy = await Proxy.start("127.0.0.1", int(server.url.rpartition(":")[2]))
    url = f"http://127.0.0.1:{proxy.port}"
    async with client(url, recovery=False) as opened, client(server.url, "pub", roles=PUBLISHER) as publisher:
        alerts = await opened.channel("alerts")
        await publisher.publish("alerts", {"n": 0})
        await some(alerts, 1)
        proxy.refuse()
        await proxy.cut()
        for number in range(1, 61):
            await publisher.publish("alerts", {"n": number})
        await proxy.accept()
        assert numbers(await some(alerts, 50)) == list(range(11, 61))
        assert (alerts.missed, alerts.recovered) == (10, False)
    await proxy.close()


async def test_who_reads_late_is_told_how_much_was_dropped(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MOST_UNREAD", 5)
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        alerts = await opened.channel("alerts")
        for number in range(20):
            await opened.publish("alerts", {"n": number})
        assert numbers(await some(alerts, 5)) == [15, 16, 17, 18, 19]
        assert alerts.dropped == 15


async def test_all_of_a_class(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        await opened.publish("ticks:A", {"symbol": "A", "n": 0}, type="tick")
        ticks = await opened.channel("ticks:*")
        assert numbers(list(ticks.snapshot)) == [0]
        assert (ticks.seq, ticks.epoch) == (None, None)
        for number, symbol in enumerate("ABAB", 1):
            await opened.publish(f"ticks:{symbol}", {"symbol": symbol, "n": number}, type="tick")
        heard = await some(ticks, 4)
        assert [(each.channel, each.data["n"]) for each in heard] == [
            ("ticks:A", 1),
            ("ticks:B", 2),
            ("ticks:A", 3),
            ("ticks:B", 4),
        ]
        await abort(server)
        await opened.publish("ticks:C", {"symbol": "C", "n": 5}, type="tick")
        await opened.publish("ticks:A", {"symbol": "A", "n": 6}, type="tick")
        rest = await some(ticks, 2)
        assert sorted(numbers(rest)) == [5, 6]


async def test_saying_and_who_is_there(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url) as opened:
        general = await opened.channel("general")
        await general.say("테슬라")
        (said,) = await some(general, 1)
        assert (said.type, said.data["message"], said.data["user_id"]) == ("chat_message", "테슬라", "alice")
        assert (await general.presence())["count"] == 1


@pytest.mark.parametrize("name", ["user:bob", "nothing-like-it", ""])
async def test_what_one_may_not_hear(serve: Serve, name: str) -> None:
    server = await serve(**QUIET)
    async with client(server.url) as opened:
        with pytest.raises(Refused) as caught:
            await opened.channel(name)
        assert caught.value.code in ("FORBIDDEN", "INVALID_MESSAGE")
        with pytest.raises(Refused, match="FORBIDDEN"):
            await opened.publish("alerts", {})


async def test_published_once_however_often_it_is_sent(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        first = await opened.publish("alerts", {"n": 1}, idempotency_key="k")
        again = await opened.publish("alerts", {"n": 1}, idempotency_key="k")
        assert first["seq"] == again["seq"]


async def test_given_up_it_raises_why(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, policy="none") as opened:
        alerts = await opened.channel("alerts")
        reading = asyncio.create_task(some(alerts, 1))
        await server.runner.cleanup()
        with pytest.raises(Lost, match="GOING_AWAY"):
            await reading


async def test_a_server_that_forgot_all_begins_anew(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        Nodes(tmp_path, database_url=sqlite_url, redis_urls=[""]) as nodes,
        client(nodes.url(0), roles=PUBLISHER) as opened,
    ):
        alerts: Channel = await opened.channel("alerts")
        for number in range(3):
            await opened.publish("alerts", {"n": number})
        await nodes.kill(0)
        await until_state(await _connection(opened), "reconnecting")
        await nodes.start(0)
        assert (await opened.publish("alerts", {"n": 3}))["seq"] == 1
        assert numbers(await some(alerts, 4)) == [0, 1, 2, 3]


async def _connection(opened: Any) -> Any:
    return opened._connections["/trading"]


async def test_two_of_one_name_are_one_subscription(serve: Serve) -> None:
    server = await serve(**QUIET)
    async with client(server.url, roles=PUBLISHER) as opened:
        connection = await opened.connection("/trading")
        one, another = await opened.channel("alerts"), await opened.channel("alerts")
        assert connection.id
        await one.close()
        await opened.publish("alerts", {"n": 1})
        assert numbers(await some(another, 1)) == [1]
        with pytest.raises(Refused, match="FORBIDDEN"):
            await opened.channel("user:bob")
        await another.close()
        assert await connection.call("unsubscribe", {"channel": "alerts"}) == {"channel": "alerts", "success": False}
        third = await opened.channel("alerts")
        await opened.publish("alerts", {"n": 2})
        assert numbers(await some(third, 1)) == [2]
