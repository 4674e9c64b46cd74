"""What one query may request of its client for a model, and what has been fetched: a model proposes, this decides.

No row's text comes back from here while requests can still be made: what a row says can start none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date

from server.errors import NoData
from server.namespaces.copilot.planner import fetching, llm_prompt, phrases, ranking, timeframe, words
from server.namespaces.copilot.planner.answers import Answer, answer
from server.namespaces.copilot.planner.fetching import Budget, Fetched
from server.namespaces.copilot.planner.llm_replies import Call
from server.namespaces.copilot.planner.llm_tools import AvailableData, Clarification, Refused, Rows, read
from server.namespaces.copilot.planner.planning import Client, Progress
from server.namespaces.copilot.planner.ranking import Dataset
from server.namespaces.copilot.planner.timeframe import Timeframe

YES = frozenset(("yes", "y", "ok", "okay", "예", "네", "응"))


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one query. `seconds` are without those that the person takes; `size` is about the bytes of all rows as JSON,
    `catalogue_size` and `rows_size` the bytes of them that a model is shown."""

    model_calls: int = 8
    tool_calls: int = 16
    fetches: int = 6
    clarifications: int = 2
    seconds: float = 90.0
    rows: int = 100_000
    size: int = 32 * 1024 * 1024
    pages: int = 1000
    catalogue_size: int = 16_000
    rows_size: int = 48_000


