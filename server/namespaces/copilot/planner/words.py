"""Words of Korean and English text, and how well one text speaks of another; what the texts are is not known here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

MAX_WORDS = 60  # of a query, a description or a name: enough for any that a person wrote

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HANGUL = re.compile(r"[ㄱ-ㆎ가-힣]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_WORD = re.compile(r"[가-힣]+|[^\W\d_가-힣]+|\d+")

#: Words of one meaning across the two languages, so that a Korean question finds English columns.
_MEANINGS: tuple[tuple[str, ...], ...] = (
    (
        "cost",
        "spend",
        "spent",
        "spending",
        "pay",
        "paid",
        "expense",
        "charge",
        "billing",
        "bill",
        "비용",
        "지출",
        "요금",
        "과금",
        "청구",
        "돈",
    ),
    ("amount", "금액"),
    ("sale", "revenue", "매출", "판매"),
    ("price", "가격", "단가"),
    ("budget", "예산"),
    ("quantity", "qty", "수량"),
    ("usage", "사용량"),
    ("utilization", "percent", "percentage", "사용률", "점유율"),
    ("service", "서비스"),
    ("region", "area", "지역", "리전"),
    ("country", "국가", "나라"),
    ("city", "도시"),
    ("customer", "client", "고객"),
    ("user", "사용자", "이용자", "유저"),
    ("account", "계정", "계좌"),
    ("order", "주문"),
    ("product", "item", "제품", "상품", "품목"),
    ("category", "type", "kind", "분류", "종류", "유형", "카테고리"),
    ("department", "부서"),
    ("team", "팀"),
    ("project", "프로젝트"),
    ("resource", "리소스", "자원"),
    ("instance", "인스턴스"),
    ("server", "host", "서버", "호스트"),
    ("cloud", "클라우드"),
    ("provider", "vendor", "supplier", "공급사", "공급자", "업체"),
    ("machine", "equipment", "설비", "장비", "기계"),
    ("status", "state", "상태"),
    ("error", "failure", "오류", "에러", "장애"),
    ("alarm", "alert", "알람", "경보"),
    ("stock", "inventory", "재고"),
    ("employee", "staff", "직원", "사원"),
    ("date", "day", "날짜", "일자"),
    ("month", "monthly", "월별", "월간"),
    ("memory", "메모리"),
    ("traffic", "트래픽"),
    ("storage", "disk", "스토리지", "디스크"),
    ("name", "이름"),
)
_MEANING_OF = {word: f"={group[0]}" for group in _MEANINGS for word in group}
_KOREAN_MEANINGS = [(word, meaning) for word, meaning in _MEANING_OF.items() if _HANGUL.match(word)]

#: What says how to answer, or nothing at all, rather than what about.
_STOP_TEXT = """
    a an the of by per for in on at to from with and or is are was were be do does did has have had it its this that
    what which who how many much show me give tell list get find see want need please can could you i we my our us all
    any each every there top bottom first last next recent past highest lowest most least largest smallest biggest
    cheapest expensive total sum average avg mean count number maximum minimum max min today yesterday between
    year quarter month day week hour latest current previous prior since until during whole entire everything all data
    dataset record row entry figure result value information summary overview please thanks question answer
    calculate compute display q
    jan january feb february mar march apr april may jun june jul july aug august sep sept september oct october nov
    november dec december mom yoy qoq wow compare compared comparing comparison change changed difference differ versus
    vs than against increase increased increasing decrease decreased decreasing grow grew growth rise rose drop dropped
    fell decline declined trend more less go went daily weekly monthly yearly annual
    총 몇 개 위 좀 건 곳 명 원 년 월 일 수 중 및 때 것
