from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.namespaces.chat.agents import faq
from server.namespaces.chat.agents.backend import Question, Turn, Verdict
from server.namespaces.chat.agents.faq import DONT_KNOW, DONT_KNOW_KOREAN, Faq


@pytest.fixture(scope="module")
def shipped() -> Faq:
    return faq.build(Path("config"), {})


async def ask(backend: Faq, text: str, *before: str) -> tuple[str, Verdict]:
    history = [Turn("user", each) for each in before]
    *pieces, verdict = [part async for part in backend.answer(Question("s1", "alice", text, history))]
    assert isinstance(verdict, Verdict)
    return "".join(piece for piece in pieces if isinstance(piece, str)), verdict


@pytest.mark.parametrize(
    ("question", "answer", "document"),
    [
        ("대출 금리가 얼마인가요?", "연 3.5%~5.0%", "loans.md"),
        ("대출 이자 알려줘", "연 3.5%~5.0%", "loans.md"),
        ("대출금리 몇 퍼센트야", "연 3.5%~5.0%", "loans.md"),
        ("What is the loan rate?", "between 3.5% and 5.0%", "loans.md"),
        ("how much interest do you charge on loans", "between 3.5% and 5.0%", "loans.md"),
        ("제품 교환 문의입니다.", "14일 이내", "service.md"),
        ("환불 가능한가요?", "14일 이내", "service.md"),
        ("can I return a product I bought", "within 14 days", "service.md"),
        ("카드를 분실했어요", "분실 신고", "accounts.md"),
        ("카드 잃어버렸는데 어떡하죠", "분실 신고", "accounts.md"),
        ("I've lost my credit card!", "Report it at once", "accounts.md"),
        ("이체 한도가 얼마예요?", "1일 5,000만 원", "accounts.md"),
        ("what's the daily transfer limit", "50 million won a day", "accounts.md"),
        ("영업시간 알려주세요", "오전 9시부터", "service.md"),
        ("은행 몇 시에 문 닫아요?", "오전 9시부터", "service.md"),
        ("토요일에도 영업하나요", "오전 9시부터", "service.md"),
        ("when are you open?", "9 a.m. to 4 p.m.", "service.md"),
        ("통장 만들고 싶어요", "10분 안에", "accounts.md"),
        ("how do I reset my password", "Reset password", "accounts.md"),
        ("안녕하세요, 도움이 필요합니다.", "무엇을 도와드릴까요", "service.md"),
        ("대츨 금리 알려줘", "연 3.5%~5.0%", "loans.md"),
        ("What is the intrest rate of a laon?", "between 3.5% and 5.0%", "loans.md"),
        ("고마워요", "다행입니다", "service.md"),
        ("thanks, bye", "You are welcome", "service.md"),
        ("hello", "How can I help you", "service.md"),
    ],
)
async def test_it_finds_the_answer(shipped: Faq, question: str, answer: str, document: str) -> None:
    text, verdict = await ask(shipped, question)
    assert answer in text
    assert verdict.suggested_action == "CONTINUE"
    assert verdict.source_documents[0]["document"] == document
    assert verdict.tokens_used == len(text.split())


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("상담원 연결해 주세요", "HUMAN_REQ"),
        ("상담원 연결해줘", "HUMAN_REQ"),
        ("상담사 바꿔줘", "HUMAN_REQ"),
        ("talk to a human", "HUMAN_REQ"),
        ("너무 화가 나네요", "COMPLAINT"),
        ("사람이랑 얘기하고 싶어요", "HUMAN_REQ"),
        ("Let me speak with an operator", "HUMAN_REQ"),
        ("직원이 너무 불친절해요", "COMPLAINT"),
        ("I want to complain", "COMPLAINT"),
    ],
)
async def test_it_knows_when_a_person_is_wanted(shipped: Faq, question: str, intent: str) -> None:
    _, verdict = await ask(shipped, question)
    assert (verdict.intent, verdict.suggested_action) == (intent, "HANDOVER")


@pytest.mark.parametrize(
    "question",
    [
        "오늘 날씨 어때?",
        "비트코인 사도 될까요?",
        "점심 뭐 먹을까",
        "파이썬으로 웹서버 만드는 법",
        "긴 설명이 필요한 질문입니다.",
        "Who won the world cup?",
        "What is the capital of France?",
        "How do I bake bread?",
        "hello from the other side of the moon project",
        "🙂",
        "???",
        " ",
        "the " * 10_000,
        "x" * 60_000,
    ],
)
async def test_it_says_so_when_it_does_not_know(shipped: Faq, question: str) -> None:
    text, verdict = await ask(shipped, question)
    assert text == (DONT_KNOW_KOREAN if "가" <= max(question) <= "힣" else DONT_KNOW)
    assert (verdict.intent, verdict.suggested_action, list(verdict.source_documents)) == ("UNKNOWN", "HANDOVER", [])


async def test_a_follow_up_is_understood(shipped: Faq) -> None:
    assert "1억" in (await ask(shipped, "그럼 한도는요?", "대출 금리가 얼마인가요?"))[0]
    assert "1일 5,000만 원" in (await ask(shipped, "그럼 한도는요?", "이체 어떻게 해요?"))[0]


@pytest.mark.parametrize("options", [{"knowledge": 5}, {"folder": "knowledge"}])
def test_options_it_does_not_have(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="knowledge"):
        faq.build(Path("config"), options)
