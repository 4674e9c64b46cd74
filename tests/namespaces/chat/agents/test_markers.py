from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat.agents.markers import INSTRUCTIONS, Markers


def read(*pieces: str) -> tuple[str, bool, str | None]:
    markers = Markers()
    text = "".join(markers.feed(piece) for piece in pieces) + markers.finish()
    return text, markers.handover, markers.intent


@pytest.mark.parametrize(
    ("text", "shown", "handover", "intent"),
    [
        ("Hello.", "Hello.", False, None),
        ("Hello.\n\n[[INTENT:INFO_REQ]]\n", "Hello.", False, "INFO_REQ"),
        ("One moment.\n[[HANDOVER]]\n[[INTENT:COMPLAINT]]", "One moment.", True, "COMPLAINT"),
        ("[[HANDOVER]]", "", True, None),
        ("a [[HANDOVER]] b", "a b", True, None),
        ("[[[HANDOVER]]]", "[]", True, None),
        ("[[handover]] [[INTENT:]] [[INTENT:a b]] [[", "[[handover]] [[INTENT:]] [[INTENT:a b]] [[", False, None),
        ("[[INTENT:" + "X" * 41 + "]]", "[[INTENT:" + "X" * 41 + "]]", False, None),
        ("x[0][1] = y[[2]]", "x[0][1] = y[[2]]", False, None),
        ("[[INTENT:A]] [[INTENT:B]]", "", False, "B"),
        ("[[HAND[[HANDOVER]]OVER]]", "[[HANDOVER]]", True, None),
    ],
)
def test_markers_are_taken_out_wherever_the_pieces_end(
    text: str, shown: str, handover: bool, intent: str | None
) -> None:
    assert read(text) == (shown, handover, intent)
    assert read(*text) == (shown, handover, intent)


@given(st.lists(st.sampled_from(["[[", "]]", "[", "HANDOVER", "[[HANDOVER]]", "INTENT:", "A", "\n", " ", "답"])))
def test_how_it_is_cut_makes_no_difference(pieces: list[str]) -> None:
    assert read(*pieces) == read("".join(pieces)) == read(*"".join(pieces))


@given(st.lists(st.text(alphabet="[]A: \n답")))
def test_no_more_than_a_markers_length_is_held_back(pieces: list[str]) -> None:
    markers = Markers()
    shown = 0
    for piece in pieces:
        shown += len(markers.feed(piece))
    assert sum(map(len, pieces)) - shown <= 8 + len("[[INTENT:") + 40 + len("]")


def test_what_a_model_is_told_is_what_is_understood() -> None:
    assert read(INSTRUCTIONS.replace("X", "INFO_REQ"))[1:] == (True, "INFO_REQ")
