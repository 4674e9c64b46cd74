"""What real clients make a server remember of them."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from server.realtime.recovery import Bounds
from server.realtime.rooms import EVERYONE
from tests.support import echo
from tests.support.client import PATIENCE
from tests.support.raw import POLLING, WEBSOCKET, raw_socket
from tests.support.recovering import auth
from tests.support.running import token

pytestmark = pytest.mark.undeclared("its namespace is one of tests")


async def test_who_comes_by_polling_and_goes_on_by_websocket() -> None:
    async with echo.serving() as (running, namespace), aiohttp.ClientSession() as http:
        insight, url = namespace.server.insight, running.url + POLLING
        async with http.get(url) as opened:
            sid = json.loads((await opened.text())[1:])["sid"]
        async with http.post(f"{url}&sid={sid}", data="40/echo," + json.dumps({"token": token()})) as posted:
            assert posted.status == 200
        async with http.get(f"{url}&sid={sid}") as polled:
            assert (await polled.text()).startswith("40/echo,")
        async with http.ws_connect(f"{running.url}{WEBSOCKET}&sid={sid}") as socket:
            await socket.send_str("2probe")
            assert await socket.receive_str() == "3probe"
            await socket.send_str("5")
            await socket.send_str('42/echo,0["ping",{}]')
            async with asyncio.timeout(PATIENCE):
                while not (await socket.receive_str()).startswith("43/echo,0"):
                    """It is told more before."""
            assert [each.what for each in record_of(namespace).events] == ["connected", "upgraded"]
            assert record_of(namespace).transport == "websocket"
            assert (insight.meters["/echo"].connects, insight.behind) == (1, set())
            await socket.send_str("41/echo,")
            await asyncio.wait_for(namespace.gone_event.wait(), PATIENCE)
        assert insight.meters["/echo"].disconnects["client"] == 1
        assert record_of(namespace).gone_at is not None


async def test_recoveries_by_result() -> None:
    async with echo.serving(recovery=Bounds()) as (running, namespace):
        meter = namespace.server.insight.meters["/echo"]
        async with raw_socket(running.url) as raw:
            await raw.send("40/echo," + json.dumps(auth()))
            greeting = json.loads((await raw.expect("40/echo,")).removeprefix("40/echo,"))
            assert meter.recoveries == {"opened": 1, "refused": 0, "resumed": 0}
            offset = json.loads((await raw.expect('42/echo,["connected"')).removeprefix("42/echo,"))[-1]
            raw.socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await asyncio.wait_for(namespace.gone_event.wait(), PATIENCE)
        for pid, whats in ((greeting["pid"], ["resumed"]), ("made up", ["connected", "not_resumed"])):
            async with raw_socket(running.url) as raw:
                await raw.send("40/echo," + json.dumps(auth(pid=pid, offset=offset)))
                sid = json.loads((await raw.expect("40/echo,")).removeprefix("40/echo,"))["sid"]
                await raw.expect('42/echo,["connected"')
                found = namespace.server.insight.recorder.find(sid)
                assert found is not None
                assert [each.what for each in found.events][-len(whats) :] == whats
        assert meter.recoveries == {"opened": 1, "refused": 1, "resumed": 1}
        assert meter.disconnects["transport"] >= 1


async def test_the_writes_to_clients_that_can_come_back_are_timed() -> None:
    async with echo.serving(recovery=Bounds()) as (running, namespace), raw_socket(running.url) as raw:
        await raw.send("40/echo," + json.dumps(auth()))
        await raw.expect('42/echo,["connected"')
        before = sum(namespace.meter.write.counts)
        await namespace.emit("said", {}, room=EVERYONE)
        await raw.expect('42/echo,["said"')
        assert sum(namespace.meter.write.counts) == before + 1


async def test_a_name_that_a_client_made_up_is_not_metered() -> None:
    async with echo.serving() as (running, namespace):
        async with raw_socket(running.url) as raw:
            await raw.send("40/made-up,")
            await raw.expect("44/made-up,")
        assert set(namespace.server.insight.meters) == {"/echo"}


def record_of(namespace: echo.EchoNamespace):  # type: ignore[no-untyped-def]
    [record] = namespace.server.insight.recorder
    return record
