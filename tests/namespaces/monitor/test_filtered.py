"""Who sees which machines, and hears of which alarms, on whole servers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from server.errors import Forbidden, NotFound
from server.identity import Identity
from server.namespaces.monitor.filters import ROOM
from server.namespaces.monitor.namespace import MOST_ALARM_ROOMS, MonitorNamespace
from server.realtime import memory, packets
from tests.conftest import Connect, Serve
from tests.namespaces.monitor import contract
from tests.support.client import PATIENCE, Client
from tests.support.raw import RawSocket, raw_socket
from tests.support.recovering import auth, raw_connect
from tests.support.redis import RedisServer
from tests.support.running import Running

UPPER, LOWER = "KRCWO12ELOA101", "KRCWO12ELOA102"
STATUS = "42/monitor,"
PERIOD = 0.2


def namespace(server: Running) -> MonitorNamespace:
    served = server.realtime.serving("/monitor")
    assert isinstance(served, MonitorNamespace)
    return served


def codes(payload: dict[str, Any]) -> list[str]:
    assert contract.faults("equipment_status", payload, range(contract.MACHINES + 1)) == []
    return [machine["equipment_code"] for machine in payload["equipment"]]


def sees(*wanted: str) -> Any:
    return lambda payload: codes(payload) == [*wanted]


# -- status ------------------------------------------------------------------------------------------------------


async def test_the_newest_of_what_it_asked_for_comes_at_once(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=3600)
    client = await connect(server, "/monitor")
    assert len(codes(await client.expect("equipment_status"))) == contract.MACHINES
    ack = await client.call("subscribe", {"equipment": [LOWER, UPPER, LOWER]})
    assert ack == {"ok": True, "equipment": [UPPER, LOWER]}  # in the order of the file
    await client.expect("equipment_status", sees(UPPER, LOWER))  # the next is due in an hour
    ack = await client.call("unsubscribe")
    assert len(ack["equipment"]) == contract.MACHINES
    await client.settle()
    assert [len(codes(each)) for each in client.payloads("equipment_status")] == [17, 2, 17]


async def test_from_then_on_it_sees_nothing_else(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    wide, narrow = await connect(server, "/monitor"), await connect(server, "/monitor")
    await narrow.call("subscribe", {"equipment": [LOWER]})
    seen = len(narrow.payloads("equipment_status"))
    for _ in range(4):
        await narrow.expect("equipment_status", sees(LOWER))
    assert all(codes(each) == [LOWER] for each in narrow.payloads("equipment_status")[seen:])
    assert all(len(codes(each)) == contract.MACHINES for each in wide.payloads("equipment_status"))


async def test_by_line_and_status(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    client = await connect(server, "/monitor")
    machines = namespace(server).equipment.machines
    line = machines[-1].line
    of_line = [each.code for each in machines if each.line == line]
    assert 0 < len(of_line) < contract.MACHINES
    await client.expect("equipment_status")
    assert (await client.call("subscribe", {"lines": [line]}))["equipment"] == of_line
    ack = await client.call("subscribe", {"lines": [line], "statuses": ["running", "idle"]})
    assert set(ack["equipment"]) <= set(of_line)
    assert (await client.call("subscribe", {"lines": [line], "equipment": [UPPER]}))["equipment"] == []
    seen = len(client.payloads("equipment_status"))
    await client.call("subscribe", {"statuses": ["running"]})
    for payload in [await client.expect("equipment_status") for _ in range(seen + 3)][seen:]:
        assert {machine["status"] for machine in payload["equipment"]} <= {"running"}


@pytest.mark.parametrize(
    ("payload", "details"),
    [
        ({"equipment": [UPPER, "KRCWO12ELOX999"]}, {"equipment": ["There is no 'KRCWO12ELOX999'."]}),
        ({"lines": ["nowhere"]}, {"lines": ["There is no 'nowhere'."]}),
        (
            {"statuses": ["on fire"]},
            {"statuses": {"0": ["Must be one of: running, idle, stopped, error, disconnected."]}},
        ),
        ({"equipment": []}, {"equipment": ["Length must be between 1 and 200."]}),
        ({"line": "a"}, {"line": ["Unknown field."]}),
    ],
)
async def test_a_filter_that_is_none_changes_nothing(
    serve: Serve, connect: Connect, payload: dict[str, Any], details: dict[str, Any]
) -> None:
    server = await serve(MONITOR_PERIOD=0.1)
    client = await connect(server, "/monitor")
    await client.call("subscribe", {"equipment": [UPPER]})
    ack = await client.call("subscribe", payload)
    assert (ack["error"]["code"], ack["error"]["details"]) == ("INVALID_MESSAGE", details)
    seen = len(client.payloads("equipment_status"))
    for _ in range(seen + 2):
        await client.expect("equipment_status")
    assert all(codes(each) == [UPPER] for each in client.payloads("equipment_status")[seen:])


async def enter(raw: RawSocket, payload: object = None) -> None:
    await raw.send("40/monitor,")
    await raw.expect("40/monitor,")
    await raw.expect(f'{STATUS}["equipment_status"')
    if payload is not None:
        await raw.send(f"42/monitor,1{json.dumps(['subscribe', payload])}")
        await raw.expect("43/monitor,1[")


async def test_a_status_is_encoded_once_for_each_filter(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 clients, three filters written in several ways, and those who have none."""
    server = await serve(MONITOR_PERIOD=3600)
    written = [
        {"equipment": [UPPER, LOWER]},
        {"equipment": [LOWER, UPPER, UPPER]},
        {"statuses": ["error", "stopped"]},
        {"statuses": ["stopped", "error"]},
        {"equipment": [UPPER], "lines": None},
        None,
    ]
    async with AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(raw_socket(server.url)) for _ in range(200)]
        await asyncio.gather(*(enter(raw, written[number % len(written)]) for number, raw in enumerate(raws)))
        encoded = Counter[str]()
        encode = packets.encode

        def counted(kind: int, namespace: str, arguments: list[Any]) -> Any:
            encoded[arguments[0]] += 1
            return encode(kind, namespace, arguments)

        monkeypatch.setattr(memory, "encode", counted)
        served = namespace(server)
        served._show(served.service.snapshot())
        texts = await asyncio.gather(*(raw.expect(f'{STATUS}["equipment_status"') for raw in raws))
        assert encoded == {"equipment_status": 4}
    assert [len(codes(json.loads(text.removeprefix(STATUS))[1])) for text in texts[:2]] == [2, 2]
    assert len(set(texts)) == 4


