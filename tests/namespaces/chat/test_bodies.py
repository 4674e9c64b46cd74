from __future__ import annotations

from typing import Any

import pytest

from server.errors import InvalidMessage
from server.namespaces.chat import bodies, schemas
from server.realtime.schema import Payload, Shape


def load(schema: type[Payload], payload: dict[str, Any]) -> dict[str, Any]:
    return Shape(schema()).load(payload)


def refused(schema: type[Payload], payload: dict[str, Any]) -> list[str]:
    """The fields that are wrong."""
    with pytest.raises(InvalidMessage) as error:
        load(schema, payload)
    return list(error.value.details or {})


# -- queries --------------------------------------------------------------------------------------------------------


def test_a_list_of_sessions() -> None:
    assert load(bodies.SessionsQuery, {}) == {
        "status": None,
        "agent_id": None,
        "limit": 50,
        "offset": 0,
        "cursor": None,
        "everyone": False,
        "handover": False,
    }
    asked = {"status": "archived", "agent_id": "1", "limit": "200", "offset": "100000", "everyone": "true"}
    assert load(bodies.SessionsQuery, asked) == {
        "status": "archived",
        "agent_id": 1,
        "limit": 200,
        "offset": 100_000,
        "cursor": None,
        "everyone": True,
        "handover": False,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", value) for value in ("0", "201", "-1", "+1", "1.0", "1_0", " 1", "", "ten", "٣", "9" * 5000)),
        *(("offset", value) for value in ("100001", "-1", "1e3")),
        *(("agent_id", value) for value in ("2147483648", "Support Bot")),
        *(("status", value) for value in ("deleted", "ACTIVE", "")),
        *(("cursor", value) for value in ("", "a" * 201, "\0")),
        *(("everyone", value) for value in ("yes", "", "True ")),
        ("agent", "1"),
    ],
)
def test_nonsense_in_a_query_for_sessions(name: str, value: str) -> None:
    assert refused(bodies.SessionsQuery, {name: value}) == [name]


def test_one_way_to_page() -> None:
    assert refused(bodies.SessionsQuery, {"cursor": "1-1", "offset": "10"}) == ["offset"]
    assert load(bodies.SessionsQuery, {"cursor": "1-1", "offset": "0"})["cursor"] == "1-1"


@pytest.mark.parametrize(
    ("place", "understood"),
    [
        ("42", "42"),
        ("20251029", "20251029"),  # a seq
        ("msg_0123456789abcdef", "msg_0123456789abcdef"),
        ("2025-10-29T10:30:00Z", "2025-10-29T10:30:00+00:00"),
        ("2025-10-29T10:30:00.123Z", "2025-10-29T10:30:00.123000+00:00"),
        ("2025-10-29T19:30:00+09:00", "2025-10-29T10:30:00+00:00"),
        ("2025-10-29T19:30:00 09:00", "2025-10-29T10:30:00+00:00"),  # whose `+` nobody escaped
        ("2025-10-29T19:30:00 0900", "2025-10-29T10:30:00+00:00"),
        ("2025-10-29 10:30:00", "2025-10-29T10:30:00+00:00"),
        ("2025-10-29 10:30", "2025-10-29T10:30:00+00:00"),
        ("2025-10-29", "2025-10-29T00:00:00+00:00"),
    ],
)
def test_places_in_a_session(place: str, understood: str) -> None:
    assert load(bodies.MessagesQuery, {"before": place}) == {"limit": 50, "before": understood, "after": None}


@pytest.mark.parametrize(
    "place",
    [
        "",
        "yesterday",
        "-1",
        "1.5",
        "٣",
        "9" * 16,
        "msg_",
        "msg_a b",
        "msg_" + "a" * 97,
        "msg_á",
        "2025-13-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "'; DROP TABLE chat_messages; --",
        "\0",
    ],
)
@pytest.mark.parametrize("name", ["before", "after"])
def test_nonsense_in_a_place(name: str, place: str) -> None:
    assert refused(bodies.MessagesQuery, {name: place}) == [name]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "a" * 201}, "query"),
        ({"query": "a\0"}, "query"),
        ({"query": "a", "session_id": ""}, "session_id"),
        ({"query": "a", "limit": str(schemas.MAX_HITS + 1)}, "limit"),
    ],
)
def test_nonsense_in_a_search(query: dict[str, str], wrong: str) -> None:
    assert refused(bodies.SearchQuery, query) == [wrong]