@dataclass(frozen=True, slots=True)
class Result:
    """Rows, and what was computed from them; `found` tells why nothing could be."""

    request: Rows
    fetched: Fetched
    found: Answer | NoData

    def shown(self, size: int) -> dict[str, object]:
        """With as many rows as `size` bytes hold, and without the figures where these alone are more."""
        computed: dict[str, object] = (
            {"note": self.found.message}
            if isinstance(self.found, NoData)
            else {"figures": self.found.data, "said": self.found.text}
        )
        data: dict[str, object] = {
            "dataset": self.request.dataset,
            "period": self.request.period.to_wire() if self.request.period else None,
            "rows_read": len(self.fetched.rows),
            "complete": self.fetched.complete,
            **computed,
        }
        left = size - len(llm_prompt.encoded(data).encode())
        if left < 0:
            said = self.found.message if isinstance(self.found, NoData) else self.found.text
            return {"dataset": self.request.dataset, "rows_read": len(self.fetched.rows), "said": said[: size // 4]}
        return {**data, "first_rows": llm_prompt.rows(self.fetched.rows, left)}


@dataclass(slots=True, eq=False)
class Requests:
    """`unhurried` is entered while the person thinks. `short`: the budget kept the model from what it wanted."""

    text: str
    client: Client
    progress: Progress
    limits: Limits
    today: date
    clock: Callable[[], float] = time.monotonic
    unhurried: Callable[[], AbstractContextManager[None]] = nullcontext
    results: list[Result] = field(default_factory=list)
    short: bool = False
    _datasets: dict[str, Dataset] | None = None
    _catalogue: dict[str, object] = field(default_factory=dict)
    _spoken_of: set[str] = field(default_factory=set)
    _fetched: dict[str, Fetched] = field(default_factory=dict)
    _calls: int = 0
    _clarified: int = 0

    async def make(self, call: Call) -> dict[str, object]:
        """What the model is told. Raises Refused, and as the client does."""
        self._calls += 1
        if self.exhausted:
            self.short = True
            raise Refused("No more calls may be made.")
        match read(call):
            case AvailableData():
                return await self._available_data()
            case Rows() as request:
                return await self._rows(request)
            case Clarification(question, options):
                return {"answer": await self._clarify(question, options)}

    @property
    def exhausted(self) -> bool:
        return self._calls > self.limits.tool_calls

    @property
    def nothing_offered(self) -> bool:
        return self._datasets == {}

    async def _available_data(self) -> dict[str, object]:
        if self._datasets is None:
            await self.progress("requesting_data")
            offered = [Dataset.from_wire(each) for each in await self.client.available_data(self.text)]
            self._datasets = {dataset.name: dataset for dataset in offered}
            self._catalogue = await asyncio.to_thread(self._ranked, list(self._datasets.values()))
        return self._catalogue

    def _ranked(self, datasets: list[Dataset]) -> dict[str, object]:
        """Takes time in proportion to what the datasets say of themselves."""
        scores = {dataset.name: ranking.score(self.text, dataset) for dataset in datasets}
        self._spoken_of |= {name for name, score in scores.items() if score > 0 or len(datasets) == 1}
        ranked = sorted(datasets, key=lambda dataset: scores[dataset.name], reverse=True)
        return llm_prompt.catalogue(ranked, self.limits.catalogue_size)

    async def _rows(self, request: Rows) -> dict[str, object]:
        if self._datasets is None:
            raise Refused("Call request_available_data first.")
        dataset = self._datasets.get(request.dataset)
        if dataset is None:
            raise Refused("No such dataset is offered.")
        if strange := set(request.filters or ()) - set(dataset.columns):
            raise Refused(f"The dataset tells of no such columns to filter by: {sorted(strange)}")
        if dataset.name not in self._spoken_of:
            await self._ask_leave(dataset)
        fetched = await self._fetch(request)
        result = next((result for result in self.results if result.request == request), None)
        if result is None:
            result = Result(request, fetched, await asyncio.to_thread(self._compute, request, dataset, fetched))
            self.results.append(result)
        return {
            "rows_read": len(fetched.rows),
            "complete": fetched.complete,
            "figures": "computed" if isinstance(result.found, Answer) else "none",
        }

    async def _fetch(self, request: Rows) -> Fetched:
        asked: dict[str, object] = dict(request.period.to_wire()) if request.period else {}
        if request.filters:
            asked["filters"] = {name: list(values) for name, values in request.filters.items()}
        key = repr((request.dataset, asked))
        if key in self._fetched:
            return self._fetched[key]
        left = self.limits.rows - sum(len(fetched.rows) for fetched in self._fetched.values())
        if len(self._fetched) >= self.limits.fetches or left < 1:
            self.short = True
            raise Refused("No more rows may be read.")
        share = self.limits.fetches
        pages = max(1, self.limits.pages // share)
        # A slow client's first rows in time are more than all of them too late.
        budget = Budget(left, self.limits.size // share, pages, self.limits.seconds / 3)
        await self.progress("fetching")
        fetched = await fetching.fetch(self.client, request.dataset, asked, budget=budget, clock=self.clock)
        self._fetched[key] = fetched
        return fetched

    def _compute(self, request: Rows, dataset: Dataset, fetched: Fetched) -> Answer | NoData:
        if not any(fetched.rows):
            return NoData("There are no such rows.")
        question = request.question or self.text
        frame = timeframe.read(question, self.today)
        if frame.current is None:
            frame = Timeframe(request.period)
        try:
            return answer(
                question,
                dataset.name,
                fetched.rows,
                self.today,
                frame=frame,
                filters=request.filters,
                complete=fetched.complete,
            )
        except NoData as nothing:
            return nothing

    async def _ask_leave(self, dataset: Dataset) -> None:
        """What a dataset says of another one, or of itself, is no reason to read it."""
        name = phrases.plain(dataset.name)
        if words.is_korean(self.text):
            said = await self._clarify(f"질문에 나오지 않은 데이터 '{name}'을(를) 읽어도 될까요?", ("예", "아니요"))
        else:
            question = f"Your question does not speak of the dataset '{name}'. May it be read?"
            said = await self._clarify(question, ("Yes", "No"))
        if dataset.name not in self._spoken_of and said.strip(" .!").casefold() not in YES:
            raise Refused("The user does not want this dataset to be read.")
        self._spoken_of.add(dataset.name)

    async def _clarify(self, question: str, options: tuple[str, ...]) -> str:
        if self._clarified >= self.limits.clarifications:
            raise Refused("The user may not be asked again.")
        self._clarified += 1
        await self.progress("clarifying")
        with self.unhurried():
            said = await self.client.clarify(question, options)
        self._spoken_of |= self._meant(said)
        return said

    def _meant(self, said: str) -> set[str]:
        """Only those called by their name: what else an answer may mean is for a model to guess, not to be read by."""
        text = words.words(said)
        return {name for name in self._datasets or () if words.contains(text, words.words(name))}


def sources(results: list[Result]) -> list[dict[str, object]]:
    """Each dataset of which there are rows, once, with how many were read."""
    fetched: dict[str, dict[int, Fetched]] = {}
    for result in results:
        if result.fetched.rows:
            fetched.setdefault(result.request.dataset, {})[id(result.fetched)] = result.fetched
    found: list[dict[str, object]] = []
    for name, parts in fetched.items():
        source: dict[str, object] = {"dataset": name, "rows": sum(len(part.rows) for part in parts.values())}
        if not all(part.complete for part in parts.values()):
            source["complete"] = False
        found.append(source)
    return found


def data(results: list[Result]) -> Mapping[str, object]:
    """One result's figures as they are, several ones' as a list."""
    computed = [
        {"dataset": result.request.dataset, **result.found.data}
        for result in results
        if isinstance(result.found, Answer)
    ]
    return computed[0] if len(computed) == 1 else {"results": computed}
