"""Search in messages: how their text is indexed, found on both databases, ranked, and shown with its matches marked.

What is found is a substring of any word, in Korean as in English: the index holds each word's pairs of letters, and a
query is the pairs of its words in a row. It does not keep the index: the databases do, of `chat_messages.bigrams`.
"""

# ruff: noqa: S608 - queries are put together of this module's own words; values are bound

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import add
from statistics import mean
from unicodedata import combining, normalize

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from server.auth.policy import STAFF_ROLES
from server.errors import InvalidMessage
from server.identity import Identity
from server.namespaces.chat.access import access
from server.namespaces.chat.models import ChatMessage
from server.namespaces.chat.schemas import MAX_CONTENT_CHARS, MAX_HITS, MAX_QUERY_CHARS
from server.storage.database import Database
from server.timestamps import iso_utc

SNIPPET_CHARS = 200
LEAD_CHARS = 60  # of a snippet, before its first match
PIECE_CHARS = 1_000  # of a content, looked through at once for its first match

# A word may be in every message there is, and nobody reads them all: the newest matches are looked at, the best shown.
CANDIDATES = 200
RANKED_CHARS = 6_000  # of a candidate's bigrams; of its text a third
NAMED_SESSIONS = 100  # so many are named to the index; of who sees more, each match's session is looked at
MATCHES_READ = 20_000  # of theirs at most, on SQLite
WINDOW = 2_000  # newest messages in which PostgreSQL, whose index knows no order, finds what is common without it

# As in the migration, or PostgreSQL would not know its index again. Single letters are for words of one.
GRAMS = "(string_to_array(m.bigrams, ' ') || string_to_array(replace(m.bigrams, ' ', ''), NULL))"

# The plan for one word is not the plan for another, far commoner one. And how often words meet cannot be foreseen: it
# would read all of a small table for each match of what it takes for one match.
PLANNING = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true)"

CANDIDATE = f"SELECT m.id, substr(m.bigrams, 1, {RANKED_CHARS}), length(m.bigrams)"

Candidate = tuple[int, str, int]


def bigrams(text: str) -> str:
    """`chat_messages.bigrams` of a text: "ab bc c" for each word "abc", so that every letter begins a token."""
    return " ".join(f"{_phrase(word)} {word[-1]}" if len(word) > 1 else word for word in _words(text))


def _fold(text: str) -> str:
    """What differs in case, width or composition becomes the same."""
    return normalize("NFKC", normalize("NFKC", text).casefold())


def _words(text: str) -> list[str]:
    return _fold(text[:MAX_CONTENT_CHARS]).split()


def _phrase(word: str) -> str:
    """What `bigrams` holds wherever the word stands, alone or in a longer one."""
    return " ".join(map(add, word, word[1:])) if len(word) > 1 else word


class Search:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._find = _find_on_sqlite if database.engine.dialect.name == "sqlite" else _find_on_postgresql

    async def search(self, identity: Identity, query: str, *, session_id: str | None, limit: int) -> dict[str, object]:
        """Messages that hold every word of the query, in sessions the user may see, the best first.

        Raises InvalidMessage, and Forbidden for a session that may not be used.
        """
        words = _query_words(query)
        if not 1 <= limit <= MAX_HITS:
            raise InvalidMessage(details={"limit": [f"Must be from 1 to {MAX_HITS}."]})
        async with self._database.reading() as db:
            if session_id is not None:
                await access(db, identity, session_id)
            scope = await _scope(db, identity, session_id)
            found = await self._find(db, words, scope) if scope.named != [] else []
            best = (await asyncio.to_thread(_rank, found, words))[:limit]
            of_best = select(ChatMessage).where(ChatMessage.id.in_([id for id, _ in best]))
            messages = await db.scalars(of_best.options(defer(ChatMessage.bigrams)))
            by_id = {message.id: message for message in messages}
        hits = [(by_id[id], score) for id, score in best if id in by_id]
        return {"query": query, "hits": await asyncio.to_thread(_hits, hits, words)}


def _query_words(query: str) -> list[str]:
    """Raises InvalidMessage."""
    words: list[str] = []
    if not 1 <= len(query) <= MAX_QUERY_CHARS:
        wrong = f"Length must be between 1 and {MAX_QUERY_CHARS}."
    elif any(char == "\0" or "\ud800" <= char <= "\udfff" for char in query):
        wrong = "May not contain NUL or lone surrogates."
    else:
        wrong = "Must be more than spaces."
        words = list(dict.fromkeys(_words(query)))
    if not words:
        raise InvalidMessage(details={"query": [wrong]})
    return words


# Finding: each database gives its newest matches, in any order.


