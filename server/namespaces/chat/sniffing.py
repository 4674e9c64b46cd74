"""What a file is by its content; what it is called and what its sender says of it count for nothing.

Content that reads as two things at once is none: a picture that is a page as well, a document that is an archive."""

from __future__ import annotations

import codecs
import re
import zipfile
from mmap import mmap
from typing import IO, cast

import filetype

HEAD_BYTES = 8192  # as far in as any signature lies
STEP_BYTES = 65_536

#: Formats that may be written in plain characters from end to end.
_WRITTEN = ("application/pdf", "application/rtf", "application/postscript")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:[!?/]|[a-z][\w:-]*[\s/>])", re.IGNORECASE)
_SVG = re.compile(rb"<(?:\w+:)?svg\b", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml", re.IGNORECASE)
_OTHER = re.compile(rb"<(?:!doctype|html|head|body|script|svg|iframe)\b|%PDF-", re.IGNORECASE)
_OTHER_BYTES = 1024  # where browsers and readers of PDF look


def sniff(content: mmap) -> str | None:
    """Its media type; None when it is nothing known, or more than one thing. Reads all of it: not for the loop."""
    head = content[:HEAD_BYTES]
    found = filetype.guess(head)
    kind: str | None = None if found is None else found.mime
    if kind not in _WRITTEN and _is_text(content):  # "BM", "ID3" and such open texts as well as pictures and songs
        return _text(head)
    if kind is None or _OTHER.search(head, 4, _OTHER_BYTES):
        return None
    if not head.startswith(b"PK") and zipfile.is_zipfile(cast(IO[bytes], content)):
        return None
    return kind


def _is_text(content: mmap) -> bool:
    """UTF-8 without control characters, but those that lay lines out."""
    if _CONTROL.search(content):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), STEP_BYTES):
            decoder.decode(content[start : start + STEP_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _text(head: bytes) -> str:
    if not _MARKUP.match(head):
        return "text/plain"
    if _SVG.search(head):
        return "image/svg+xml"
    return "text/xml" if _XML.match(head) else "text/html"
