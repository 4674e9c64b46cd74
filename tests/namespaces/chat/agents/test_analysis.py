from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.namespaces.chat.agents.analysis import MAX_KEYWORDS, analyze
from server.namespaces.chat.agents.backend import HANDOVER, Turn, Verdict

ROLES = ("user", "agent", "operator")


def users(*texts: str) -> list[Turn]:
    return [Turn("user", text) for text in texts]


@pytest.mark.parametrize(
    ("said", "intent", "urgency", "action", "keywords"),
    [
        (["대출 금리가 얼마인가요?"], "INFO_REQ", "low", "CONTINUE", ["대출", "금리"]),
        (["결제가 두 번 되었는데 환불받고 싶습니다"], "INFO_REQ", "low", "CONTINUE", ["결제", "환불"]),
        (["What's the interest RATE on loans?"], "INFO_REQ", "low", "CONTINUE", ["interest", "RATE", "loans"]),
        (["카드를 분실했어요", "정지해 주세요"], "INFO_REQ", "critical", "HANDOVER", ["정지", "카드", "분실"]),
        (["보이스피싱 전화를 받았어요"], "INFO_REQ", "critical", "HANDOVER", ["보이스피싱", "전화"]),
        (["사기를 당했습니다"], "INFO_REQ", "critical", "HANDOVER", ["사기"]),
        (["My card was stolen in Busan!"], "INFO_REQ", "critical", "HANDOVER", ["card", "stolen", "Busan"]),
        (["I lost my new credit card"], "INFO_REQ", "critical", "HANDOVER", ["lost", "new", "credit", "card"]),
        (["급합니다, 계좌 이체 오류"], "INFO_REQ", "high", "HANDOVER", ["계좌", "이체", "오류"]),
        (["This is urgent: transfer"], "INFO_REQ", "high", "HANDOVER", ["urgent", "transfer"]),
        (["직원이 불친절해요"], "COMPLAINT", "medium", "HANDOVER", ["직원", "불친절"]),
        (["Terrible service"], "COMPLAINT", "medium", "HANDOVER", ["Terrible", "service"]),
        (["상담원 연결해줘"], "HUMAN_REQ", "low", "HANDOVER", ["상담원", "연결"]),
        (["talk to a human"], "HUMAN_REQ", "low", "HANDOVER", ["talk", "human"]),
        # what only looks like it
        (["물건을 사기 위해 대출을"], "INFO_REQ", "low", "CONTINUE", ["물건", "사기", "대출"]),
        (["급하지 않은 대출"], "INFO_REQ", "low", "CONTINUE", ["않은", "대출"]),
        (["not urgent: transfer"], "INFO_REQ", "low", "CONTINUE", ["urgent", "transfer"]),
        (["issue with lossless audio"], "INFO_REQ", "low", "CONTINUE", ["issue", "lossless", "audio"]),
        (["🙂"], "UNKNOWN", "low", "CONTINUE", []),
        ([], "UNKNOWN", "low", "CONTINUE", []),
    ],
)
def test_what_it_makes_of_what_was_said(
    said: list[str], intent: str, urgency: str, action: str, keywords: list[str]
) -> None:
    analysis = analyze(users(*said))
    assert (analysis.intent, analysis.urgency, analysis.suggested_action) == (intent, urgency, action)
    assert list(analysis.keywords) == keywords


def test_the_wire_shape() -> None:
    assert json.loads(json.dumps(analyze(users("대출 금리가 얼마인가요?")).to_wire())) == {
        "intent": "INFO_REQ",
        "urgency": "low",
        "summary": "고객 메시지 1건. 마지막 문의: “대출 금리가 얼마인가요?”",
        "keywords": ["대출", "금리"],
        "suggested_action": "CONTINUE",
    }


def test_only_the_customer_counts() -> None:
    turns = [Turn("agent", "도난 신고는 1588-0000"), Turn("operator", "terrible"), Turn("user", "네 알겠습니다")]
    assert analyze(turns).urgency == "low"


@pytest.mark.parametrize(
    ("verdicts", "intent", "action"),
    [
        ([Verdict("CARD_BLOCK"), Verdict("GREETING")], "CARD_BLOCK", "CONTINUE"),
        ([Verdict("CARD_BLOCK"), Verdict("UNKNOWN"), Verdict(None)], "CARD_BLOCK", "CONTINUE"),
        ([Verdict("GREETING")], "GREETING", "CONTINUE"),
        ([Verdict("UNKNOWN", HANDOVER)], "INFO_REQ", "HANDOVER"),
        ([Verdict("INFO_REQ", HANDOVER), Verdict("INFO_REQ")], "INFO_REQ", "CONTINUE"),
    ],
)
def test_the_agents_verdicts_count_too(verdicts: list[Verdict], intent: str, action: str) -> None:
    analysis = analyze(users("카드요"), verdicts)
    assert (analysis.intent, analysis.suggested_action) == (intent, action)


def test_what_is_asked_in_vain_grows_urgent() -> None:
    lost = [Verdict("UNKNOWN", HANDOVER)] * 2
    assert analyze(users("환율 알려줘", "파운드 시세"), lost).urgency == "medium"
    again = analyze(users("환율이 얼마예요?", "환율 얼마인가요"), lost)
    assert again.urgency == "high"
    assert "답하지 못한 질문 2건" in again.summary
    assert "반복" in again.summary


def test_the_summary_speaks_the_customers_language_and_stays_short() -> None:
    said = ["👋", "Which fee applies?", *["and " + "very " * 500 + "long\u202e\x00"] * 50]
    summary = analyze(users(*said), [Verdict("UNKNOWN")]).summary
    assert summary.startswith("20 messages of the customer. First: “and very")
    assert "Not answered: 1. Asked again." in summary
    assert len(summary) < 400
    assert summary.isprintable()


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.text()), max_size=30))
def test_anything_can_be_analysed(said: list[tuple[str, str]]) -> None:
    turns = [Turn(role, text) for role, text in said]  # type: ignore[arg-type]
    analysis = analyze(turns)
    assert analysis == analyze(turns)
    assert analysis.summary
    assert analysis.summary.isprintable()
    assert len(analysis.keywords) <= MAX_KEYWORDS
