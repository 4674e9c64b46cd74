from __future__ import annotations

from typing import Any

import pytest
import socketio

from server.app import NAMESPACES
from server.namespaces.chat.namespace import ChatNamespace
from server.realtime import rooms
from tests.conftest import Connect, Serve
from tests.support.declared import SAMPLES, Declared, Watch

TYPING = {"session_id": "s", "user_id": "a", "is_typing": True}


def chat(server: Any) -> ChatNamespace:
    [found] = [each for each in server.app[NAMESPACES] if isinstance(each, ChatNamespace)]
    return found


@pytest.fixture
def caught(told_as_declared: Watch) -> Any:
    """What was found so far; it is forgotten, so that the test does not fail for it."""

    def caught() -> list[str]:
        found = told_as_declared.faults.copy()
        told_as_declared.faults.clear()
        return found

    return caught


@pytest.mark.parametrize(
    ("event", "payload", "fault"),
    [
        ("typing", {**TYPING, "is_typing": "yes"}, "$.is_typing: 'yes' is not of type 'boolean'"),
        ("typing", {"session_id": "s", "user_id": "a"}, "'is_typing' is a required property"),
        ("typing", {**TYPING, "more": 1}, "'more' was unexpected"),
        ("typping", TYPING, "is not declared"),
        ("read", {"session_id": "s", "user_id": "a", "seq": -1}, "-1 is less than the minimum of 0"),
        (
            "message_deleted",
            {"session_id": "s", "message_id": "m", "seq": 1, "user_id": "a", "deleted_at": "today"},
            "'today' is not a 'date-time'",
        ),
    ],
)
async def test_events_that_are_not_as_declared(
    serve: Serve, connect: Connect, caught: Any, event: str, payload: dict[str, object], fault: str
) -> None:
    server = await serve()
    client = await connect(server, "/chat", "alice")
    await chat(server).emit(event, payload, room=rooms.EVERYONE)
    await client.expect(event)
    [found] = caught()
    assert fault in found


async def test_acks_that_are_not_as_declared(
    serve: Serve, connect: Connect, caught: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    client = await connect(server, "/chat", "alice")

    async def searched(*_: object, **__: object) -> dict[str, object]:
        return {"query": "a", "hits": [{"message_id": "m"}]}

    monkeypatch.setattr(chat(server).service.search, "search", searched)
    await client.call("search", {"query": "a"})
    assert caught()[0].startswith("ack 'search' of /chat: $.hits[0]: ")


async def test_refused_connects_are_looked_at(
    serve: Serve, connect: Connect, caught: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Declared, "refusal", lambda self, error: [f"was {error['data']['code']}"])
    with pytest.raises(socketio.exceptions.ConnectionError):
        await connect(await serve(), "/chat")
    [found] = caught()
    assert "was TOKEN_MISSING" in found


async def test_only_some_of_each_are_looked_at(serve: Serve, connect: Connect, caught: Any) -> None:
    server = await serve()
    client = await connect(server, "/chat", "alice")
    for _ in range(2 * SAMPLES):
        await chat(server).emit("typping", TYPING, room=rooms.EVERYONE)
    await client.settle()
    assert len(caught()) == SAMPLES


@pytest.mark.undeclared("to see that it is left alone")
async def test_what_a_test_says_is_undeclared_is_left_alone(serve: Serve, connect: Connect, caught: Any) -> None:
    server = await serve()
    client = await connect(server, "/chat", "alice")
    await chat(server).emit("typping", TYPING, room=rooms.EVERYONE)
    await client.settle()
    assert caught() == []


async def test_namespaces_of_tests_are_left_alone(serve: Serve, connect: Connect, caught: Any) -> None:
    server = await serve()
    served = chat(server)
    served.__class__ = type("Chat", (ChatNamespace,), {"__module__": __name__})
    client = await connect(server, "/chat", "alice")
    await served.emit("typping", TYPING, room=rooms.EVERYONE)
    await client.settle()
    assert caught() == []
