"""Names of files: what is kept of a sender's, and how a browser is told one. Nothing is ever stored under them."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from urllib.parse import quote

MAX_CHARS = 255
NAMELESS = "file"

_JOINERS = "\u200c\u200d"  # emoji and Persian are written with them; other format characters reverse or hide text
_RESERVED = re.compile(r'[<>:"|?*]')  # by Windows

#: What says the same as the type; a name with another ending gets the first. mimetypes knows `.bat` as a text.
_ENDINGS = {
    "text/plain": (".txt", ".log", ".md", ".csv", ".tsv", ".json"),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "application/pdf": (".pdf",),
}


def clean(name: str) -> str:
    """Without folders, control characters, lone surrogates and marks that turn the direction of writing."""
    kept = "".join(
        each for each in name if each in _JOINERS or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", kept))[-1]
    return _shortened(_RESERVED.sub("_", last).strip(" .")) or NAMELESS


def named_after(name: str, media_type: str) -> str:
    """The clean name, with an ending that does not lie about the type."""
    name = clean(name)
    endings = _ENDINGS.get(media_type) or tuple(mimetypes.guess_all_extensions(media_type))
    if not endings or name.lower().endswith(endings):
        return name
    return _shortened(name + endings[0])


def disposition(name: str, *, inline: bool) -> str:
    """The Content-Disposition of RFC 6266: in UTF-8 for all browsers, in ASCII for what is older."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    return f"{'inline' if inline else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _shortened(name: str) -> str:
    if len(name) <= MAX_CHARS:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 10:
        return name[:MAX_CHARS]
    return stem[: MAX_CHARS - len(ending) - 1] + dot + ending
