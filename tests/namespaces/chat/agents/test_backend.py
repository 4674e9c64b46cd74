from __future__ import annotations

from server.errors import AgentUnavailable
from server.namespaces.chat.agents.backend import CONTINUE, HANDOVER, Question, Verdict


def test_the_bank_seeds_words() -> None:
    assert (CONTINUE, HANDOVER) == ("CONTINUE", "HANDOVER")
    assert Verdict().suggested_action == CONTINUE


def test_a_question_may_be_the_first() -> None:
    assert Question("s1", "alice", "Hi?").history == ()


def test_an_agent_that_is_away_has_a_code() -> None:
    assert AgentUnavailable().to_wire() == {"code": "AGENT_UNAVAILABLE", "message": "The agent cannot answer now"}
