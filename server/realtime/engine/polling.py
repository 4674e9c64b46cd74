"""The long-polling transport on aiohttp: GET takes what waits, POST brings what comes. It knows no message."""

from __future__ import annotations

import asyncio

from aiohttp import web

from server.realtime.engine import frames, protocol
from server.realtime.engine.protocol import Malformed, TooBig
from server.realtime.engine.session import Session

COMPRESS_FROM_BYTES = 1024
HEADERS = {"Cache-Control": "no-store"}


async def take(request: web.Request, session: Session, most_bytes: int) -> web.Response:
    """A GET. A second one while the first waits ends the session, and so does one whose client gave up."""
    if session.polling:
        await session.end("transport error")
        raise protocol.bad_request()
    try:
        packets = await session.poll(most_bytes)
    except asyncio.CancelledError:
        await session.end("transport close")
        raise
    return respond(frames.payload(packets))


async def bring(request: web.Request, session: Session, most_bytes: int) -> web.Response:
    """A POST. Raises Refused; whatever is wrong with one ends the session."""
    if session.posting:
        await session.end("transport error")
        raise protocol.bad_request()
    session.posting = True
    try:
        body = await _read(request, most_bytes)
        for packet in protocol.decode_payload(body.decode()):
            await session.receive(packet)
    except (Malformed, UnicodeDecodeError):
        await session.end("parse error")
        raise protocol.bad_request() from None
    except TooBig:
        await session.end("transport error")
        raise protocol.too_large() from None
    finally:
        session.posting = False
    return web.Response(text="ok", headers=HEADERS)


async def _read(request: web.Request, most_bytes: int) -> bytes:
    if (request.content_length or 0) > most_bytes:
        raise TooBig
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise TooBig
    return bytes(body)


def respond(text: str) -> web.Response:
    response = web.Response(text=text, headers=HEADERS)
    if len(text) >= COMPRESS_FROM_BYTES:
        response.enable_compression()
    return response
