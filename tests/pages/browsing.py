"""Chromium, as people have it, at pages of real servers. One that throws or that its security policy stops, fails."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.support.running import token

CHROMIUM = "/usr/bin/chromium"
#: Run by root on machines without a screen, it asks nobody outside.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000  # a bound on hanging, never an assertion
expect.set_options(timeout=PATIENCE_MS)

FORBIDDEN = re.compile(r"Content.Security.Policy|Uncaught|Warning: |hydrat", re.IGNORECASE)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


class Visitors:
    """People with a browser of their own each."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.faults: list[str] = []
        self.faults_expected = False

    async def visit(
        self,
        url: str,
        user: str | None = None,
        *,
        roles: Sequence[str] = (),
        tenant: str | None = None,
        lifetime: float = 3600,
        language: str = "en-US",
        dark: bool = False,
        size: tuple[int, int] = (1280, 800),
        **options: Any,
    ) -> Page:
        """`user` comes with a token of `lifetime` seconds; None comes without one. `options` are Playwright's, of a
        context."""
        context = await self._browser.new_context(
            locale=language,
            color_scheme="dark" if dark else "light",
            viewport={"width": size[0], "height": size[1]},
            **options,
        )
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._heard(page, message))
        handed = "" if user is None else f"#token={token(user, roles=roles, tenant=tenant, lifetime=lifetime)}"
        await page.goto(url + handed)
        return page

    def _heard(self, page: Page, message: ConsoleMessage) -> None:
        if FORBIDDEN.search(message.text):
            self.faults.append(f"{page.url}: {message.text}")

    async def leave(self) -> None:
        for context in self._contexts:
            await context.close()
        assert self.faults_expected or not self.faults, "\n".join(self.faults)
