"""A reader whose link is too slow for the ticks of 200 symbols: what it hears of them, and of alerts meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict

import aiohttp

from tests.conftest import Serve
from tests.support import running
from tests.support.client import PATIENCE
from tests.support.raw import WEBSOCKET

SYMBOLS, ROUNDS = 200, 30


def slow_socket(_: object) -> socket.socket:
    """The kernel takes 8 KB for it."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    return slow


async def test_it_hears_the_newest_of_each_symbol_how_many_it_missed_and_every_alert(serve: Serve) -> None:
    server = await serve(TRADING_FEED="none")
    service = server.realtime._served["/trading"].service  # type: ignore[attr-defined]
    connector = aiohttp.TCPConnector(socket_factory=slow_socket)
    async with aiohttp.ClientSession(connector=connector) as http, http.ws_connect(server.url + WEBSOCKET) as reader:
        await reader.send_str("40/trading," + json.dumps({"token": running.token("alice")}))
        for number, channel in enumerate(("ticks:*", "alerts")):
            await reader.send_str(f"42/trading,{number}" + json.dumps(["subscribe", {"channel": channel}]))
        acks = 0
        while acks < 2:
            acks += (await reader.receive_str()).startswith("43")
        reader._reader._protocol.pause_reading()
        for price in range(1, ROUNDS + 1):
            for symbol in range(SYMBOLS):
                await service.announce(f"ticks:{symbol}", "tick", {"symbol": str(symbol), "price": price})
            await service.announce("alerts", "alert", {"round": price, "text": "x" * 1000})
            await asyncio.sleep(0)
        assert server.realtime.eio.outlet.counters.conflated > 1000
        reader._reader._protocol.resume_reading()
        heard: dict[str, list[tuple[int, int]]] = defaultdict(list)
        alerts: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while len(alerts) < ROUNDS or sum(told[-1][0] == ROUNDS for told in heard.values()) < SYMBOLS:
                text = await reader.receive_str()
                if not text.startswith("42"):
                    continue
                event, payload = json.loads(text.removeprefix("42/trading,"))
                if event == "alert":
                    alerts.append(payload["data"]["round"])
                elif event == "tick":
                    assert payload["data"]["price"] == payload["seq"]
                    heard[payload["data"]["symbol"]].append((payload["seq"], payload.get("conflated", 0)))
    assert alerts == list(range(1, ROUNDS + 1))
    for told in heard.values():
        seen = 0
        for seq, conflated in told:
            assert seq == seen + 1 + conflated
            seen = seq
