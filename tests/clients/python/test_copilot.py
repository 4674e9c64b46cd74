from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from clients.python import Client, Refused, TimedOut
from tests.clients.python.opening import client, until_state
from tests.conftest import Serve
from tests.support.recovering import abort

COSTS = {"name": "aws_costs", "description": "AWS cost", "columns": ["service", "cost"]}
GCP = {"name": "gcp_costs", "description": "GCP cost", "columns": ["service", "cost"]}
ROWS = [{"service": "EC2", "cost": 10}, {"service": "S3", "cost": 5}]
QUESTION = "top 2 services by cost"


def offering(opened: Client, *datasets: Mapping[str, Any]) -> list[Any]:
    """What was asked."""
    asked: list[Any] = []

    @opened.answers("request_available_data")
    def available(request: Mapping[str, Any]) -> Any:
        asked.append(request)
        return list(datasets)

    @opened.answers("request_api")
    async def rows(request: Mapping[str, Any]) -> Any:
        asked.append(request)
        return {"data": ROWS}

    return asked


async def test_a_question_and_its_answer(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        asked = offering(opened, COSTS)
        stages: list[str] = []
        answer = await opened.ask(QUESTION, on_progress=stages.append)
        assert answer.text.index("EC2") < answer.text.index("S3")
        assert answer.data["overall"] == 15
        assert [dict(each) for each in answer.sources] == [{"dataset": "aws_costs", "rows": 2}]
        assert stages == ["started", "requesting_data", "fetching", "answering"]
        assert [each.get("dataset") for each in asked] == [None, "aws_costs"]


async def test_several_at_once_stay_apart(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        offering(opened, COSTS)
        answers = await asyncio.gather(*(opened.ask(text) for text in (QUESTION, "total cost", "how many rows")))
        assert len({answer.query_id for answer in answers}) == 3
        assert "15" in answers[1].text


async def test_a_person_says_which(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        offering(opened, COSTS, GCP)
        options: list[Any] = []

        @opened.answers("clarification_request")
        async def clarify(request: Mapping[str, Any]) -> str:
            options.extend(request["options"])
            return "gcp_costs"

        answer = await opened.ask(QUESTION)
        assert answer.sources[0]["dataset"] == "gcp_costs"
        assert "gcp_costs" in options


async def test_a_drop_in_the_middle(serve: Serve) -> None:
    """The question is put again; what works on it goes on."""
    server = await serve()
    async with client(server.url) as opened:
        offering(opened, COSTS)
        begun, done, times = asyncio.Event(), asyncio.Event(), []

        @opened.answers("request_api")
        async def rows(request: Mapping[str, Any]) -> Any:
            times.append(request["requestId"])
            begun.set()
            await done.wait()
            return ROWS

        asking = asyncio.create_task(opened.ask(QUESTION))
        await begun.wait()
        connection = await opened.connection("/copilot")
        await abort(server)
        await until_state(connection, "reconnecting")
        await until_state(connection, "connected")
        done.set()
        assert (await asking).data["overall"] == 15
        assert len(times) == 1


async def test_a_server_that_does_not_know_it_any_more_is_asked_anew(serve: Serve) -> None:
    server = await serve()
    async with client(server.url, recovery=False) as opened:
        offering(opened, COSTS)
        copilot = server.realtime._served["/copilot"]
        begun, held = asyncio.Event(), asyncio.Event()

        @opened.answers("request_api")
        async def rows(request: Mapping[str, Any]) -> Any:
            begun.set()
            await held.wait()
            return ROWS

        asking = asyncio.create_task(opened.ask(QUESTION))
        await begun.wait()
        for query in list(copilot.service._running.values()):  # type: ignore[attr-defined]
            copilot.service._end(query)  # type: ignore[attr-defined] # as if its process had been killed
        held.set()
        await abort(server)
        assert (await asking).data["overall"] == 15


async def test_what_ends_it_without_an_answer(serve: Serve) -> None:
    server = await serve(COPILOT_DATA_TIMEOUT=0.3, RATE_LIMIT_QUERIES_PER_MINUTE=3)
    async with client(server.url) as opened:
        with pytest.raises(Refused, match="CLIENT_TIMEOUT"):
            await opened.ask(QUESTION)  # nothing answers here
        offering(opened)
        with pytest.raises(Refused, match="NO_DATA"):
            await opened.ask(QUESTION)

        @opened.answers("request_available_data")
        def fail(request: Mapping[str, Any]) -> Any:
            raise RuntimeError("mine")

        with pytest.raises(Refused, match="CLIENT_TIMEOUT"):
            await opened.ask(QUESTION)
        with pytest.raises(Refused, match="INVALID_MESSAGE"):
            await opened.ask("  ")
        with pytest.raises(Refused, match="RATE_LIMITED"):
            await opened.ask(QUESTION)
    with pytest.raises(ValueError, match="request_api"):
        opened.answers("request_apy")


async def test_who_does_not_wait_cancels_it(serve: Serve) -> None:
    server = await serve()
    async with client(server.url) as opened:
        begun = asyncio.Event()

        @opened.answers("request_available_data")
        async def never(request: Mapping[str, Any]) -> Any:
            begun.set()
            await asyncio.Event().wait()

        service = server.realtime._served["/copilot"].service  # type: ignore[attr-defined]
        with pytest.raises(TimedOut):
            await opened.ask(QUESTION, timeout=0.2)
        begun.clear()
        asking = asyncio.create_task(opened.ask(QUESTION))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await (await opened.connection("/copilot")).call("ping", {})
        assert len(service) == 0
