"""What holds for every planner that the service may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from server.errors import ClientTimeout
from server.namespaces.copilot.planner.embedded import EmbeddedPlanner
from server.namespaces.copilot.planner.planning import Planner
from tests.support.planner import Straight

COSTS = {"name": "aws_costs", "description": "AWS cost", "columns": ["date", "service", "cost"]}


class Offering:
    async def available_data(self, query: str) -> Sequence[Mapping[str, object]]:
        return [COSTS]

    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
        return [{"cost": 10}, {"cost": 5}]

    async def clarify(self, question: str, options: Sequence[str]) -> str:
        return options[0]


class Silent(Offering):
    async def rows(self, dataset: str, params: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
        raise ClientTimeout


@pytest.mark.parametrize("planner", [EmbeddedPlanner(), Straight()])
async def test_an_answer_names_its_sources_and_says_how_it_goes(planner: Planner) -> None:
    stages: list[str] = []

    async def progress(stage: str) -> None:
        stages.append(stage)

    answer = await planner.answer("total cost", Offering(), progress)
    assert [source["dataset"] for source in answer.sources] == ["aws_costs"]
    assert answer.data["overall"] == 15
    assert stages[0] == "requesting_data"


@pytest.mark.parametrize("planner", [EmbeddedPlanner(), Straight()])
async def test_a_client_that_does_not_answer_ends_it(planner: Planner) -> None:
    async def progress(stage: str) -> None: ...

    with pytest.raises(ClientTimeout):
        await planner.answer("total cost", Silent(), progress)
