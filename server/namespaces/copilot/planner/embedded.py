"""The planner that needs no LLM: from a query to a dataset, to its rows, to figures computed from them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial

from server.errors import NoData
from server.namespaces.copilot.planner import fetching, phrases, ranking, timeframe, words
from server.namespaces.copilot.planner.answers import Answer, answer
from server.namespaces.copilot.planner.fetching import Budget
from server.namespaces.copilot.planner.planning import Client, Progress
from server.namespaces.copilot.planner.ranking import Choice, Dataset
from server.namespaces.copilot.planner.timeframe import Timeframe
from server.timestamps import utc_now

MAX_CLARIFICATIONS = 2  # of one kind


def _today() -> date:
    return utc_now().date()


class EmbeddedPlanner:
    """`planning.Planner`."""

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        today: Callable[[], date] = _today,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`budget` is of one query; `clock` is in seconds."""
        self._budget = budget or Budget()
        self._today = today
        self._clock = clock

    async def close(self) -> None:
        """It holds nothing."""

    async def answer(self, text: str, client: Client, progress: Progress) -> Answer:
        """Raises NoData where the data does not hold the answer, or the person does not say what is meant."""
        korean = words.is_korean(text)
        await progress("requesting_data")
        datasets = [Dataset.from_wire(each) for each in await client.available_data(text)]
        if not datasets:
            raise NoData(phrases.no_datasets(korean=korean))
        choice = await asyncio.to_thread(ranking.choose, text, datasets)
        dataset = choice.winner or await self._ask_dataset(choice, datasets, client, progress, korean=korean)
        today = self._today()
        frame = timeframe.read(text, today)
        if frame.missing:
            frame = await self._ask_period(frame, today, client, progress, korean=korean)
        await progress("fetching")
        filters = fetching.filters(text, dataset)
        asked = fetching.params(text, dataset, frame.span, filters)
        fetched = await fetching.fetch(client, dataset.name, asked, budget=self._budget, clock=self._clock)
        if not any(fetched.rows):
            raise NoData(phrases.no_rows(dataset.name, frame.span, korean=korean))
        await progress("answering")
        compute = partial(
            answer,
            frame=frame,
            filters=filters,
            about=None if choice.winner is None else dataset.about,
            complete=fetched.complete,
        )
        # Thousands of rows take longer than the event loop has.
        return await asyncio.to_thread(compute, text, dataset.name, fetched.rows, today)

    async def _ask_dataset(
        self, choice: Choice, datasets: Sequence[Dataset], client: Client, progress: Progress, *, korean: bool
    ) -> Dataset:
        for _ in range(MAX_CLARIFICATIONS):
            await progress("clarifying")
            question = phrases.which_dataset(choice, korean=korean)
            said = await client.clarify(question, [dataset.name for dataset in choice.candidates])
            picked = ranking.pick(said, choice.candidates) or ranking.pick(said, datasets)
            if picked is not None:
                return picked
        raise NoData(phrases.no_choice(korean=korean))

    async def _ask_period(
        self, frame: Timeframe, today: date, client: Client, progress: Progress, *, korean: bool
    ) -> Timeframe:
        for _ in range(MAX_CLARIFICATIONS):
            await progress("clarifying")
            said = await client.clarify(phrases.which_period(korean=korean), phrases.periods_offered(korean=korean))
            found = timeframe.answered(said, today, frame)
            if found is not None:
                return found
        raise NoData(phrases.no_period(korean=korean))