@dataclass(frozen=True, slots=True)
class _Scope:
    """The sessions whose messages a user may find: a rule for chat_sessions `s`, and their ids when they are few."""

    rule: str
    named: list[str] | None
    values: dict[str, object]

    @property
    def has_message(self) -> str:
        return f"EXISTS (SELECT 1 FROM chat_sessions s WHERE s.session_id = m.session_id AND {self.rule})"


async def _scope(db: AsyncSession, identity: Identity, session_id: str | None) -> _Scope:
    """As `policy.may_use_session` has it."""
    rules = ["s.status <> 'deleted'", "s.tenant IS NULL" if identity.tenant is None else "s.tenant = :tenant"]
    if session_id is not None:
        rules.append("s.session_id = :session_id")
    if not identity.has_role(*STAFF_ROLES):
        rules.append("s.session_id IN (SELECT p.session_id FROM chat_participants p WHERE p.user_id = :user_id)")
    rule = " AND ".join(rules)
    values = {"tenant": identity.tenant, "user_id": identity.user_id, "session_id": session_id}
    query = text(f"SELECT s.session_id FROM chat_sessions s WHERE {rule} LIMIT {NAMED_SESSIONS + 1}")
    named = [session_id for (session_id,) in await db.execute(query, values)]
    return _Scope(rule, named if len(named) <= NAMED_SESSIONS else None, dict(values))


async def _find_on_sqlite(db: AsyncSession, words: Sequence[str], scope: _Scope) -> list[Candidate]:
    """FTS5 walks its matches from the newest on, and knows the session of each."""
    match = f"bigrams : ({' AND '.join(map(_fts_phrase, words))})"
    read, rest = MATCHES_READ, f"WHERE {scope.has_message} LIMIT {CANDIDATES}"
    if scope.named is not None:
        match += f" AND session : ({' OR '.join(_fts_session(each) for each in scope.named)})"
        read, rest = CANDIDATES, ""
    newest = f"SELECT rowid FROM chat_search WHERE chat_search MATCH :match ORDER BY rowid DESC LIMIT {read}"
    # Not ordered again: that would read all of them, where those that come first are the newest already.
    query = f"{CANDIDATE} FROM ({newest}) f CROSS JOIN chat_messages m ON m.id = f.rowid {rest}"
    return [row._tuple() for row in await db.execute(text(query), scope.values | {"match": match})]


def _fts_phrase(word: str) -> str:
    quoted = '"' + _phrase(word).replace('"', '""') + '"'
    return quoted if len(word) > 1 else f"{quoted} *"


def _fts_session(session_id: str) -> str:
    return f'"{session_id.encode().hex()}"'


async def _find_on_postgresql(db: AsyncSession, words: Sequence[str], scope: _Scope) -> list[Candidate]:
    """Among the newest messages and, only when those have too few, by the index: it would read all that match."""
    phrases = [_phrase(word) for word in words]
    patterns = [f"%{_escaped(phrase)}%" for phrase in phrases]
    values = scope.values | {
        "named": scope.named,
        "patterns": patterns,
        "grams": [gram for phrase in phrases for gram in _covering(phrase.split(" "))],
        "longer": [pattern for pattern, word in zip(patterns, words, strict=True) if len(word) > 2],
    }
    holds = "m.bigrams LIKE ALL (CAST(:patterns AS text[]))"
    indexed = (
        f"FROM chat_messages m WHERE {GRAMS} @> CAST(:grams AS text[])"
        " AND m.bigrams LIKE ALL (CAST(:longer AS text[]))"  # of shorter words the index is sure
    )
    if scope.named is None:
        window = f"FROM (SELECT * FROM chat_messages ORDER BY id DESC LIMIT {WINDOW}) m"
        sources = f"{window} WHERE {holds} AND {scope.has_message}", f"{indexed} AND {scope.has_message}"
    else:
        window = (
            "FROM unnest(CAST(:named AS text[])) AS session(id) CROSS JOIN LATERAL (SELECT * FROM chat_messages"
            f" WHERE session_id = session.id ORDER BY seq DESC LIMIT {WINDOW // len(scope.named)}) m"
        )
        sources = f"{window} WHERE {holds}", f"{indexed} AND m.session_id = ANY (CAST(:named AS text[]))"
    await db.execute(text(PLANNING))
    found: list[Candidate] = []
    for source in sources:
        newest = f"SELECT m.id {source} ORDER BY m.id DESC LIMIT {CANDIDATES}"
        query = text(f"{CANDIDATE} FROM ({newest}) f JOIN chat_messages m ON m.id = f.id")
        found = [row._tuple() for row in await db.execute(query, values)]
        if len(found) == CANDIDATES:
            break
    return found


