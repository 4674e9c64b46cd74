"""The long-polling transport on aiohttp: GET takes what waits, POST brings what comes. It knows no message."""

from __future__ import annotations

import asyncio

from aiohttp import web

from server.realtime.engine import frames, protocol
from server.realtime.engine.protocol import Malformed, TooBig
from server.realtime.engine.session import Session

BODY_TIMEOUT_SECONDS = 30
PACKETS_A_TURN = 64  # of one payload, before others get theirs
COMPRESS_FROM_BYTES = 1024
HEADERS = {"Cache-Control": "no-store"}


async def take(request: web.Request, session: Session, most_bytes: int) -> web.Response:
    """A GET. A second one while the first waits ends the session, and so does one whose client is gone."""
    if session.polling:
        session.end("transport error")
        raise protocol.bad_request()
    try:
        packets = await session.poll(most_bytes, lambda: request.transport is not None)
    except (asyncio.CancelledError, ConnectionResetError):
        session.end("transport close")
        raise
    return respond(frames.payload(packets))


async def bring(request: web.Request, session: Session, most_bytes: int) -> web.Response:
    """A POST. Raises Refused; whatever is wrong with one ends the session."""
    if session.posting:
        session.end("transport error")
        raise protocol.bad_request()
    session.posting = True
    try:
        for number, packet in enumerate(protocol.decode_payload(await _read(request, most_bytes)), start=1):
            if (work := session.receive(packet)) is not None:
                await session.settle(work)
            if number % PACKETS_A_TURN == 0:
                await asyncio.sleep(0)
            if session.closed:
                break
    except Malformed:
        session.end("parse error")
        raise protocol.bad_request() from None
    except TooBig:
        session.end("transport error")
        raise protocol.too_large() from None
    except BaseException:
        session.end("transport error")
        raise
    finally:
        session.posting = False
    return web.Response(text="ok", headers=HEADERS)


async def _read(request: web.Request, most_bytes: int) -> str:
    body = bytearray()
    size = request.content_length or 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while size <= most_bytes and (chunk := await request.content.readany()):
                body += chunk
                size = max(size, len(body))
        text = body.decode()
    except Exception as error:  # cut short, no UTF-8, or not in the encoding that its header names
        raise Malformed("unreadable body") from error
    if size > most_bytes:
        raise TooBig
    return text


def respond(text: str) -> web.Response:
    response = web.Response(text=text, headers=HEADERS)
    if len(text) >= COMPRESS_FROM_BYTES:
        response.enable_compression()
    return response
