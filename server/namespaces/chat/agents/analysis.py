"""What an operator should know before taking over: what a session is about, how urgent, and in a few words.

By rules over the last turns, without a model: the same session always gives the same analysis, at once.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from server.namespaces.chat.agents.backend import (
    COMPLAINT,
    CONTINUE,
    GREETING,
    HANDOVER,
    HUMAN_REQ,
    INFO_REQ,
    UNKNOWN,
    Turn,
    Verdict,
)
from server.namespaces.chat.agents.ranking import is_korean, surfaces

LOW, MEDIUM, HIGH, CRITICAL = "low", "medium", "high", "critical"
MAX_TURNS = 20  # of the customer
MAX_TURN_CHARS = 500
MAX_QUOTE_CHARS = 120
MAX_KEYWORDS = 5
MAX_KEYWORD_CHARS = 40
SAME = 0.6  # of two questions' words: asked again


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_DANGER = _any(
    r"분실|잃어버|도난|도둑|훔쳐|해킹|해커|피싱|스미싱|도용|명의\s*도용|부정\s*(사용|결제|인출)|무단\s*(결제|인출|이체)",
    r"사기(를|꾼|당|\s*당|범|죄|\s*피해|\s*계좌|\s*전화|\s*의심|\s*같|인\s*것|예요|입니다|$)|자살|죽고\s*싶",
    r"\b(stolen|theft|thief|fraud\w*|scam\w*|hack(ed|er|ers|ing)|phish\w*|unauthori[sz]ed|identity theft|suicide)\b",
    r"\b(lost|lose|losing|missing)\b.{0,20}\b(card|wallet|phone|passport|bankbook|money)\b",
    r"\b(card|wallet|phone|passport)\b.{0,20}\b(lost|missing)\b",
)
_HURRY = _any(
    r"긴급|급해|급합|급하(?!지)|급한|당장|즉시|지금\s*바로|빨리|시급|오늘\s*(안에|까지|중)|소송|고소|법적|금감원|금융감독원|변호사|언론",
    r"(?<!not )(?<!isn't )\burgent(ly)?\b",
    r"\b(emergency|immediately|right now|right away|at once|asap|lawyer|lawsuit|sue)\b",
)
_ANGER = _any(
    r"불만|민원|불친절|항의|화가?\s*(나|났|납)|짜증|어이\s*없|최악|엉망|실망|너무하|환장|열\s*받|몇\s*번(을|이나|째)|사과하|책임\s*(져|지)",
    r"\b(complain\w*|angry|furious|terrible|awful|worst|unacceptable|ridiculous|disappoint\w*|rude|useless|fed up)\b",
)
_PERSON = _any(
    r"(상담원|상담사|직원|담당자|사람)\S{0,3}\s*(연결|바꿔|통화|불러|얘기|이야기|대화|상담|말)",
    r"\b(talk|speak|connect|transfer)\b.{0,20}\b(person|human|someone|somebody|agent|operator|representative|staff)\b",
    r"\b(real|live) (person|human|agent)\b",
)


@dataclass(frozen=True, slots=True)
class Analysis:
    intent: str
    urgency: str
    summary: str
    keywords: Sequence[str]
    suggested_action: str

    def to_wire(self) -> dict[str, object]:
        """`POST /api/v1/handover/analyze`, less the session's id."""
        return asdict(self)


def analyze(turns: Sequence[Turn], verdicts: Sequence[Verdict] = ()) -> Analysis:
    """Both oldest first; `verdicts` are those of the agent's answers in the session."""
    said = [turn.text[:MAX_TURN_CHARS] for turn in turns if turn.role == "user"][-MAX_TURNS:]
    recent = verdicts[-MAX_TURNS:]
    words = [surfaces(text) for text in said]
    intent = _intent(said, words, recent)
    unanswered = sum(verdict.intent == UNKNOWN for verdict in recent)
    again = _asked_again(words)
    urgency = _urgency(said, troubles=(intent == COMPLAINT) + (unanswered > 1) + again)
    wanted = bool(recent) and recent[-1].suggested_action == HANDOVER
    hand_over = wanted or intent in (COMPLAINT, HUMAN_REQ) or urgency in (HIGH, CRITICAL)
    return Analysis(
        intent, urgency, _summary(said, words, unanswered, again), _keywords(words), HANDOVER if hand_over else CONTINUE
    )


def _intent(said: Sequence[str], words: Sequence[Sequence[str]], verdicts: Sequence[Verdict]) -> str:
    """What is worst counts; else what the agent thought last of something it knew."""
    if any(map(_ANGER.search, said)):
        return COMPLAINT
    if any(map(_PERSON.search, said)):
        return HUMAN_REQ
    known = [verdict.intent for verdict in verdicts if verdict.intent not in (None, UNKNOWN)]
    for intent in reversed(known):
        if intent and intent != GREETING:
            return intent
    if known and len(said) <= len(known):
        return GREETING
    return INFO_REQ if any(words) else UNKNOWN


def _urgency(said: Sequence[str], troubles: int) -> str:
    if any(map(_DANGER.search, said)):
        return CRITICAL
    if troubles > 1 or any(map(_HURRY.search, said)):
        return HIGH
    return MEDIUM if troubles else LOW


def _asked_again(words: Sequence[Sequence[str]]) -> bool:
    questions = [frozenset(map(str.casefold, each)) for each in words if each]
    return any(
        len(one & other) >= SAME * len(one | other)
        for index, one in enumerate(questions)
        for other in questions[index + 1 :]
    )


def _summary(said: Sequence[str], words: Sequence[Sequence[str]], unanswered: int, again: bool) -> str:
    spoken = [text for text, each in zip(said, words, strict=True) if each] or [text for text in said if text.strip()]
    if not spoken:
        return "고객의 말이 아직 없습니다. (The customer has not said anything yet.)"
    first, last = _quote(spoken[0]), _quote(spoken[-1])
    if is_korean(spoken[-1]):
        parts = [
            f"고객 메시지 {len(said)}건.",
            f"첫 문의: “{first}”" if len(spoken) > 1 else "",
            f"마지막 문의: “{last}”",
        ]
        parts += [
            f"상담봇이 답하지 못한 질문 {unanswered}건." if unanswered else "",
            "같은 질문 반복." if again else "",
        ]
    else:
        count = "1 message" if len(said) == 1 else f"{len(said)} messages"
        parts = [f"{count} of the customer.", f"First: “{first}”" if len(spoken) > 1 else "", f"Last: “{last}”"]
        parts += [f"Not answered: {unanswered}." if unanswered else "", "Asked again." if again else ""]
    return " ".join(part for part in parts if part)


def _quote(text: str) -> str:
    """Whole words only: nothing is torn."""
    return textwrap.shorten("".join(filter(str.isprintable, " ".join(text.split()))), MAX_QUOTE_CHARS, placeholder="…")


def _keywords(words: Sequence[Sequence[str]]) -> list[str]:
    """What was said most, the last message twice as loud; of equals, what came last."""
    loud: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for each in (*words[-1:], *words):
        for word in each:
            if len(word) <= MAX_KEYWORD_CHARS:
                shown.setdefault(word.casefold(), word)
                loud[word.casefold()] += 1
    return [shown[word] for word, _ in loud.most_common(MAX_KEYWORDS)]
