from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.checker import violations
from tests.chaos.history import STRAYS, Recorded, Said

ROOM = "room"
TALK = [Said(1, "m1", "ann", 1), Said(2, "m2", "bob", 1), Said(3, "m3", "ann", 2)]


def recorded(
    *,
    acked: list[Said] = TALK,
    given: list[Said] = TALK,
    fetched: list[Said] = TALK,
    repairs: int = 0,
    strays: int = 0,
) -> Recorded:
    return Recorded(
        acked={ROOM: list(acked)},
        given={ROOM: {"ann": list(TALK), "bob": list(given)}},
        fetched={ROOM: list(fetched)},
        repairs_after_healing=repairs,
        counts=Counter({STRAYS: strays}),
    )


def found(history: Recorded, stored: list[Said] = TALK) -> str:
    return "\n".join(violations(history, {ROOM: stored}))


def test_a_run_in_which_all_went_well() -> None:
    assert found(recorded()) == ""


def test_what_was_never_acked_may_be_there_or_not() -> None:
    assert found(recorded(acked=TALK[:1])) == ""


def test_an_acked_message_is_stored() -> None:
    lost = Said(4, "m4", "bob", 2)
    assert "acked and not stored so: #4 (bob's 2, m4)" in found(recorded(acked=[*TALK, lost]))


def test_an_ack_tells_where_it_is_stored() -> None:
    assert "acked and not stored so" in found(recorded(acked=[TALK[0]._replace(message_id="other")]))
    assert "acked and not stored so" in found(recorded(acked=[TALK[0]._replace(seq=2)]))


def test_a_session_of_which_nothing_is_stored() -> None:
    assert "acked and not stored so" in "\n".join(violations(recorded(), {}))


def test_every_member_receives_what_is_acked() -> None:
    assert "room: bob never received #2 (bob's 1, m2)" in found(recorded(given=[TALK[0], TALK[2]]))


def test_what_a_member_has_is_what_a_fresh_join_fetches() -> None:
    unacked = Said(4, "m4", "bob", 2)
    alone = found(recorded(acked=TALK, fetched=[*TALK, unacked]), [*TALK, unacked])
    assert "room: bob has 3 messages, a fresh join 4; they first differ in #4" in alone
    assert "room has 2 messages, the database 3; they first differ in #3" in found(recorded(fetched=TALK[:2]))


@pytest.mark.parametrize(
    ("doubled", "says"),
    [
        pytest.param(TALK[2], "room: bob has m3 twice", id="the same message"),
        pytest.param(Said(4, "m4", "ann", 2), "room: bob has ('ann', 2) twice", id="its sender's, under another id"),
    ],
)
def test_nothing_is_received_twice(doubled: Said, says: str) -> None:
    assert says in found(recorded(given=[*TALK, doubled]))


def test_nothing_is_stored_twice() -> None:
    assert "the database has ('ann', 2) twice" in found(recorded(), [*TALK, Said(4, "m4", "ann", 2)])


def test_seqs_are_stored_without_gaps() -> None:
    assert "stored seqs are not 1 to 3" in found(recorded(), [*TALK[:2], TALK[2]._replace(seq=4)])


@pytest.mark.parametrize(
    ("break_order", "says"),
    [
        pytest.param(lambda talk: [talk[1], talk[0], talk[2]], "has #1 (ann's 1, m1) after #2", id="seq"),
        pytest.param(
            lambda talk: [talk[0]._replace(number=2), talk[1], talk[2]._replace(number=1)],
            "after what its sender sent later",
            id="sender",
        ),
    ],
)
def test_order(break_order: Callable[[list[Said]], list[Said]], says: str) -> None:
    assert says in found(recorded(given=break_order(TALK)))
    assert says in found(recorded(), break_order(TALK))


def test_once_healed_the_wire_is_enough() -> None:
    assert "2 gaps on the wire had to be repaired" in found(recorded(repairs=2))


def test_nobody_gets_anothers_messages() -> None:
    assert "1 messages reached members of other sessions" in found(recorded(strays=1))


def test_faults_cause_no_faults_in_the_server() -> None:
    history = recorded()
    history.counts.update({"joins refused: RATE_LIMITED": 1, "joins refused: INTERNAL": 2})
    assert found(history) == "2 joins refused: INTERNAL"


def test_a_history_survives_its_file() -> None:
    history = recorded(repairs=1, strays=2)
    assert Recorded.from_json(history.to_json()) == history