"""
_STOP = frozenset(_STOP_TEXT.split())
_KOREAN_STOP = (
    *("알려", "보여", "얼마", "상위", "하위", "지난", "이번", "최근", "가장", "제일", "주세요", "해줘", "해주", "합계"),
    *("총합", "평균", "전체", "무엇", "뭐야", "어떤", "어느", "에서", "대한", "대해", "관련", "그리고", "기준", "목록"),
    *("오늘", "어제", "올해", "작년", "전년", "전월", "개수", "건수", "최대", "최소", "최고", "최저", "많은", "높은"),
    *("적은", "낮은", "비싼", "저렴", "조회", "데이터", "있어", "인가", "무슨"),
    *(
        "대비",
        "증감",
        "변화",
        "변동",
        "증가",
        "감소",
        "늘었",
        "늘어",
        "줄었",
        "줄어",
        "올랐",
        "올라",
        "내렸",
        "떨어",
        "비교",
    ),
    *(
        "차이",
        "추이",
        "얼만",
        "썼",
        "나왔",
        "나온",
        "들었",
        "구해",
        "계산",
        "뽑아",
        "정리",
        "요약",
        "부탁",
        "말해",
        "찾아",
    ),
    *(
        "확인",
        "궁금",
        "어때",
        "동안",
        "기간",
        "분기",
        "이후",
        "당월",
        "금월",
        "전주",
        "금주",
        "전년",
        "내역",
        "결과",
        "있는",
    ),
    *(
        "입니까",
        "인가요",
        "해주",
        "주실",
        "건지",
        "됐",
        "되었",
        "많이",
        "적게",
        "크게",
        "보다",
        "작은",
        "그럼",
        "모두",
        "모든",
    ),
)
_PARTICLES = (
    *("에서는", "으로는", "에게서", "이라는", "별로는", "에서", "으로", "까지", "부터", "에게", "하고", "이나", "별로"),
    *("인지", "은", "는", "이", "가", "을", "를", "의", "에", "와", "과", "도", "로", "만", "별"),
)


def is_korean(text: str) -> bool:
    return _HANGUL.search(unicodedata.normalize("NFKC", text)) is not None


def words(text: str, most: int = MAX_WORDS) -> list[str]:
    """Lower case, without punctuation; `cloudCosts` and `cloud_costs` are two words, `상위 3개` is three."""
    spaced = _CAMEL.sub(" ", unicodedata.normalize("NFKC", text))
    return [stem(word) for word in _WORD.findall(spaced.casefold())[:most]]


def telling(text: str) -> list[str]:
    """The words that may say what a query is about, each once."""
    return [word for word in dict.fromkeys(words(text)) if not is_stop(word)]


def proper(text: str, among: Sequence[str]) -> list[str]:
    """Names in the text that hold a word of `among`: capitals within an English text, Latin letters in a Korean."""
    found = _NAME.findall(unicodedata.normalize("NFKC", text))
    named = found if is_korean(text) else [name for name in found if name != name.lower()]
    return [name for name in dict.fromkeys(named) if not set(among).isdisjoint(words(name))]


def is_stop(word: str) -> bool:
    return word in _STOP or word.isdigit() or word.startswith(_KOREAN_STOP)


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """`services` → `service`, `비용을` → `비용`."""
    if _HANGUL.match(word):
        for particle in _PARTICLES:
            rest = word.removesuffix(particle)
            if rest != word and word not in _MEANING_OF and (len(rest) >= 2 or rest in _MEANING_OF):
                return rest
        return word
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def traits(texts: Iterable[str]) -> frozenset[str]:
    """All that `likeness` can find of these texts' words."""
    found: set[str] = set()
    for text in texts:
        for word in words(text):
            found |= {word, *_meanings(word), *_parts(word)}
    return frozenset(found)


def likeness(word: str, found: frozenset[str]) -> float:
    """How well a word of a query is met by `traits` of a text: 1 for the word itself or its meaning, 0 for nothing."""
    if word in found or not found.isdisjoint(_meanings(word)):
        return 1.0
    parts = _parts(word)
    if not parts:
        return 0.0
    shared = len(parts & found) / len(parts)
    return 0.6 * shared if shared >= 0.5 else 0.0


def contains(text: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of `phrase` stand in `text`, side by side."""
    width = len(phrase)
    return width > 0 and any(list(text[at : at + width]) == list(phrase) for at in range(len(text) - width + 1))


@lru_cache(maxsize=4096)
def _meanings(word: str) -> frozenset[str]:
    meaning = _MEANING_OF.get(word)
    if meaning is not None:
        return frozenset((meaning,))
    if not _HANGUL.match(word):
        return frozenset()
    # Korean joins nouns without a space: 클라우드비용 is about both. The longest names win: 사용자 is not 사용량.
    return frozenset(meaning for name, meaning in _KOREAN_MEANINGS if len(name) > 1 and name in word)


@lru_cache(maxsize=4096)
def _parts(word: str) -> frozenset[str]:
    """What two related words share: bigrams of Hangul, the first five letters of others."""
    if _HANGUL.match(word):
        return frozenset(f"~{word[at : at + 2]}" for at in range(len(word) - 1))
    return frozenset((f"~{word[:5]}",)) if len(word) >= 5 else frozenset()
