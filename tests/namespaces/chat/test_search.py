from __future__ import annotations

import asyncio
import itertools
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text, update

from server.errors import Forbidden, InvalidMessage
from server.identity import Identity
from server.namespaces.chat import search as module
from server.namespaces.chat.models import ChatMessage, ChatParticipant, ChatSession
from server.namespaces.chat.search import MAX_HITS, SNIPPET_CHARS, Search, _fold, _matches, _phrase, _snippet, bigrams
from server.storage.database import Database
from tests.support import running

MOMENT = datetime(2025, 11, 3, 10, 30, 45, 123000, tzinfo=UTC)
ALICE = Identity("alice")
BOB = Identity("bob")
OPERATOR = Identity("olga", roles=frozenset({"operator"}))

words = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\0"),
        st.sampled_from("각ᄀ\u1161\u11a8ßİﾞｶＡáa\u0301\u0323\u0307v\u093c\U0001f44d\U0001f3fd\u200d\ufe0f%_\\"),
    ),
    max_size=30,
)


class Desk:
    """A database and what is said in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.search = Search(database)
        self._numbers = itertools.count(1)

    async def open(self, session_id: str, *users: str, tenant: str | None = None, status: str = "active") -> None:
        async with self.database.transaction() as db:
            db.add(ChatSession(session_id=session_id, user_id="owner", tenant=tenant, status=status))
            await db.flush()
            db.add_all(ChatParticipant(session_id=session_id, user_id=user) for user in users)

    async def say(self, *contents: str | None, session_id: str = "s1") -> None:
        """Their ids are m1, m2 and so on."""
        async with self.database.transaction() as db:
            for content in contents:
                number = next(self._numbers)
                db.add(
                    ChatMessage(
                        session_id=session_id,
                        seq=number,
                        message_id=f"m{number}",
                        sender_type="user",
                        sender_id="alice",
                        message_type="text",
                        content=content,
                        bigrams=None if content is None else bigrams(content),
                        created_at=MOMENT + timedelta(seconds=number),
                    )
                )
                await db.flush()

    async def hits(
        self, query: str, who: Identity = ALICE, *, session_id: str | None = None, limit: int = 20
    ) -> list[dict[str, object]]:
        found = await self.search.search(who, query, session_id=session_id, limit=limit)
        assert found["query"] == query
        hits = found["hits"]
        assert isinstance(hits, list)
        return hits

    async def ids(self, query: str, who: Identity = ALICE, *, session_id: str | None = None) -> list[object]:
        return [hit["message_id"] for hit in await self.hits(query, who, session_id=session_id)]


@pytest_asyncio.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    """Alice is in the session s1."""
    database = await asyncio.to_thread(Database, running.settings(DATABASE_URL=database_url).database_url)
    desk = Desk(database)
    await desk.open("s1", "alice")
    yield desk
    await database.close()


async def test_a_hit(desk: Desk) -> None:
    await desk.say("대출 <금리>가 얼마인가요?")
    assert await desk.hits("금리") == [
        {
            "message_id": "m1",
            "session_id": "s1",
            "seq": 1,
            "sender_type": "user",
            "sender_id": "alice",
            "content": "대출 <금리>가 얼마인가요?",
            "highlight": "대출 &lt;<mark>금리</mark>&gt;가 얼마인가요?",
            "score": 1.0,
            "created_at": "2025-11-03T10:30:46.123Z",
        }
    ]


FOUND = [
    ("우리 웹서버가 멈췄어요", "서버"),
    ("우리 웹서버가 멈췄어요", "웹서버가"),
    ("우리 웹서버가 멈췄어요", "버"),
    ("The WebServer is down", "SERVER"),
    ("The WebServer is down", "bs"),
    ("The WebServer is down", "down server"),
    ("plan b", "b"),
    ("api서버 재시작", "API 서버"),
    ("ＡＰＩ 키", "api"),
    ("api 키", "ＡＰＩ"),
    ("Straße", "STRASSE"),
    ("die STRASSE", "straße"),
    ("İstanbul", "i̇stanbul"),
    ("ΟΔΟΣ", "οδος"),
    (unicodedata.normalize("NFD", "한국어 café"), "한국"),
    (unicodedata.normalize("NFD", "한국어 café"), "café"),
    ("고마워요👍🏽!", "👍🏽"),
    ("잘했어요 🎉", "🎉"),
    ("שלום עולם", "עולם"),
    ("see https://example.com/a?b=c", "com/a?b="),
    ("50% off, 1_000 \\ 'it''s' \"so\"", "50%"),
    ("50% off, 1_000 \\ 'it''s' \"so\"", "_0"),
    ("50% off, 1_000 \\ 'it''s' \"so\"", "\\"),
    ("50% off, 1_000 \\ 'it''s' \"so\"", "it''s"),
    ("50% off, 1_000 \\ 'it''s' \"so\"", '"so"'),
    ("a* NEAR(b) -c ^d {e} :f", "near(b)"),
    ("a* NEAR(b) -c ^d {e} :f", "* - ^ { } :"),
    ("tab\tand\nline", "and line"),
    ("control \x01\x7f signs", "\x01\x7f"),
    ("아주" * 200 + "머나먼" + "곳" * 200, "머나먼"),
]


async def test_found_and_marked(desk: Desk) -> None:
    contents = list(dict.fromkeys(content for content, _ in FOUND))
    await desk.say(*contents)
    for content, query in FOUND:
        hits = {hit["message_id"]: str(hit["highlight"]) for hit in await desk.hits(query)}
        assert "<mark>" in hits.get(f"m{contents.index(content) + 1}", "not found"), (content, query)
        assert all("<mark>" in highlight for highlight in hits.values()), query


@pytest.mark.parametrize("candidates", [200, 1])
async def test_not_found(desk: Desk, candidates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES", candidates)  # one alone fills PostgreSQL's window
    await desk.say("우리 웹서버 멈췄어요 the webserver down", "abc ab bcd 금", "리")
    for query in ("servers", "서웹", "버멈", "webdown", "금 리", "abd", "a_c", "a%c", "b%", "a*", '"', "'", "\\"):
        assert await desk.ids(query) == [], query
    for query in ("NOT zz", "abc OR zz", "bigrams : ab", "session:s1", "NEAR(ab bc)", 'ab" OR "bc', "ab) OR (bc", "{}"):
        assert await desk.ids(query) == [], query


async def test_all_words_must_occur_in_any_order(desk: Desk) -> None:
    await desk.say("카드 결제 취소", "결제 카드", "카드", "결제")
    assert set(await desk.ids("카드 결제")) == {"m1", "m2"}
    assert set(await desk.ids("결제 카드 카드")) == {"m1", "m2"}
    assert await desk.ids("카드 환불") == []


async def test_the_best_come_first_and_the_newest_among_equals(desk: Desk) -> None:
    filler = "이것은 금리와 상관없는 아주 긴 이야기입니다 " * 5
    await desk.say("금리 안내", "금리 안내", filler, "금리 금리 금리", "안내 없음")
    hits = await desk.hits("금리")
    assert [hit["message_id"] for hit in hits] == ["m4", "m2", "m1", "m3"]
    scores = [hit["score"] for hit in hits]
    assert scores[0] > scores[1] == scores[2] > scores[3] > 0  # type: ignore[operator]
    assert [hit["message_id"] for hit in await desk.hits("금리", limit=2)] == ["m4", "m2"]


async def test_queries_that_are_none(desk: Desk) -> None:
    for query in ("", " \t\u3000", "x" * 201, "x" * 10_000, "nul\0", "half \ud83d"):
        with pytest.raises(InvalidMessage) as refused:
            await desk.search.search(ALICE, query, session_id=None, limit=20)
        assert refused.value.details is not None
        assert refused.value.details.keys() == {"query"}
    for limit in (-1, 0, MAX_HITS + 1):
        with pytest.raises(InvalidMessage) as refused:
            await desk.search.search(ALICE, "hi", session_id=None, limit=limit)
        assert refused.value.details is not None
        assert refused.value.details.keys() == {"limit"}


async def test_the_longest_queries(desk: Desk) -> None:
    letters = " ".join("abcdefghijklmnopqrstuvwxyz" * 3)
    for number, query in enumerate(("x" * 200, letters, "\ufdfa" * 200, '"' * 200, "' \"" * 66), start=1):
        await desk.say(query)
        assert (await desk.ids(query))[0] == f"m{number}"


@pytest.mark.parametrize("named_sessions", [100, 1])
async def test_only_in_sessions_the_user_may_see(
    desk: Desk, named_sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAMED_SESSIONS", named_sessions)
    for session_id, users, tenant, status in (
        ("s2", ["alice", "bob"], None, "active"),
        ("s3", ["bob"], None, "archived"),
        ("s4", ["alice", "bob"], None, "deleted"),
        ("s5", ["alice", "bob"], "acme", "active"),
        ("s6", ["alice", "bob"], "acme", "active"),
        ("s7 <odd>\"'*", ["bob"], None, "active"),
    ):
        await desk.open(session_id, *users, tenant=tenant, status=status)
    for number in range(1, 7):
        await desk.say("비밀 이야기", session_id=f"s{number}")
    await desk.say("비밀 이야기", session_id="s7 <odd>\"'*")

    async def sessions(who: Identity) -> set[object]:
        return {hit["session_id"] for hit in await desk.hits("비밀", who)}

    assert await sessions(ALICE) == {"s1", "s2"}
    assert await sessions(BOB) == {"s2", "s3", "s7 <odd>\"'*"}
    assert await sessions(Identity("nobody")) == set()
    assert await sessions(OPERATOR) == {"s1", "s2", "s3", "s7 <odd>\"'*"}
    assert await sessions(Identity("alice", tenant="acme")) == {"s5", "s6"}
    assert await sessions(Identity("anna", tenant="acme", roles=frozenset({"admin"}))) == {"s5", "s6"}
    assert await sessions(Identity("anna", tenant="other", roles=frozenset({"admin"}))) == set()
    assert await sessions(Identity("anna", tenant="", roles=frozenset({"admin"}))) == set()


async def test_in_one_session(desk: Desk) -> None:
    await desk.open("s2", "alice")
    await desk.open("s3", "bob")
    await desk.open("s4", "alice", status="deleted")
    await desk.open("s5", "alice", tenant="acme")
    for number in range(1, 6):
        await desk.say("비밀", session_id=f"s{number}")
    assert await desk.ids("비밀", session_id="s2") == ["m2"]
    assert await desk.ids("비밀", OPERATOR, session_id="s3") == ["m3"]
    assert await desk.ids("비밀", session_id="s4") == []
    refusals = set()
    for session_id in ("s3", "s5", "unknown", "s'1"):
        with pytest.raises(Forbidden) as refused:
            await desk.ids("비밀", session_id=session_id)
        refusals.add(str(refused.value))
    assert len(refusals) == 1


async def test_edited_deleted_and_gone(desk: Desk) -> None:
    await desk.say("처음 말씀", "다른 말씀")

    async def change(content: str | None) -> None:
        values = {"content": content, "bigrams": None if content is None else bigrams(content)}
        async with desk.database.transaction() as db:
            await db.execute(update(ChatMessage).where(ChatMessage.message_id == "m1").values(values))

    await change("고친 글")
    assert await desk.ids("처음") == []
    assert await desk.ids("고친") == ["m1"]
    await change("고친 글")
    await change(None)
    assert await desk.ids("고친") == []
    await change("되살린 글")
    assert await desk.ids("되살린") == ["m1"]
    async with desk.database.transaction() as db:
        await db.execute(text("DELETE FROM chat_sessions"))
    await desk.open("s1", "alice")
    await desk.say("새 말씀")  # SQLite gives it a deleted message's id
    assert await desk.ids("말씀") == ["m3"]
    assert await desk.ids("되살린") == []


async def test_the_longest_messages(desk: Desk) -> None:
    """PostgreSQL's tsvector would refuse them or forget their ends."""
    for letter in ("x", "가", "\U0001f600"):
        numbered = " ".join(f"{letter}{number:06}" for number in range(8_000))
        await desk.say(f"{numbered} {letter}맨끝", letter * 65_533 + "마지막")
        assert len(await desk.ids(f"{letter}맨끝")) == 1
        assert len(await desk.ids(f"{letter}007999")) == 1
        (last,) = await desk.hits(f"{letter}마지막")
        assert str(last["highlight"]).endswith(f"{letter}<mark>{letter}마지막</mark>")
        assert len(str(last["content"])) <= SNIPPET_CHARS


