"""Okapi BM25 over words and Hangul bigrams: which document answers a question, and how much of it.

Korean glues particles to its words (금리, 금리가, 금리는), so two-syllable pieces match where whole words would not.
A long English word that no document has stands for one that is a letter away.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

K1 = 1.2
B = 0.5
TYPO_CHARS = range(5, 21)  # of what a typo may have meant: in shorter words, a letter makes another word

_CONTRACTION = re.compile(r"['’](s|d|m|t|re|ve|ll)\b")
_HANGUL = re.compile(r"[가-힣]")
_RUN = re.compile(r"[가-힣]+|[^\W_가-힣]+")
# What most questions have, and no document is about.
_ENGLISH = re.compile(
    r"an?|about|also|and|any|are|as|at|be|but|by|can|could|did|don|do|does|for|from|get|give|have|how|if?|in|is|its?|just|"
    r"let|like|long|many|me|much|my|need|no|not|of|on|or|our|please|so|tell|that|the|their|them|there|this|to|want|was|we|what|"
    r"when|where|which|who|why|will|with|would|you|your"
)
_KOREAN = re.compile(
    r"얼마(나)?|어떻게|무엇|뭐(가|를|예요)?|언제|어디|알려|그리고|그럼|그러면|그런데|근데|혹시|있(나|는|어|을)?|싶|되(나|는|어)?|하(나|는|고)?|수|좀"
)
# What makes a noun a verb, and what is one: a syllable with ㅆ below is never a noun's.
_DONE = re.compile(r"(?<=[가-힣]{2})(하|했|해|합|할|한|되|됐|된|당했|당한|당해|받|시키|시켜).*$")
_PAST = "".join(chr(code) for code in range(ord("가") + 20, ord("힣") + 1, 28))
_VERB = re.compile(rf".*[{_PAST}].*|싶.*|같은|해야|돼서|빨리|.*(는데|은데|지만|거든|니까|려고|려면|면서|하지)")
_PARTICLE = re.compile(
    r"(?<=[가-힣]{2})(은|는|이|가|을|를|의|에|에서|에게|한테|께|께서|로|으로|와|과|랑|이랑|도|만|부터|까지|보다|처럼|요|이요|은요|는요)$"
)
_TAIL = re.compile(
    r"(인가요|인가|입니까|입니다|습니까|습니다|합니다|할까요|될까요|까요|나요|가요|려면|어요|아요|해요|돼요|하죠|예요|이에요|주세요|세요|줘요|줘|해)$"
)

#: Of a noun of two syllables or more.
_PARTICLE = re.compile(r"(?<=..)(?:에서|으로|까지|부터|은|는|이|가|을|를|의|에|도|와|과|로|만)?요?$")


@dataclass(frozen=True, slots=True)
class Hit:
    """`coverage`: how much of what was asked is in the document, by weight, from 0 to 1."""

    index: int
    score: float
    coverage: float


class Ranking:
    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        """`documents` as their terms; a term that matters more comes more often."""
        self._counts = [Counter(document) for document in documents]
        lengths = [len(document) for document in documents]
        average = sum(lengths) / max(1, len(lengths)) or 1.0
        self._norms = [K1 * (1 - B + B * length / average) for length in lengths]
        self._frequency = Counter(term for counts in self._counts for term in counts)
        self._spellings = {
            spelling: term
            for term in self._frequency
            if len(term) in TYPO_CHARS and term.isalpha()
            for spelling in _spellings(term)
        }

    def search(self, query: Sequence[Sequence[str]]) -> list[Hit]:
        """The documents that share a term with the query, best first. The query is `words`."""
        query = [[self._known(term) for term in word] for word in query]
        weights = {term: self._weight(term) for word in query for term in word}
        total = sum(max(weights[term] for term in word) for word in query)
        hits = []
        for index, (counts, norm) in enumerate(zip(self._counts, self._norms, strict=True)):
            shared = weights.keys() & counts.keys()
            if shared:
                score = sum(weights[term] * counts[term] * (K1 + 1) / (counts[term] + norm) for term in shared)
                covered = sum(max(weights[term] for term in word) * _covered(word, shared) for word in query)
                hits.append(Hit(index, score, covered / total))
        return sorted(hits, key=lambda hit: -hit.score)

    def _known(self, term: str) -> str:
        if term in self._frequency or len(term) not in range(TYPO_CHARS[0] - 1, TYPO_CHARS[-1] + 2):
            return term
        return next((self._spellings[each] for each in _spellings(term) if each in self._spellings), term)

    def _weight(self, term: str) -> float:
        """Rarer counts more; what no document has counts most, so that a foreign question covers little."""
        frequency = self._frequency[term]
        return math.log(1 + (len(self._counts) - frequency + 0.5) / (frequency + 0.5))


def words(text: str) -> list[list[str]]:
    """The words of a text that it may be about, each as its terms."""
    found = []
    plain = _CONTRACTION.sub("", unicodedata.normalize("NFKC", text).casefold())
    for run in _RUN.findall(plain):
        if "가" <= run[0] <= "힣":
            if pieces := _pieces(_TAIL.sub("", run)):
                found.append(pieces)
        elif not _ENGLISH.fullmatch(run):
            found.append([_stem(run)])
    return found


def terms(text: str) -> list[str]:
    return [term for word in words(text) for term in word]


def surfaces(text: str) -> list[str]:
    """The words of a text that it may be about as a person would list them: Korean nouns without their particles."""
    found = []
    for run in _RUN.findall(_CONTRACTION.sub("", unicodedata.normalize("NFKC", text))):
        if _HANGUL.match(run):
            noun = _PARTICLE.sub("", _DONE.sub("", _TAIL.sub("", run)))
            if len(noun) > 1 and not _KOREAN.fullmatch(noun) and not _VERB.fullmatch(noun):
                found.append(noun)
        elif len(run) > 1 and not _ENGLISH.fullmatch(run.casefold()):
            found.append(run)
    return found


def is_korean(text: str) -> bool:
    return _HANGUL.search(text) is not None


def _covered(word: Sequence[str], shared: Collection[str]) -> float:
    """Half of a word's pieces are enough: the rest of a Korean word is its particles."""
    return min(1.0, 2 * sum(term in shared for term in word) / len(word))


def _pieces(run: str) -> list[str]:
    if not run or _KOREAN.fullmatch(run):
        return []
    noun = _PARTICLE.sub("", run)  # else 연회비는 is half of 배송비는
    return [noun[start : start + 2] for start in range(len(noun) - 1)] or [noun]


def _spellings(term: str) -> Iterator[str]:
    """The word, and it less each letter: two words share one if they are a letter apart."""
    yield term
    for index in range(len(term)):
        yield term[:index] + term[index + 1 :]


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ing") and len(word) > 5:
        return word[:-3]
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
