"""Files over HTTP: sent as a form, read whole or in part. What may be sent and read is `files`' business."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from aiohttp import BodyPartReader, hdrs, web
from aiohttp.http import HttpProcessingError

from server.errors import HandlerTimeout, InvalidMessage, NotFound
from server.http.middleware import json_response
from server.identity import Identity
from server.namespaces.chat.filenames import disposition
from server.namespaces.chat.files import NO_FILE, Files
from server.namespaces.chat.models import ChatFile
from server.namespaces.chat.schemas import MAX_CONTENT_CHARS, Session
from server.namespaces.chat.thumbnails import MEDIA_TYPE
from server.realtime.schema import Payload, Text, load

CHUNK_BYTES = 65_536
PIECE_BYTES = 1 << 20  # how much of a file is held for one reader
UPLOAD_SECONDS = 600.0
SILENCE_SECONDS = 30.0

#: All that a browser may show in a page of ours; it can do nothing there but be seen.
INLINE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
#: It is asked for again each time, as access is checked each time, and mostly answered 304.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    hdrs.CACHE_CONTROL: "private, no-cache",
    hdrs.VARY: hdrs.AUTHORIZATION,
}

_FILE_ID = re.compile(r"file_[0-9a-f]{32}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

Identify = Callable[[web.Request], Awaitable[Identity]]


class Attach(Protocol):
    async def __call__(
        self, identity: Identity, session_id: str, file_id: str, message: str = ""
    ) -> dict[str, object]: ...


class Fields(Payload):
    message = Text(most=MAX_CONTENT_CHARS, least=0, load_default="")


@dataclass
class Form:
    """What has come of one."""

    file: ChatFile | None = None
    fields: dict[str, str] = field(default_factory=dict)

    def whole(self) -> ChatFile:
        """Its file. Raises InvalidMessage where it had none."""
        if self.file is None:
            raise InvalidMessage(details={"file": ["Missing data for required field."]})
        return self.file


class Unsatisfiable(Exception):
    """The range lies outside of the file."""


def routes(
    files: Files,
    attach: Attach,
    identify: Identify,
    *,
    count: Callable[[Identity], Awaitable[object]],
    upload_seconds: float = UPLOAD_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
) -> list[web.RouteDef]:
    """`count` raises RateLimited for one message too many, as a file says one. `upload_seconds`: for a form from its
    beginning to its end; `silence_seconds`: for the next of its bytes."""
    session_schema, fields_schema = Session(), Fields()

    async def upload(request: web.Request) -> web.Response:
        identity = await identify(request)
        session_id: str = load(session_schema, dict(request.match_info))["session_id"]
        form = Form()
        try:
            await count(identity)
            async with asyncio.timeout(upload_seconds):
                await _receive(request, identity, session_id, form)
            file = form.whole()
            sent = await attach(identity, session_id, file.file_id, load(fields_schema, form.fields)["message"])
        except BaseException as error:
            if form.file is not None:
                await files.discard(form.file)
            if isinstance(error, TimeoutError):
                raise HandlerTimeout("The form did not come in time") from None
            raise
        return json_response(
            {
                "file_id": file.file_id,
                "file_url": file.file_url,
                "thumbnail_url": file.thumbnail_url,
                "message_id": sent["message_id"],
                "file_info": {"name": file.file_name, "type": file.file_type, "size": file.file_size},
            },
            201,
        )

    async def _receive(request: web.Request, identity: Identity, session_id: str, form: Form) -> None:
        """The fields may come in any order. Raises InvalidMessage for what is no form, also where it breaks off."""
        if request.content_type != "multipart/form-data":
            raise InvalidMessage("The body is not a form")
        try:
            reader = await request.multipart()
            while (part := await reader.next()) is not None:
                if not isinstance(part, BodyPartReader) or part.name in form.fields:
                    raise InvalidMessage("The form is not valid")
                if part.name == "file" and form.file is None:
                    async with aclosing(_chunks(part, silence_seconds)) as chunks:
                        form.file = await files.store(identity, session_id, _filename(part), chunks)
                elif part.name == "message":
                    form.fields["message"] = await _text(part, silence_seconds)
                else:
                    raise InvalidMessage("The form has other fields than `file` and `message`, or several")
        except (ValueError, AssertionError, ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
            raise InvalidMessage("The body is not a form, or not a whole one") from error

    async def download(request: web.Request) -> web.Response:
        file = await _open(request)
        media_type, size = file.file_type or "application/octet-stream", file.file_size or 0
        headers = _headers(file.file_id) | {
            hdrs.ACCEPT_RANGES: "bytes",
            hdrs.CONTENT_DISPOSITION: disposition(file.file_name, inline=media_type in INLINE_TYPES),
        }
        if _is_known(request, file.file_id):
            return web.Response(status=304, headers=headers)
        whole = request.headers.get(hdrs.IF_RANGE, headers[hdrs.ETAG]) != headers[hdrs.ETAG]
        try:
            part = None if whole else byte_range(request.headers.get(hdrs.RANGE), size)
        except Unsatisfiable:
            error = {"code": "RANGE_NOT_SATISFIABLE", "message": "The file has no such bytes"}
            response = json_response({"error": error}, 416)
            response.headers[hdrs.CONTENT_RANGE] = f"bytes */{size}"
            return response
        start, end = part or (0, size)
        headers[hdrs.CONTENT_TYPE] = f"{media_type}; charset=utf-8" if media_type == "text/plain" else media_type
        headers[hdrs.CONTENT_LENGTH] = str(end - start)
        if part is not None:
            headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{size}"
        body = None
        if request.method != hdrs.METH_HEAD:
            first = await files.read(file, start, min(end, start + PIECE_BYTES))
            body = first if len(first) == end - start else _pieces(file, first, start, end)
        return web.Response(status=200 if part is None else 206, headers=headers, body=body)

    async def thumbnail(request: web.Request) -> web.Response:
        file = await _open(request)
        tag = f"{file.file_id}-thumbnail"
        if _is_known(request, tag):
            return web.Response(status=304, headers=_headers(tag))
        return web.Response(body=await files.thumbnail(file), headers=_headers(tag) | {hdrs.CONTENT_TYPE: MEDIA_TYPE})

    async def _open(request: web.Request) -> ChatFile:
        identity = await identify(request)
        file_id = request.match_info["file_id"]
        if not _FILE_ID.fullmatch(file_id):  # PostgreSQL takes no NUL, not even to look for it
            raise NotFound(NO_FILE)
        return await files.open(identity, file_id)

    async def _pieces(file: ChatFile, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Each is fetched when the one before is sent: a slow reader holds one, and no connection to the store."""
        yield first
        for offset in range(start + len(first), end, PIECE_BYTES):
            yield await files.read(file, offset, min(end, offset + PIECE_BYTES))

    return [
        web.post("/api/chat/sessions/{session_id:[^/]+}/files", upload),
        web.get("/files/{file_id}", download),
        web.get("/files/{file_id}/thumb", thumbnail),
    ]


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """From and to before which byte; None for the whole, which is also the answer to several ranges and to what is none
    (RFC 9110 §14.2). Raises Unsatisfiable."""
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), size if not last else min(size, int(last) + 1)
        if last and int(last) < start:
            return None
    if start >= end:
        raise Unsatisfiable
    return start, end


def _headers(tag: str) -> dict[str, str]:
    return HEADERS | {hdrs.ETAG: f'"{tag}"'}


def _is_known(request: web.Request, tag: str) -> bool:
    return any(each.value in (tag, "*") for each in request.if_none_match or ())


def _filename(part: BodyPartReader) -> str:
    """Browsers write names as they are, but for `%22`; some clients quote all of them."""
    name = part.filename or ""
    with suppress(UnicodeDecodeError):
        return unquote(name, errors="strict") if name.isascii() else name
    return name


async def _chunks(part: BodyPartReader, silence_seconds: float) -> AsyncGenerator[bytes]:
    while True:
        async with asyncio.timeout(silence_seconds):
            chunk = await part.read_chunk(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


async def _text(part: BodyPartReader, silence_seconds: float) -> str:
    text = bytearray()
    async with aclosing(_chunks(part, silence_seconds)) as chunks:
        async for chunk in chunks:
            text += chunk
            if len(text) > 4 * MAX_CONTENT_CHARS:
                raise InvalidMessage(details={str(part.name): ["Too long."]})
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InvalidMessage(details={str(part.name): ["Not UTF-8."]}) from None
