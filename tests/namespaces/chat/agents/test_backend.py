from __future__ import annotations

from server.namespaces.chat.agents.backend import CONTINUE, HANDOVER, Verdict


def test_the_bank_seeds_words() -> None:
    assert (CONTINUE, HANDOVER) == ("CONTINUE", "HANDOVER")
    assert Verdict().suggested_action == CONTINUE
