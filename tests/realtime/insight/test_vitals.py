from __future__ import annotations

import asyncio
import time

from server.realtime.insight.vitals import Pulse


async def test_what_the_process_takes() -> None:
    pulse = Pulse()
    vitals = await pulse.second()
    assert (vitals.rss_bytes or 0) > 1_000_000
    assert (vitals.threads or 0) >= 1
    assert (vitals.open_files or 0) > 0
    assert vitals.cpu_percent is not None


async def test_a_loop_that_is_held_up_is_late() -> None:
    pulse = Pulse()
    probing = asyncio.create_task(pulse.probe())
    await asyncio.sleep(0)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        """Nobody else gets a turn."""
    await asyncio.sleep(0.01)
    late = (await pulse.second()).lag
    assert 0.05 < late < 1
    assert (await pulse.second()).lag < late
    assert pulse.vitals.lag_peak > 0.05
    probing.cancel()