def _covering(grams: list[str]) -> list[str]:
    """Enough of them to have every letter: each costs a walk through its postings."""
    return [*grams[::2], *grams[-1:]]


def _escaped(phrase: str) -> str:
    """For LIKE."""
    return phrase.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


# Ranking and showing


def _rank(candidates: Sequence[Candidate], words: Sequence[str]) -> list[tuple[int, float]]:
    """(id, score), the best first and the newest first among equals. The formula is BM25's, without what tells rare
    words from common ones: a candidate has them all."""
    if not candidates:
        return []
    starts = [f" {_phrase(word)}" for word in words]
    usual = mean(length for _, _, length in candidates)
    scores = []
    for id, grams, length in candidates:
        weight = 1.2 * (0.25 + 0.75 * length / usual)
        counts = (max(1, f" {grams}".count(start)) for start in starts)
        scores.append((round(sum(2.2 * count / (count + weight) for count in counts), 3), id))
    return [(id, score) for score, id in sorted(scores, reverse=True)]


def _hits(found: Sequence[tuple[ChatMessage, float]], words: Sequence[str]) -> list[dict[str, object]]:
    return [_hit(message, message.content, score, words) for message, score in found if message.content is not None]


def _hit(message: ChatMessage, content: str, score: float, words: Sequence[str]) -> dict[str, object]:
    snippet, highlight = _snippet(content, words)
    return {
        "message_id": message.message_id,
        "session_id": message.session_id,
        "seq": message.seq,
        "sender_type": message.sender_type,
        "sender_id": message.sender_id,
        "content": snippet,
        "highlight": highlight,
        "score": score,
        "created_at": iso_utc(message.created_at),
    }


def _snippet(content: str, words: Sequence[str]) -> tuple[str, str]:
    """What surrounds the first match, and the same as HTML with every match in <mark>."""
    start, end = 0, len(content)
    if end > SNIPPET_CHARS:
        start = max(0, min(_first_match(content, words) - LEAD_CHARS, end - SNIPPET_CHARS + 2))
        if start:  # after a space, if there is one nearby
            start = content.find(" ", start, start + LEAD_CHARS // 2) + 1 or start
        end = min(end, start + SNIPPET_CHARS - 2)
    opening, closing = "…" if start else "", "…" if end < len(content) else ""
    marked = [opening]
    shown = start
    for first, last in _matches(content[start : end + _overlap(words)], words):
        first, last = start + first, min(start + last, end)
        if first >= end:
            break
        marked += html.escape(content[shown:first]), "<mark>", html.escape(content[first:last]), "</mark>"
        shown = last
    marked += html.escape(content[shown:end]), closing
    return opening + content[start:end] + closing, "".join(marked)


def _first_match(content: str, words: Sequence[str]) -> int:
    """Where in the content any of the words first is; looked for in pieces, because what is folded has moved."""
    for start in range(0, len(content), PIECE_CHARS):
        piece = content[start : start + PIECE_CHARS + _overlap(words)]
        folded = _fold(piece)
        if any(word in folded for word in words):
            return start + min(first for first, _ in _matches(piece, words))
    return 0


def _overlap(words: Sequence[str]) -> int:
    """How long a match may be before it is folded: Hangul in letters has three for one, Greek with accents four."""
    return 4 * max(map(len, words))


def _matches(content: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where the words are, in the order of the content; what overlaps or touches is one."""
    letters = list(content)
    folded = [_fold(letter) for letter in letters]
    if "".join(folded) != _fold(content):  # some are one letter only together
        letters = list(_letters(content))
        folded = [_fold(letter) for letter in letters]
    begins: list[int] = []  # of each folded character, where what became it begins, and where that ends
    ends: list[int] = []
    at = 0
    for letter, became in zip(letters, folded, strict=True):
        begins += [at] * len(became)
        at += len(letter)
        ends += [at] * len(became)
    whole = "".join(folded)
    merged: list[tuple[int, int]] = []
    for first, last in sorted(
        (begins[at], ends[at + len(word) - 1]) for word in words for at in _occurrences(whole, word)
    ):
        if merged and first <= merged[-1][1]:
            first, last = merged[-1][0], max(merged.pop()[1], last)
        merged.append((first, last))
    return merged


def _occurrences(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


def _letters(content: str) -> Iterator[str]:
    """Its pieces that fold each by itself to what they fold to together."""
    letter = ""
    for char in content:
        if letter and not combining(char) and _fold(letter + char) == _fold(letter) + _fold(char):
            yield letter
            letter = ""
        letter += char
    if letter:
        yield letter
