from __future__ import annotations

import io
import os
import zipfile

import pytest

from server.namespaces.chat import sniffing
from server.namespaces.chat.sniffing import sniff
from tests.support.files import mapped, pdf, picture

HTML = b"<html><script>alert(1)</script></html>"


def archive(content: bytes = b"hello") -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", content)
    return output.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (picture("PNG"), "image/png"),
        (picture("JPEG"), "image/jpeg"),
        (picture("GIF"), "image/gif"),
        (picture("WEBP"), "image/webp"),
        (pdf(), "application/pdf"),
        (archive(), "application/zip"),
        (archive(bytes(20_000_000)), "application/zip"),  # never unpacked
        (b"MZ" + bytes(300), "application/x-msdownload"),
        (b"a", "text/plain"),
        (b"\xef\xbb\xbfwith a mark", "text/plain"),
        ("대출 금리가 얼마인가요? 🏦\r\n\t\x0c끝".encode(), "text/plain"),
        (b"BMW or ID3, MZ and GIF8 open texts too", "text/plain"),
        (b"GIF89a=1;/* a script that looks like a picture */", "text/plain"),
        (b"a < b, <3 and <kim@example.com>", "text/plain"),
        (b"<kim@example.com> wrote: <b>", "text/plain"),
        ("가".encode() * 60_000, "text/plain"),  # characters that lie across the steps it is read in
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml"),
        (b"<?xml version='1.0'?>\n<!-- . -->\n<s:svg xmlns:s='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"<?xml version='1.0'?><note/>", "text/xml"),
        (HTML, "text/html"),
        (b"\xef\xbb\xbf \r\n\t<!DOCTYPE html>", "text/html"),
        (b"<b>bold</b>", "text/html"),
        (b"<!-- text --><script>alert(1)</script>", "text/html"),
    ],
)
def test_a_file_is_what_it_holds(content: bytes, media_type: str) -> None:
    assert sniff(mapped(content)) == media_type


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"text with\0NUL",
        b"\x1b[2Ja screen that clears itself",
        b"caf\xe9 in Latin-1",
        "한글 in CP949".encode("cp949"),
        "UTF-16".encode("utf-16"),
        b"cut off \xea\xb0",
        b"a surrogate \xed\xa0\x80",
        "a control character \x85 in UTF-8".encode(),
        os.urandom(5000).replace(b"PK", b"..") + b"\0",
    ],
)
def test_what_is_nothing_known(content: bytes) -> None:
    assert sniff(mapped(content)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a/*" + b"\0" + HTML + b"*/=1;" + b"\0" * 300,
        picture("JPEG", comment=b"<!DOCTYPE html><script>alert(1)</script>"),
        picture("GIF", comment=b"<svg onload=alert(1)>"),
        picture("PNG") + archive(),
        picture("JPEG") + archive(),
        pdf() + archive(),
        picture("JPEG", comment=b"%PDF-1.4"),
        pdf()[:9] + HTML + pdf()[9:],
    ],
)
def test_two_things_at_once_are_none(content: bytes) -> None:
    assert sniff(mapped(content)) is None


def test_the_cases_are_told_apart_by_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniffing.zipfile, "is_zipfile", lambda content: False)
    assert sniff(mapped(pdf() + archive())) == "application/pdf"