@pytest.mark.parametrize("named_sessions", [100, 0])
async def test_the_newest_of_many(desk: Desk, named_sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED_SESSIONS", named_sessions)
    monkeypatch.setattr(module, "CANDIDATES", 5)
    monkeypatch.setattr(module, "WINDOW", 10)
    await desk.say("드문 말", "가끔 하는 말", *["흔한 말"] * 30, "가끔 하는 말")
    assert await desk.ids("흔한") == [f"m{number}" for number in range(32, 27, -1)]
    assert await desk.ids("드문") == ["m1"]
    assert await desk.ids("가끔") == ["m33", "m2"]


@pytest.mark.parametrize("named_sessions", [100, 0])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_reads_its_index_in_order(
    desk: Desk, named_sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAMED_SESSIONS", named_sessions)
    executed: list[tuple[str, Any]] = []
    event.listen(
        desk.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: executed.append((statement, values)),
    )
    assert await desk.ids("특이한") == []
    ((statement, values),) = [each for each in executed if "MATCH" in each[0]]
    async with desk.database.reading() as db:
        connection = await db.connection()
        plan = "\n".join(map(str, await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)))
    assert "SCAN chat_search VIRTUAL TABLE INDEX" in plan
    assert "SEARCH m USING INTEGER PRIMARY KEY" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_postgresql_knows_its_index_again(desk: Desk) -> None:
    async with desk.database.reading() as db:
        await db.execute(text("SET enable_seqscan = off"))  # which an empty table invites
        explained = f"EXPLAIN SELECT id FROM chat_messages m WHERE {module.GRAMS} @> ARRAY['ab']"  # noqa: S608
        plan = "\n".join(map(str, await db.execute(text(explained))))
    assert "Bitmap Index Scan on idx_chat_messages_bigrams" in plan


async def test_a_message_without_pairs_is_not_found(desk: Desk) -> None:
    """Nor does it stop anything: as a write that does not know of search leaves it."""
    async with desk.database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO chat_messages (session_id, seq, message_id, sender_type, sender_id, message_type, content)"
                " VALUES ('s1', 1, 'm', 'user', 'alice', 'text', 'hello')"
            )
        )
    assert await desk.ids("hello") == []
    async with desk.database.transaction() as db:
        await db.execute(text("DELETE FROM chat_messages"))


