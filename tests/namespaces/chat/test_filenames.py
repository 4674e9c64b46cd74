from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.namespaces.chat.filenames import MAX_CHARS, NAMELESS, clean, disposition, named_after

RTL = "\u202e"


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("대출 신청서.pdf", "대출 신청서.pdf"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\kim\신분증.png", "신분증.png"),
        (f"photo{RTL}gnp.exe", "photognp.exe"),
        ('a"b\r\nSet-Cookie: x=1.png', "a_bSet-Cookie_ x=1.png"),
        ("nul\0.txt", "nul.txt"),
        ("lone\udc80.txt", "lone.txt"),
        ("👨\u200d👩\u200d👧.png", "👨\u200d👩\u200d👧.png"),
        (".htaccess", "htaccess"),
        ("ends in dots. . .", "ends in dots"),
        ("", NAMELESS),
        ("...", NAMELESS),
        ("folder/", NAMELESS),
        (RTL, NAMELESS),
        ("ㅎㅏㄴ" + "\u1112\u1161\u11ab.txt", "ㅎㅏㄴ한.txt"),  # as macOS writes it
    ],
)
def test_clean(name: str, cleaned: str) -> None:
    assert clean(name) == cleaned


def test_a_long_name_keeps_its_ending() -> None:
    assert clean("가" * 300 + ".pdf") == "가" * (MAX_CHARS - 4) + ".pdf"
    assert len(clean("a." + "b" * 300)) == MAX_CHARS
    assert named_after("가" * 300, "application/pdf") == "가" * (MAX_CHARS - 4) + ".pdf"


@pytest.mark.parametrize(
    ("name", "media_type", "named"),
    [
        ("scan.PDF", "application/pdf", "scan.PDF"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        ("photo.png", "image/jpeg", "photo.png.jpg"),
        ("run.bat", "text/plain", "run.bat.txt"),
        ("page.html", "text/plain", "page.html.txt"),
        ("data.csv", "text/plain", "data.csv"),
        ("README", "text/plain", "README.txt"),
        ("", "image/png", "file.png"),
        ("a.gif", "image/gif", "a.gif"),
        ("a.exe", "image/gif", "a.exe.gif"),
        ("a.b", "application/nothing-known", "a.b"),
    ],
)
def test_an_ending_does_not_lie(name: str, media_type: str, named: str) -> None:
    assert named_after(name, media_type) == named


@given(st.text())
@example('a"; filename="evil.html')
@example("가\r\nX: y")
@example("50%\\20.txt")
def test_every_name_makes_a_header_that_says_it(name: str) -> None:
    name = clean(name)
    assert 0 < len(name) <= MAX_CHARS
    assert clean(name) == name
    header = disposition(name, inline=False)
    found = re.fullmatch(r"attachment; filename=\"([ -~]*)\"; filename\*=UTF-8''([\w.~%-]*)", header, re.ASCII)
    assert found is not None
    assert not {'"', "\\", "%"} & set(found[1])
    assert unquote(found[2], errors="strict") == name


def test_inline() -> None:
    assert disposition("a.png", inline=True) == "inline; filename=\"a.png\"; filename*=UTF-8''a.png"
