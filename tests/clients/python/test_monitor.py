from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients.python import Lost, Refused
from clients.python.monitor import Machine
from tests.clients.python.opening import client, some, until_state
from tests.conftest import Serve
from tests.support.client import PATIENCE
from tests.support.recovering import abort

CODE = "KRCWO12ELOA101"


async def test_all_machines_again_and_again(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    async with client(server.url, lambda: None) as opened:
        monitor = await opened.monitor()
        first, second = await some(monitor, 2)
        assert len(first.machines) == len(second.machines) == 17
        assert first.timestamp < second.timestamp
        assert (first.machines[0].code, first.machines[0].name) == (CODE, "Upper 로봇 용접")
        assert len(monitor.machines) == 17


async def test_who_reads_slowly_gets_the_newest(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    async with client(server.url) as opened:
        monitor = await opened.monitor()
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        (await opened.connection("/monitor")).on("equipment_status", arrived.put_nowait)
        async with asyncio.timeout(PATIENCE):
            for _ in range(5):
                newest = await arrived.get()
        while not arrived.empty():
            newest = arrived.get_nowait()
        (status,) = await some(monitor, 1)
        assert status.timestamp == newest["timestamp"]


@pytest.mark.parametrize("recovery", [True, False])
async def test_what_is_wanted_holds_over_drops(serve: Serve, recovery: bool) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    async with client(server.url, recovery=recovery) as opened:
        monitor = await opened.monitor(equipment=[CODE])
        await some(monitor, 1)
        connection = await opened.connection("/monitor")
        await abort(server)
        await until_state(connection, "reconnecting")
        await until_state(connection, "connected")
        await connection.call("ping", {})
        assert [[machine.code for machine in status.machines] for status in await some(monitor, 3)][1:] == [[CODE]] * 2


async def test_what_there_is_not(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        with pytest.raises(Refused, match="There is no 'X'"):
            await opened.monitor(equipment=["X"])


async def test_alarms_are_heard_listed_and_answered(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    async with client(server.url, "op", roles=("operator",)) as opened, client(server.url) as other:
        monitor = await opened.monitor()
        async with asyncio.timeout(50):
            async for alarm in monitor.alarms():
                if alarm["state"] == "raised":
                    break
        assert alarm["alarm_id"] in [each["alarm_id"] for each in await monitor.list_alarms()] + [
            each["alarm_id"] for each in await monitor.list_alarms("past")
        ]
        with pytest.raises(Refused, match="FORBIDDEN"):
            await (await other.monitor()).acknowledge(alarm["alarm_id"])
        shelved = await monitor.shelve(alarm["alarm_id"], 5, "known")
        assert shelved["shelved_until"]
        await monitor.unshelve(alarm["alarm_id"])


async def test_all_are_gray_once_the_link_is_given_up(serve: Serve) -> None:
    server = await serve(MONITOR_PERIOD=0.05)
    async with client(server.url, policy="none") as opened:
        monitor = await opened.monitor()
        await some(monitor, 1)
        await server.runner.cleanup()
        with pytest.raises(Lost, match="GOING_AWAY"):
            await some(monitor, 1000)
        assert {(machine.status, machine.connection) for machine in monitor.machines} == {("disconnected", False)}
        assert len(monitor.machines) == 17


def test_a_machine_without_tags() -> None:
    machine = Machine.from_wire({"equipment_code": "a", "equipment_name": "b", "status": "idle"})
    assert (machine.connection, machine.quality) == (False, "good")