async def test_nobody_s_filters_are_kept(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=3600)
    client = await connect(server, "/monitor")
    for machine in namespace(server).equipment.machines:
        await client.call("subscribe", {"equipment": [machine.code]})
    (left,) = namespace(server)._filters
    (connection,) = namespace(server).connections
    assert [room for room in connection.rooms if room.startswith(ROOM)] == [left]
    await client.close()
    async with asyncio.timeout(PATIENCE):
        while namespace(server)._filters:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


@pytest.mark.undeclared("alarms of fewer fields")
async def test_a_filter_has_room_in_few_rooms(serve: Serve, connect: Connect) -> None:
    """As many alarms' rooms as a connection may not enter are one."""
    server = await serve(MONITOR_PERIOD=0.1, WS_MAX_ROOMS=10)
    client = await connect(server, "/monitor")
    served = namespace(server)
    ack = await client.call("subscribe", {"equipment": [each.code for each in served.equipment.machines]})
    assert len(ack["equipment"]) == contract.MACHINES < MOST_ALARM_ROOMS
    (connection,) = served.connections
    assert len(connection.rooms) <= 10
    await served.alarm({"equipment_code": UPPER})
    await client.expect("equipment_alarm")


@pytest.mark.undeclared("alarms of fewer fields")
async def test_who_comes_back_sees_what_it_asked_for(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=PERIOD)
    async with raw_socket(server.url) as raw:
        pid = (await raw_connect(raw, "/monitor"))["pid"]
        await raw.send(f"42/monitor,1{json.dumps(['subscribe', {'equipment': [UPPER]}])}")
        await raw.expect("43/monitor,1[")
    await namespace(server).alarm({"equipment_code": UPPER, "n": 1})
    await namespace(server).alarm({"equipment_code": LOWER, "n": 2})
    async with raw_socket(server.url) as raw:
        await raw.send(f"40/monitor,{json.dumps(auth(pid=pid))}")
        missed = json.loads((await raw.expect(f'{STATUS}["equipment_alarm"')).removeprefix(STATUS))
        assert missed[1] == {"equipment_code": UPPER, "n": 1}
        assert pid in await raw.expect("40/monitor,")
        for _ in range(3):
            text = await raw.expect(f'{STATUS}["equipment_status"')
            assert codes(json.loads(text.removeprefix(STATUS))[1]) == [UPPER]


# -- alarms ------------------------------------------------------------------------------------------------------


async def hears(client: Client, count: int) -> list[int]:
    while len(client.payloads("equipment_alarm")) < count:
        await client.expect("equipment_alarm")
    await client.settle()
    return [each["n"] for each in client.payloads("equipment_alarm")]


