"""A publisher as a process of its own: so many ticks a second, evenly, on ten symbols' channels.

`python -m tests.pages.ticking URL TOKEN RATE SECONDS` prints `publishing`, and at the end how many each symbol had and
how long it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import socketio

SYMBOLS = [f"T{number:03}" for number in range(10)]
STEP_SECONDS = 0.01
CLOSE = 50_000


async def main(url: str, token: str, rate: float, seconds: float) -> None:
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(url, namespaces=["/trading"], auth={"token": token}, transports=["websocket"])
    _say("publishing")
    count, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        while count < rate * passed:
            await client.emit("publish", _message(count), namespace="/trading")
            count += 1
        await asyncio.sleep(STEP_SECONDS)
    # Acks come in the order of events: with this one all that was published is in its channel.
    newest = {}
    for symbol in SYMBOLS:
        info = await client.call("channel_info", {"channel": f"ticks:{symbol}"}, namespace="/trading")
        newest[symbol] = info["seq"]
    _say(json.dumps({"published": count, "seconds": round(time.monotonic() - began, 2), "seq": newest}))
    await client.disconnect()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _message(count: int) -> dict[str, object]:
    symbol = SYMBOLS[count % len(SYMBOLS)]
    price = CLOSE + 50 * ((count * 7919) % 41 - 20)
    data = {"symbol": symbol, "name": f"Test {symbol}", "price": price, "change": price - CLOSE, "volume": 1}
    return {"channel": f"ticks:{symbol}", "type": "tick", "data": data}


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
