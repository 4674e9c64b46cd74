from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.realtime.insight.gathering import Gathering
from server.realtime.others import Body, NoOthers


class Others(NoOthers):
    async def ask_each(self, verb: str, body: Body) -> Mapping[str, Body | None]:
        return {"b": {"of": "b", **body}, "c": None, "d": {"error": {"code": "FORBIDDEN"}}}


async def here(body: Body) -> dict[str, Any]:
    return {"of": "here", **body}


async def test_alone() -> None:
    gathering = Gathering(NoOthers())
    gathering.on("count", here)
    found = await gathering.ask("count", {"x": 1})
    assert (found.answers, found.silent) == ([{"of": "here", "x": 1}], [])


async def test_this_nodes_answer_is_first_and_who_gives_none_is_named() -> None:
    gathering = Gathering(Others())
    gathering.on("count", here)
    found = await gathering.ask("count", {"x": 1})
    assert [each["of"] for each in found.answers] == ["here", "b"]
    assert found.silent == ["c", "d"]
