from __future__ import annotations

from collections.abc import Mapping

import pytest

from server.errors import InvalidMessage, LimitExceeded, UnknownRequest
from server.identity import Identity
from server.realtime import asks as module
from server.realtime.asks import MAX_OPEN_PER_USER, Ask, Asks, Place, acknowledged
from server.realtime.connection import Connection

LONG = 30.0  # seconds: never waited out
ALICE = Connection("a1", "/echo", Identity("alice"), "")


def accept(raw: object) -> dict[str, object]:
    if not isinstance(raw, Mapping) or "answer" not in raw:
        raise InvalidMessage
    return dict(raw)


def opened(asks: Asks) -> Ask:
    return asks.open("/echo", (None, "alice"), "question", {"n": 1}, accept, LONG)


# -- the book of open questions ---------------------------------------------------------------------------------


async def test_request_ids_are_long_and_never_the_same() -> None:
    asks = Asks()
    ids = {opened(asks).request_id for _ in range(MAX_OPEN_PER_USER)}
    assert len(ids) == MAX_OPEN_PER_USER
    assert min(map(len, ids)) >= 32


async def test_the_payload_carries_the_request_id() -> None:
    ask = opened(Asks())
    assert ask.payload == {"requestId": ask.request_id, "n": 1}


async def test_an_answer_counts_once() -> None:
    asks = Asks()
    ask = opened(asks)
    asks.answer(ALICE, "question", ask.request_id, {"answer": "first"})
    with pytest.raises(UnknownRequest):
        asks.answer(ALICE, "question", ask.request_id, {"answer": "second"})
    assert await ask.answered == {"answer": "first"}


@pytest.mark.parametrize(
    ("connection", "event", "request_id"),
    [
        pytest.param(Connection("b", "/echo", Identity("bob"), ""), "question", None, id="another user"),
        pytest.param(Connection("t", "/echo", Identity("alice", "acme"), ""), "question", None, id="another tenant"),
        pytest.param(Connection("n", "/chat", Identity("alice"), ""), "question", None, id="another namespace"),
        pytest.param(ALICE, "other question", None, id="another kind"),
        pytest.param(ALICE, "question", "made up", id="made up"),
        pytest.param(ALICE, "question", 7, id="no text"),
        pytest.param(ALICE, "question", ["unhashable"], id="unhashable"),
    ],
)
async def test_what_does_not_answer_the_question_leaves_it_open(
    connection: Connection, event: str, request_id: object
) -> None:
    asks = Asks()
    ask = opened(asks)
    with pytest.raises(UnknownRequest):
        asks.answer(connection, event, request_id or ask.request_id, {"answer": "x"})
    asks.answer(ALICE, "question", ask.request_id, {"answer": "right"})
    assert (await ask.answered)["answer"] == "right"


async def test_an_answer_of_the_wrong_shape_may_be_mended() -> None:
    asks = Asks()
    ask = opened(asks)
    with pytest.raises(InvalidMessage):
        asks.answer(ALICE, "question", ask.request_id, {})
    asks.answer(ALICE, "question", ask.request_id, {"answer": "mended"})
    assert ask.is_answered


async def test_a_closed_question_is_unknown_and_closing_twice_is_once() -> None:
    asks = Asks()
    ask = opened(asks)
    forgotten: list[str] = []
    asks.sent(ask, Place(ALICE.id), lambda: forgotten.append("callback"))
    asks.close(ask)
    asks.close(ask)
    with pytest.raises(UnknownRequest):
        asks.answer(ALICE, "question", ask.request_id, {"answer": "late"})
    assert forgotten[0] == "callback"
    assert len(asks) == 0


async def test_an_answer_to_a_question_whose_asker_was_cancelled_is_unknown() -> None:
    asks = Asks()
    ask = opened(asks)
    ask.answered.cancel()
    assert not ask.is_answered
    with pytest.raises(UnknownRequest):
        asks.answer(ALICE, "question", ask.request_id, {"answer": "late"})


async def test_a_question_closed_while_it_was_being_sent_keeps_no_callback() -> None:
    asks = Asks()
    ask = opened(asks)
    asks.close(ask)
    forgotten: list[str] = []
    asks.sent(ask, Place(ALICE.id), lambda: forgotten.append("callback"))
    assert forgotten == ["callback"]
    assert not ask.asked


async def test_asking_the_same_connection_again_drops_the_earlier_callback() -> None:
    asks = Asks()
    ask = opened(asks)
    forgotten: list[int] = []
    for number in (1, 2):
        asks.sent(ask, Place(ALICE.id), lambda number=number: forgotten.append(number))  # type: ignore[misc]
    assert forgotten == [1]


async def test_only_the_users_own_open_questions_are_listed_oldest_first() -> None:
    asks = Asks()
    first, second, answered = (opened(asks) for _ in range(3))
    asks.open("/echo", (None, "bob"), "question", {}, accept, LONG)
    asks.answer(ALICE, "question", answered.request_id, {"answer": "x"})
    assert list(asks.open_of(ALICE)) == [first, second]


async def test_a_question_closed_while_they_are_listed_is_not_listed() -> None:
    asks = Asks()
    first, second = opened(asks), opened(asks)
    listed = asks.open_of(ALICE)
    assert next(listed) is first
    asks.close(second)
    assert list(listed) == []


async def test_a_user_can_have_only_so_many_open() -> None:
    asks = Asks()
    held = [opened(asks) for _ in range(MAX_OPEN_PER_USER)]
    with pytest.raises(LimitExceeded):
        opened(asks)
    asks.open("/echo", (None, "bob"), "question", {}, accept, LONG)
    asks.close(held[0])
    opened(asks)


async def test_all_users_together_can_have_only_so_many_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    asks = Asks()
    for user in ("alice", "bob"):
        asks.open("/echo", (None, user), "question", {}, accept, LONG)
    with pytest.raises(LimitExceeded):
        asks.open("/echo", (None, "carol"), "question", {}, accept, LONG)
    assert (len(asks), len(asks._by_user), asks.counts.sent) == (2, 2, 2)


def test_an_empty_ack_is_no_answer() -> None:
    assert acknowledged("id", ()) is None


def test_an_ack_of_two_arguments_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        acknowledged("id", (None, {"answer": "x"}))


def test_an_ack_may_name_the_request() -> None:
    assert acknowledged("id", ({"answer": "x"},)) == ("id", {"answer": "x"})
    assert acknowledged("id", ({"requestId": "named", "answer": "x"},)) == ("named", {"answer": "x"})


async def test_only_those_that_wait_are_found() -> None:
    asks = Asks()
    asks.prefix = "here."
    waits, answered = opened(asks), opened(asks)
    asks.answer(ALICE, "question", answered.request_id, {"answer": "x"})
    assert list(asks) == [waits]
    assert waits.request_id.startswith("here.")
    assert asks.find((None, "alice"), waits.request_id) is waits
    assert asks.find((None, "bob"), waits.request_id) is None
    assert asks.find((None, "alice"), answered.request_id) is None
    asks.close(waits)
    assert asks.find((None, "alice"), waits.request_id) is None
    assert list(asks) == []
