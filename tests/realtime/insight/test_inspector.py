from __future__ import annotations

from types import SimpleNamespace

import pytest

from server.realtime.insight.gathering import Gathering
from server.realtime.insight.inspector import Inspector
from server.realtime.others import NoOthers
from tests.support import echo
from tests.support.client import Client
from tests.support.running import token

pytestmark = pytest.mark.undeclared("its namespace is one of tests")


async def test_each_second_is_counted_and_judged() -> None:
    async with echo.serving() as (running, namespace):
        redis, lost = SimpleNamespace(up=False, id="n1"), {"M1": "Press"}
        held = SimpleNamespace(waits_for_redis=7, given_up=2)
        inspector = Inspector(
            namespace.server,
            Gathering(NoOthers()),
            version="1.2.3",
            redis=redis,
            held=held,
            lost_sources=lambda: dict(lost),
        )
        await inspector.start()
        client = Client("/echo")
        await client.connect(running.url, token("alice"))
        await client.call("no such event", {})
        await inspector.second(100)
        [node] = (await inspector.nodes())["nodes"]
        assert (node["node"], node["this"], node["version"]) == ("n1", True, "1.2.3")
        assert (node["redis"]["state"], node["redis"]["held"], node["redis"]["lost"]) == ("lost", 7, 2)
        assert (node["connections"], node["rates"]["events_in"]) == ({"/echo": 1}, 1)
        states = {each["id"]: each["state"] for each in (await inspector.alerts())["alerts"]}
        assert states == {"n1:redis_lost": "firing", "n1:source_lost:M1": "firing"}
        redis.up = True
        lost.clear()
        await inspector.second(101)
        states = {each["id"]: each["state"] for each in (await inspector.alerts())["alerts"]}
        assert states == {"n1:redis_lost": "resolved", "n1:source_lost:M1": "resolved"}
        assert (await inspector.figures(after=None, seconds=10))["totals"]["/echo"]["errors"] == 1
        assert (await inspector.figures(after=None, seconds=10, node="another"))["nodes"] == []
        await client.close()
