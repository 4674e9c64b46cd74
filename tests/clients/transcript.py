"""The README's transcripts: what scenario.mjs prints, shortened so that two runs print the same.

python -m tests.clients.transcript    writes them into README.md
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

from server.migrations import upgrade
from tests.support.process import ROOT, running
from tests.support.running import settings, start, token

README = ROOT / "README.md"
SCENARIOS = ("monitor", "trading", "chat", "copilot", "refused")
CHANGING = {"connection_id", "client_id", "message_id", "trace_id", "requestId", "query_id", "epoch", "latency_ms"}
TIMES = {"server_time", "timestamp", "time", "created_at", "last_updated", "last_activity"}
OF_A_TICK = {"seq", "price", "change", "volume"}
AT_MOST = 2  # of the same line in a row


def shorten(lines: list[str]) -> list[str]:
    parsed = [line.split(" ", 2) for line in lines]
    shown = []
    for (mark, name), group in groupby(parsed, key=lambda line: (line[0], line[1])):
        run = list(group)
        for _, _, payload in run[:AT_MOST]:
            still = _still(json.loads(payload), hidden=CHANGING | TIMES)
            shown.append(f"{mark} {name} {json.dumps(still, ensure_ascii=False, separators=(',', ':'))}")
        if len(run) > AT_MOST and name != "tick":  # how many ticks come is the market's affair
            shown.append(f"{mark} … {len(run) - AT_MOST} more {name}")
    return shown


def _still(value: Any, *, hidden: set[str]) -> Any:
    """Without what differs from run to run, and of a list its first item."""
    if isinstance(value, dict):
        if str(value.get("channel", "")).startswith("ticks:"):
            hidden = hidden | OF_A_TICK | {"snapshot"}
        return {key: "…" if key in hidden else _still(each, hidden=hidden) for key, each in value.items()}
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict):
        return [_still(value[0], hidden=hidden), "…"]
    if isinstance(value, list):
        return [_still(each, hidden=hidden) for each in value]
    return value


async def play(scenario: str, url: str) -> list[str]:
    signed = token("js", roles=["publisher"])
    program = Path(__file__).with_name("scenario.mjs")
    async with running("node", program, scenario, url, signed, "websocket") as process:
        assert await process.finish() == 0, process.output
        return shorten(process.output.splitlines())


def with_transcript(text: str, scenario: str, lines: list[str]) -> str:
    block = f"<!-- transcript: {scenario} -->\n```\n" + "\n".join(lines) + "\n```\n"
    pattern = rf"<!-- transcript: {scenario} -->\n```\n.*?\n```\n"
    assert re.search(pattern, text, re.DOTALL), f"README.md has no transcript of {scenario}"
    return re.sub(pattern, lambda _: block, text, flags=re.DOTALL)


async def renew() -> None:
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/atrium.db"
        given = settings(DATABASE_URL=url)
        await asyncio.to_thread(upgrade, given.database_url)
        server = await start(given)
        text = README.read_text()
        for scenario in SCENARIOS:
            text = with_transcript(text, scenario, await play(scenario, server.url))
        README.write_text(text)
        await server.runner.cleanup()


if __name__ == "__main__":
    asyncio.run(renew())
