"""Search over 100,000 messages in 200 sessions, on both databases: how long a user waits for each kind of query."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from statistics import median, quantiles

import click
from sqlalchemy import insert, text, update

from server.identity import Identity
from server.migrations import upgrade
from server.namespaces.chat.models import ChatMessage, ChatParticipant, ChatSession
from server.namespaces.chat.search import Search, bigrams
from server.storage.database import Database
from tests.support.ports import free_port
from tests.support.postgres import postgres

MESSAGES = 100_000
SESSIONS = 200
OF_THE_USER = 20
ROUNDS = 60
BATCH = 2_000
TARGET_P95_MS = 50

KOREAN = (
    "대출 금리 상담 고객 계좌 이체 카드 결제 취소 환불 비밀번호 변경 로그인 오류 서버 웹서버 연결 확인 부탁드립니다 "
    "감사합니다 네 알겠습니다 담당자 문의 신청 승인 거절 한도 조회 이자 상환 만기 연장 보험 해지 가입 설치 인증서 "
    "본인확인 주소 배송 주문 상품 재고 가격"
)
ENGLISH = (
    "loan rate interest account transfer card payment cancel refund password reset login error server webserver "
    "timeout connection please thanks customer support agent ticket urgent invoice delivery order product price balance"
)
COMMON, EVERYWHERE, RARE = "안녕하세요", "진행상황을안내해드리겠습니다", "특이한검색어"

#: What is asked for, from the rarest to what half of the messages hold.
QUERIES = {
    "selective": RARE,
    "nothing": "없는낱말",
    "Korean, two syllables": "서버",
    "Korean, one syllable": "돈",
    "English": "payment",
    "two words": "대출 server",
    "two words, one common": f"{COMMON} server",
    "common, two syllables": "안녕",
    "common (50 %)": COMMON,
    "common, long (50 %)": EVERYWHERE,
    "one letter": "e",
    "emoji": "🙏",
}
WHO = {
    f"user, {OF_THE_USER} sessions": Identity("alice"),
    "operator, all sessions": Identity("olga", roles=frozenset({"operator"})),
}


@dataclass(frozen=True, slots=True)
class Row:
    who: str
    query: str
    p50_ms: float
    p95_ms: float
    hits: int


def conversation() -> Iterator[str]:
    """Words as often as people use them: few all the time, thousands now and then."""
    chance = random.Random(5)  # noqa: S311
    syllables = [chr(0xAC00 + chance.randrange(11_172)) for _ in range(900)]
    vocabularies = []
    for known, letters, lengths in (
        (KOREAN, syllables, (2, 4)),
        (ENGLISH, list("etaoinshrdlucmfwypvbgkjqxz"), (4, 10)),
    ):
        rare = ["".join(chance.choices(letters, k=chance.randint(*lengths))) for _ in range(4_000)]
        words = [*known.split(), *rare]
        vocabularies.append((words, list(accumulate(1 / (rank + 3) for rank in range(len(words))))))
    for number in range(MESSAGES):
        said = []
        for words, weights in vocabularies if number % 3 == 0 else (vocabularies[number % 2],):
            said += chance.choices(words, cum_weights=weights, k=chance.randint(3, 20))
        if number % 2 == 0:
            said.insert(0, COMMON)
        if number % 4 < 2:
            said.append(EVERYWHERE)
        if number % 10_000 == 77:
            said.append(RARE)
        if number % 50 == 0:
            said.append("돈 🙏")
        yield " ".join(said)


async def fill(database: Database) -> None:
    """The messages of all sessions mixed, in the order of time."""
    chance = random.Random(6)  # noqa: S311
    began = datetime(2026, 1, 1, tzinfo=UTC)
    async with database.transaction() as db:
        await db.execute(
            insert(ChatSession), [{"session_id": f"sess_{number}", "user_id": "owner"} for number in range(SESSIONS)]
        )
        await db.execute(
            insert(ChatParticipant),
            [{"session_id": f"sess_{number}", "user_id": "alice"} for number in range(OF_THE_USER)],
        )
    last_seq = [0] * SESSIONS
    rows = []
    for number, content in enumerate(conversation()):
        session = chance.randrange(SESSIONS)
        last_seq[session] += 1
        rows.append(
            {
                "session_id": f"sess_{session}",
                "seq": last_seq[session],
                "message_id": f"msg_{number}",
                "sender_type": "user",
                "sender_id": "alice",
                "message_type": "text",
                "content": content,
                "bigrams": bigrams(content),
                "created_at": began + timedelta(seconds=number),
            }
        )
        if len(rows) == BATCH:
            async with database.transaction() as db:
                await db.execute(insert(ChatMessage), rows)
            rows = []
    async with database.transaction() as db:
        for number, seq in enumerate(last_seq):
            of_session = ChatSession.session_id == f"sess_{number}"
            await db.execute(update(ChatSession).where(of_session).values(last_seq=seq))
        if database.engine.dialect.name == "postgresql":
            await db.execute(text("ANALYZE"))  # autovacuum would, in a minute


async def measure(database_url: str) -> list[Row]:
    """Of a migrated, empty database; queries in turn, so that none finds what it needs just read."""
    database = Database(database_url)
    try:
        await fill(database)
        search = Search(database)
        taken: dict[tuple[str, str], list[float]] = {(who, kind): [] for who in WHO for kind in QUERIES}
        hits = {}
        for round_ in range(ROUNDS + 5):
            for (who, kind), durations in taken.items():
                began = time.perf_counter()
                found = (await search.search(WHO[who], QUERIES[kind], session_id=None, limit=20))["hits"]
                if round_ >= 5:  # the first prepare statements
                    durations.append(1e3 * (time.perf_counter() - began))
                assert isinstance(found, list)
                hits[who, kind] = len(found)
        return [
            Row(who, kind, median(durations), quantiles(durations, n=20)[18], hits[who, kind])
            for (who, kind), durations in taken.items()
        ]
    finally:
        await database.close()


def table(databases: dict[str, list[Row]]) -> str:
    lines = [
        f"### Search: {MESSAGES:,} messages in {SESSIONS} sessions, {ROUNDS} rounds",
        "",
        "| database | who | query | p50 ms | p95 ms | hits |",
        "|---|---|---|--:|--:|--:|",
    ]
    for name, rows in databases.items():
        lines += [
            f"| {name} | {row.who} | {row.query} | {row.p50_ms:.1f} | {row.p95_ms:.1f} | {row.hits} |" for row in rows
        ]
    worst = max(row.p95_ms for rows in databases.values() for row in rows)
    verdict = "reached" if worst < TARGET_P95_MS else "missed"
    return "\n".join([*lines, "", f"Target: p95 under {TARGET_P95_MS} ms; the worst is {worst:.1f} ms: {verdict}.", ""])


def measure_both() -> dict[str, list[Row]]:
    databases = {}
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{directory}/search.db"
        upgrade(url)
        databases["SQLite"] = asyncio.run(measure(url))
    with postgres(free_port()) as server:
        url = server.replace("postgresql:", "postgresql+asyncpg:")
        upgrade(url)
        databases["PostgreSQL"] = asyncio.run(measure(url))
    return databases


if __name__ == "__main__":
    click.echo(table(measure_both()))
