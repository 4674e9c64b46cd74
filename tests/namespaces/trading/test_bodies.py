from __future__ import annotations

from typing import Any

import pytest

from server.errors import InvalidMessage
from server.namespaces.trading import bodies
from server.realtime import schema


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "data"),
        ({"type": "tick"}, "data"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [{"data": 1}], "data": 1}, "messages"),
        ({"messages": [{"data": 1}], "type": "tick"}, "messages"),
        ({"messages": [{"data": 1}] * 1001}, "messages"),
        ({"data": 1, "type": "ping"}, "type"),
        ({"data": 1, "channel": "alerts"}, "channel"),
        ({"data": 1, "idempotency_key": ""}, "idempotency_key"),
    ],
)
def test_neither_one_message_nor_a_batch(body: Any, field: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        schema.load(bodies.Publish(), body)
    assert list(refused.value.details or {}) == [field]


def test_one_message_or_a_batch_whose_messages_are_looked_at_later() -> None:
    one = schema.load(bodies.Publish(), {"data": None})
    assert one == {"type": "message", "data": None, "idempotency_key": None, "messages": None}
    many = [{"data": 1}, 5, {"type": "ping"}] * 333
    assert schema.load(bodies.Publish(), {"messages": many, "idempotency_key": "k"})["messages"] == many


@pytest.mark.parametrize("key", ["", " k", "k\n", "\udc80", "k" * 101])
def test_a_key_is_short_and_printable(key: str) -> None:
    with pytest.raises(InvalidMessage):
        schema.load(bodies.Publish(), {"data": 1, "idempotency_key": key})


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "\0"}, {"prefix": ""}])
def test_queries_that_are_refused(query: Any) -> None:
    with pytest.raises(InvalidMessage):
        schema.load(bodies.ChannelsQuery(), query)


def test_queries_have_defaults() -> None:
    assert schema.load(bodies.ChannelsQuery(), {}) == {"prefix": "", "after": "", "limit": 100}
    assert schema.load(bodies.MembersQuery(), {"limit": "7"}) == {"after": "", "limit": 7}