@pytest.mark.undeclared("alarms of fewer fields")
async def test_alarms_come_to_whoever_wants_to_see_the_machine_on_all_nodes(serve: Serve, connect: Connect) -> None:
    """And who drops and comes back on another node sees there what it asked for on the first."""
    async with RedisServer() as redis:
        environ = {"REDIS_URL": redis.url, "MONITOR_PERIOD": PERIOD, "TRADING_FEED": "none"}
        servers = [await serve(**environ) for _ in range(2)]
        machines = namespace(servers[0]).equipment.machines
        wanted: list[tuple[dict[str, Any], list[int]]] = [
            ({}, [1, 2, 3]),
            ({"equipment": [UPPER]}, [1, 3]),
            ({"lines": [machines[-1].line]}, [2]),
            ({"statuses": ["running"]}, [1, 2, 3]),
            ({"equipment": [LOWER], "statuses": ["error"]}, []),
        ]
        clients = [(await connect(server, "/monitor"), *each) for server in servers for each in wanted]
        for client, payload, _ in clients:
            assert (await client.call("subscribe", payload))["ok"]
        async with raw_socket(servers[0].url) as raw:
            pid = (await raw_connect(raw, "/monitor"))["pid"]
            await raw.send(f"42/monitor,1{json.dumps(['subscribe', {'equipment': [UPPER]}])}")
            await raw.expect("43/monitor,1[")
        for number, code in enumerate((UPPER, machines[-1].code, UPPER), start=1):
            await namespace(servers[number % 2]).alarm({"equipment_code": code, "n": number})
        for client, _, heard in clients:
            assert sorted(await hears(client, len(heard))) == heard
        async with raw_socket(servers[1].url) as raw:
            assert (await raw_connect(raw, "/monitor", pid=pid))["pid"] == pid
            text = await raw.expect(f'{STATUS}["equipment_status"')
            assert codes(json.loads(text.removeprefix(STATUS))[1]) == [UPPER]
        for server in servers:
            await server.realtime.stop()


class Shelf:
    """An AlarmService of one alarm, `a`."""

    async def list_alarms(self, active: bool) -> list[dict[str, object]]:
        return [{"alarm_id": "a"}] if active else []

    async def acknowledge(self, identity: Identity, alarm_id: str, comment: str | None) -> dict[str, object]:
        return self._found(identity, alarm_id) | {"by": identity.user_id, "comment": comment}

    async def shelve(self, identity: Identity, alarm_id: str, minutes: int, comment: str | None) -> dict[str, object]:
        return self._found(identity, alarm_id) | {"minutes": minutes}

    async def unshelve(self, identity: Identity, alarm_id: str) -> dict[str, object]:
        return self._found(identity, alarm_id)

    def _found(self, identity: Identity, alarm_id: str) -> dict[str, object]:
        if not identity.has_role("operator"):
            raise Forbidden
        if alarm_id != "a":
            raise NotFound
        return {"alarm_id": alarm_id}


CALLS: Sequence[tuple[str, dict[str, object], object]] = [
    ("alarms", {}, {"alarms": [{"alarm_id": "a"}]}),
    ("alarms", {"state": "past"}, {"alarms": []}),
    ("alarms", {"state": "any"}, "INVALID_MESSAGE"),
    (
        "alarm_acknowledge",
        {"alarm_id": "a", "comment": "seen"},
        {"alarm": {"alarm_id": "a", "by": "bob", "comment": "seen"}},
    ),
    ("alarm_acknowledge", {"alarm_id": "b"}, "NOT_FOUND"),
    ("alarm_shelve", {"alarm_id": "a", "minutes": 5}, {"alarm": {"alarm_id": "a", "minutes": 5}}),
    ("alarm_shelve", {"alarm_id": "a"}, "INVALID_MESSAGE"),
    ("alarm_shelve", {"alarm_id": "a", "minutes": 0}, "INVALID_MESSAGE"),
    ("alarm_unshelve", {"alarm_id": "a"}, {"alarm": {"alarm_id": "a"}}),
    ("alarm_unshelve", {"alarm_id": "\0"}, "INVALID_MESSAGE"),
]


@pytest.mark.undeclared("alarms of fewer fields")
async def test_what_is_done_about_alarms(serve: Serve, connect: Connect) -> None:
    server = await serve(MONITOR_PERIOD=3600)
    operator = await connect(server, "/monitor", "bob", roles=("operator",))
    visitor = await connect(server, "/monitor")
    namespace(server).alarms = Shelf()
    for event, payload, answer in CALLS:
        ack = await operator.call(event, payload)
        assert (ack["error"]["code"] if isinstance(answer, str) else ack) == (
            answer if isinstance(answer, str) else {"ok": True, **answer}  # type: ignore[dict-item]
        )
    assert (await visitor.call("alarm_unshelve", {"alarm_id": "a"}))["error"]["code"] == "FORBIDDEN"
    namespace(server).alarms = None
    for event, payload, answer in CALLS:
        if not isinstance(answer, str):
            assert (await operator.call(event, payload))["error"]["code"] == "NOT_FOUND"