# -- bodies ---------------------------------------------------------------------------------------------------------

SEED = [
    (bodies.NewSession, {"agent_id": 1, "title": "Customer Support Chat", "metadata": {"priority": "high"}}),
    (bodies.NewSession, {"agent_id": None, "title": None, "metadata": None}),
    (
        bodies.Message,
        {"content": "제품 교환 문의입니다.", "message_type": "text", "metadata": {"client_id": "web"}},
    ),
    (bodies.StreamedMessage, {"content": "긴 설명이 필요한 질문입니다.", "stream": True}),
    (bodies.BankMessage, {"session_id": "test_001", "user_message": "안녕하세요"}),
    (bodies.Analyze, {"session_id": "test_001"}),
    (bodies.Edit, {"content": "a"}),
    (bodies.Read, {"seq": 0}),
    (bodies.Invitation, {"user_id": "bob"}),
    (bodies.HandoverRequest, {"reason": "사람과 이야기하고 싶어요"}),
    (bodies.HandoverRequest, {}),
]


@pytest.mark.parametrize(("schema", "body"), SEED)
def test_the_seeds_bodies_pass(schema: type[Payload], body: dict[str, Any]) -> None:
    assert load(schema, body).items() >= body.items()
    assert refused(schema, body | {"user": "mallory"}) == ["user"]


def test_content_is_bounded_as_on_sockets() -> None:
    most = "한" * schemas.MAX_CONTENT_CHARS
    for schema in (bodies.Message, bodies.StreamedMessage, bodies.Edit):
        assert load(schema, {"content": most})["content"] == most
        for content in ("", most + "a", "a\0", None, 1, ["a"], {"a": "b"}):
            assert refused(schema, {"content": content}) == ["content"]


@pytest.mark.parametrize(
    ("schema", "body", "wrong"),
    [
        (bodies.NewSession, {"agent_id": "1"}, "agent_id"),
        (bodies.NewSession, {"agent_id": 2**31}, "agent_id"),
        (bodies.NewSession, {"agent_id": True}, "agent_id"),
        (bodies.NewSession, {"title": "a" * 201}, "title"),
        (bodies.NewSession, {"title": ""}, "title"),
        (bodies.NewSession, {"metadata": []}, "metadata"),
        (bodies.NewSession, {"metadata": {"a": "b" * 9_000}}, "metadata"),
        (bodies.NewSession, {"metadata": {"a": "\0"}}, "metadata"),
        (bodies.NewSession, {"session_id": "mine"}, "session_id"),
        (bodies.Message, {"content": "a", "message_type": "system"}, "message_type"),
        (bodies.Message, {"content": "a", "session_id": "other"}, "session_id"),
        (bodies.StreamedMessage, {"content": "a", "stream": False}, "stream"),
        (bodies.StreamedMessage, {"content": "a", "stream": "true"}, "stream"),
        (bodies.Read, {"seq": -1}, "seq"),
        (bodies.Read, {"seq": "1"}, "seq"),
        (bodies.Read, {"seq": 2**53}, "seq"),
        (bodies.Read, {}, "seq"),
        (bodies.Invitation, {"user_id": "bob "}, "user_id"),
        (bodies.HandoverRequest, {"reason": "a" * 1_001}, "reason"),
        (bodies.BankMessage, {"session_id": "a\n", "user_message": "a"}, "session_id"),
        (bodies.BankMessage, {"session_id": "a"}, "user_message"),
        (bodies.Analyze, {}, "session_id"),
    ],
)
def test_bodies_that_are_refused(schema: type[Payload], body: dict[str, Any], wrong: str) -> None:
    assert refused(schema, body) == [wrong]
