"""Modbus devices as of `make run PLC=demo`, several in one process: `python -m ... MACHINES PORT...`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from config.dev import plc

STEP_SECONDS = 1.0


async def serve(machines: int, ports: list[int]) -> None:
    async with asyncio.TaskGroup() as group:
        for port in ports:
            options = argparse.Namespace(host="127.0.0.1", port=port, machines=machines, step=STEP_SECONDS, seed=port)
            group.create_task(plc.serve(options), name=f"plc {port}")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(each) for each in sys.argv[2:]]))
