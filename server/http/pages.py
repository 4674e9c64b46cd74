"""The pages as they were built (`make pages`), and what a page must know of its server. It knows no page's content.

Nothing of them is made here: files of one folder, under a Content-Security-Policy that runs no
script and takes no style but theirs.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from aiohttp import hdrs, web

from server.http.middleware import json_response
from server.timestamps import iso_utc

BUILT = Path(__file__).parents[1] / "pages"

#: By the path they are served at.
PAGES = {
    "/": "index.html",
    "/chat": "chat.html",
    "/trading": "trading.html",
    "/monitor": "monitor.html",
    "/copilot": "copilot.html",
    "/admin": "admin.html",
}
#: Their names hold a hash of what is in them.
HASHED = "assets"
ASSET = re.compile(r"[\w-][\w.-]*", re.ASCII)
NEVER_CHANGES = "public, max-age=31536000, immutable"

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",  # thumbnails, which are fetched with a token
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

NOT_BUILT = "The pages are not built. Everything else is here; `make pages` builds them.\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(
    *, version: str, debug: bool, namespaces: Sequence[Mapping[str, object]], built: Path = BUILT
) -> list[web.RouteDef]:
    """`namespaces` are told as they are. A page that is not built answers 503 and says what to do."""

    async def about(request: web.Request) -> web.Response:
        return json_response(
            {
                "service": "atrium",
                "version": version,
                "debug": debug,
                "namespaces": list(namespaces),
                "timestamp": iso_utc(),
            }
        )

    async def asset(request: web.Request) -> web.StreamResponse:
        """Also what was built since the start: pages there are may be newer than this process."""
        name = request.match_info["name"]
        if ASSET.fullmatch(name) is None or name.endswith(".gz"):
            raise web.HTTPNotFound
        return web.FileResponse(built / HASHED / name, headers={**HEADERS, hdrs.CACHE_CONTROL: NEVER_CHANGES})

    served = {**PAGES, "/favicon.svg": "favicon.svg"}
    return [
        web.get("/api/about", about),
        web.get(f"/{HASHED}/{{name}}", asset),
        *(web.get(path, _file(built / name)) for path, name in served.items()),
    ]


def _file(path: Path) -> Handler:
    if not path.is_file():

        async def missing(request: web.Request) -> web.StreamResponse:
            return web.Response(text=NOT_BUILT, status=503, headers=HEADERS)

        return missing

    async def whole(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers={**HEADERS, hdrs.CACHE_CONTROL: "no-cache"})

    return whole
