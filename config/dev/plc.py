"""A Modbus TCP device for `make run PLC=demo`: some machines whose registers change as time goes by.

It knows nothing of the server: config/equipment.toml says where its registers are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

DEVICE_ID = 1
HOLDING_REGISTERS = 16  # the function code that writes them
REGISTERS = 3  # of a machine: status, error, ready
STATES = {
    "running": (1, 0, 1),
    "idle": (0, 0, 1),
    "stopped": (0, 0, 0),
    "error": (0, 1, 0),
}
OFTEN = (6, 2, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5020, help="0 takes a free one (default: 5020)")
    parser.add_argument("--machines", type=int, default=4, help="how many (default: 4)")
    parser.add_argument("--step", type=float, default=4.0, help="seconds until the next machine changes (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of what they do (default: 1)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options))
    except RuntimeError as error:
        sys.exit(f"plc: {options.host}:{options.port}: {error}")


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    chance = random.Random(options.seed)  # noqa: S311 - a play, not a secret
    registers = [value for _ in range(options.machines) for value in pick(chance)]
    memory = SimData(0, values=registers, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(DEVICE_ID, [memory]), address=(options.host, options.port))
    await server.serve_forever(background=True)
    host, port = server.transport.sockets[0].getsockname()[:2]
    print(f"plc: {options.machines} machines on {host}:{port}", flush=True)  # noqa: T201
    playing = asyncio.create_task(play(server, chance, options))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({playing, stopped}, return_when=asyncio.FIRST_COMPLETED)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await server.shutdown()


async def play(server: ModbusTcpServer, chance: random.Random, options: argparse.Namespace) -> None:
    while True:
        await asyncio.sleep(options.step)
        first = chance.randrange(options.machines) * REGISTERS
        await server.async_setValues(DEVICE_ID, HOLDING_REGISTERS, first, list(pick(chance)))


def pick(chance: random.Random) -> tuple[int, int, int]:
    return STATES[chance.choices(list(STATES), OFTEN)[0]]


if __name__ == "__main__":
    main()