# Text


def test_bigrams() -> None:
    assert bigrams("") == ""
    assert bigrams(" 웹서버 a AB\tabc ") == "웹서 서버 버 a ab b ab bc c"
    assert len(bigrams("가" * 1_000_000)) < 3 * 65_536


@given(words)
def test_every_part_of_every_word_is_in_the_pairs_and_is_found_to_be_marked(content: str) -> None:
    tokens = f" {bigrams(content)}"
    for word in _fold(content).split():
        for part in {word, word[:2], word[-2:], word[len(word) // 2], word[1:-1] or word}:
            assert f" {_phrase(part)}" in tokens
            assert _matches(content, [part])
            assert "<mark>" in _snippet(content, [part])[1]


@given(st.lists(words), words)
def test_a_snippet_is_part_of_the_text_and_its_highlight_the_same(before: Sequence[str], word: str) -> None:
    content = " ".join([*before, word])
    for folded in _fold(word).split() or ["nothing"]:
        snippet, highlight = _snippet(content, [folded])
        assert len(snippet) <= SNIPPET_CHARS
        assert snippet.strip("…") in content
        assert re.sub("</?mark>", "", highlight) == module.html.escape(snippet)
        assert not re.search("<(?!/?mark>)", highlight)


@pytest.mark.parametrize(
    ("content", "query", "highlight"),
    [
        ("<script>alert(1)</script>", "alert", "&lt;script&gt;<mark>alert</mark>(1)&lt;/script&gt;"),
        ("<script>", "<script>", "<mark>&lt;script&gt;</mark>"),
        ("<mark>a</mark> & b", "b", "&lt;mark&gt;a&lt;/mark&gt; &amp; <mark>b</mark>"),
        ("x\"'", "\"'", "x<mark>&quot;&#x27;</mark>"),
        ("amp &lt;", "amp", "<mark>amp</mark> &amp;lt;"),
        ("abcd abc", "abc bcd", "<mark>abcd</mark> <mark>abc</mark>"),
        ("aaaa", "aa", "<mark>aaaa</mark>"),
        ("Straße", "ss", "Stra<mark>ß</mark>e"),
        ("Straße", "as", "Str<mark>aß</mark>e"),
        ("İstanbul", "ista", "İstanbul"),
        ("İstanbul", "stan", "İ<mark>stan</mark>bul"),
        ("①②", "12", "<mark>①②</mark>"),
        ("㈱회사", "株", "<mark>㈱</mark>회사"),
        ("\u1100\u1161\u11a8\u1112\u1161", "각", "<mark>\u1100\u1161\u11a8</mark>\u1112\u1161"),
        ("\u1100\u1161\u11a8\u1112\u1161", "가", "\u1100\u1161\u11a8\u1112\u1161"),
        ("ｶﾞｽ", "ガ", "<mark>ｶﾞ</mark>ｽ"),
    ],
)  # fmt: skip
def test_highlights(content: str, query: str, highlight: str) -> None:
    assert _snippet(content, _fold(query).split())[1] == highlight


def test_a_long_text_is_shown_around_its_first_match() -> None:
    content = "alpha " * 5_000 + "needle in it " + "omega " * 5_000
    snippet, highlight = _snippet(content, ["needle"])
    assert snippet.startswith("…alpha ")
    assert snippet.endswith("…")
    assert 150 < len(snippet) <= SNIPPET_CHARS
    assert "<mark>needle</mark> in it omega" in highlight
    assert _snippet("needle " * 1_000, ["needle"])[0].startswith("needle needle")
    snippet, highlight = _snippet("가" * 1_000, ["가" * 200])
    assert len(snippet) == SNIPPET_CHARS - 1
    assert highlight == f"<mark>{snippet[:-1]}</mark>…"
