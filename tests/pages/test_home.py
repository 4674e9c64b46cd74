"""The first page: what runs here, how it is, and a token for everybody on a development server."""

from __future__ import annotations

import jwt
import pytest
from playwright.async_api import expect

from tests.pages.browsing import Visitors
from tests.support.cluster import Nodes
from tests.support.running import token

pytestmark = pytest.mark.e2e


async def test_a_stranger_signs_in_on_a_development_server_and_goes_from_page_to_page(
    visitors: Visitors, nodes: Nodes
) -> None:
    page = await visitors.visit(nodes.url(0))
    await expect(page.get_by_role("heading", name="Health")).to_be_visible()
    await expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    await page.get_by_role("banner").get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="olga operator").click()
    shown = await page.locator("pre").inner_text()
    minted = jwt.decode(shown.rpartition("ATRIUM_TOKEN=")[2].strip(), options={"verify_signature": False})
    assert (minted["sub"], minted["roles"]) == ("olga", ["operator"])
    for name in ("Chat", "Trading", "Monitor", "Copilot", "Admin"):
        await page.get_by_role("navigation").get_by_role("link", name=name).click()
        await expect(page).to_have_title(f"{name} · Atrium")
        await expect(page.get_by_role("banner").get_by_role("button", name="olga")).to_be_visible()


async def test_the_page_says_that_the_server_went_away_and_that_it_is_back(visitors: Visitors, nodes: Nodes) -> None:
    page = await visitors.visit(nodes.url(0), language="ko-KR")
    await expect(page.get_by_text("정상", exact=True).first).to_be_visible()
    await nodes.kill(0)
    await expect(page.get_by_text("서버가 응답하지 않습니다")).to_be_visible()
    await nodes.start(0)
    await expect(page.get_by_text("서버가 응답하지 않습니다")).to_be_hidden()


async def test_language_and_theme_are_chosen_and_remembered(visitors: Visitors, nodes: Nodes) -> None:
    page = await visitors.visit(nodes.url(0))
    await page.get_by_role("button", name="한국어").click()
    await page.get_by_role("button", name="테마: 시스템 설정").click()
    await page.reload()
    await expect(page.get_by_role("link", name="트레이딩")).to_be_visible()
    assert await page.locator("html").evaluate("page => [page.lang, page.dataset.theme]") == ["ko", "light"]


async def test_a_link_that_signs_in_as_somebody_else_says_so(visitors: Visitors, nodes: Nodes) -> None:
    page = await visitors.visit(nodes.url(0), "alice")
    await expect(page.get_by_role("banner").get_by_role("button", name="alice")).to_be_visible()
    await page.evaluate("location.hash = 'token=garbage'")
    await expect(page.get_by_text("The link holds no token that can be read.")).to_be_visible()
    await page.evaluate("token => { location.hash = `token=${token}` }", token("mallory"))
    await expect(page.get_by_text("The link signed you in as mallory.")).to_be_visible()
    assert "token" not in page.url


async def test_what_a_server_should_not_say_costs_the_content_until_it_says_better(
    visitors: Visitors, nodes: Nodes
) -> None:
    page = await visitors.visit("about:blank")
    visitors.faults_expected = True
    await page.route("**/api/admin/alerts", lambda route: route.fulfill(json={"alerts": 5, "silent": []}))
    await page.goto(f"{nodes.url(0)}/admin#token={token('ada', roles=['admin'])}")
    await expect(page.get_by_role("alert")).to_have_text("This page has a fault. It tries again by itself.")
    await expect(page.get_by_role("banner")).to_be_visible()
    await page.unroute("**/api/admin/alerts")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
