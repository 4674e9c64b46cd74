"""A copilot's client for tests: how it answers the server's questions, by ack or by event."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from server.namespaces.copilot.namespace import CopilotNamespace
from tests.support.client import Client
from tests.support.running import Running

COSTS = {"name": "aws_costs", "description": "AWS cost", "columns": ["date", "service", "cost"]}
GCP = {"name": "gcp_costs", "description": "GCP cost", "columns": ["date", "service", "cost"]}
ROWS = [
    {"date": "2025-10-01", "service": "EC2", "cost": 10},
    {"date": "2025-10-01", "service": "S3", "cost": "5.5"},
    {"date": "2025-10-02", "service": "EC2", "cost": 1},
]
#: Question, the event that answers it, an answer of the right shape, one of the wrong.
QUESTIONS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("request_available_data", "available_data", {"datasets": [COSTS, GCP]}, {"datasets": "aws_costs"}),
    ("clarification_request", "human_response", {"answer": "aws_costs"}, {"answer": 5}),
    ("request_api", "api_result", {"data": ROWS}, {"data": [1]}),
]
EVENT_OF = {question: answering for question, answering, _, _ in QUESTIONS}


def copilot(server: Running) -> CopilotNamespace:
    return cast(CopilotNamespace, server.realtime._served["/copilot"])


def by_ack(client: Client, datasets: Any = (COSTS,), rows: Any = ROWS, answer: str = "aws_costs") -> None:
    client.answer("request_available_data", lambda _: {"datasets": list(datasets)})
    client.answer("request_api", lambda _: {"data": rows})
    client.answer("clarification_request", lambda _: {"answer": answer})


async def answering(client: Client, question: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Waits for the question and answers it by its event."""
    asked = await client.expect(question)
    assert await client.call(EVENT_OF[question], {"requestId": asked["requestId"], **answer}) == {"ok": True}
    return cast(dict[str, Any], asked)


def code(ack: Any) -> str:
    assert ack["ok"] is False
    return cast(str, ack["error"]["code"])


async def drop(client: Client, server: Running) -> None:
    """Leaves, and waits until the server has noticed."""
    namespace = copilot(server)
    noticed = asyncio.Event()
    left = namespace.left

    async def noticing(*arguments: Any) -> None:
        await left(*arguments)
        noticed.set()

    namespace.left = noticing  # type: ignore[method-assign]
    await client.close()
    await asyncio.wait_for(noticed.wait(), 10)


async def until(client: Client, question: str) -> dict[str, Any]:
    """A query that has come as far as this question, which is open."""
    await client.call("query", {"text": "cost"})
    for name, _, right, _ in QUESTIONS:
        if name == question:
            break
        await answering(client, name, right)
    return cast(dict[str, Any], await client.expect(question))


async def finish(client: Client, question: str, asked: dict[str, Any]) -> None:
    """The question is still open: the right answer leads to the response."""
    names = [name for name, _, _, _ in QUESTIONS]
    for at, (name, event, right, _) in enumerate(QUESTIONS):
        if at < names.index(question):
            continue
        if at > names.index(question):
            asked = await client.expect(name)
        assert await client.call(event, {"requestId": asked["requestId"], **right}) == {"ok": True}
    assert (await client.expect("response"))["data"]["overall"] == 16.5
