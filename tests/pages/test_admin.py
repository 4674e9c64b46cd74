"""The admin page: who is connected and where, how it goes, why a message was missed; over two nodes."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.pages.browsing import Visitors
from tests.support.client import PATIENCE, Client
from tests.support.cluster import Nodes
from tests.support.running import token

pytestmark = pytest.mark.e2e


async def come(url: str, user: str, session: str) -> Client:
    client = Client("/chat")
    await client.connect(url, token(user))
    await client.expect("connected")
    assert (await client.call("join", {"session_id": session}))["ok"]
    return client


async def go_to(page: Page, section: str) -> None:
    await page.get_by_role("navigation", name="Sections").get_by_role("link", name=section).click()


async def test_somebody_on_another_node_is_found_looked_into_and_sent_away(visitors: Visitors, nodes: Nodes) -> None:
    bob, other = await asyncio.gather(come(nodes.url(1), "bob", "desk"), come(nodes.url(0), "carol", "shelf"))
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"])
    await go_to(page, "Connections")
    await expect(page.get_by_role("row")).to_have_count(3)  # with the head
    await page.get_by_label("Id, user or address").fill("bob")
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_role("button", name="Inspect: bob").click()
    inspected = page.get_by_role("dialog", name="Connection")
    await expect(inspected.get_by_text("joined")).to_be_visible()
    await expect(inspected.get_by_role("link", name="session desk")).to_be_visible()
    await inspected.get_by_role("button", name="Disconnect", exact=True).click()
    sure = page.get_by_role("dialog", name="Disconnect?")
    await sure.get_by_label("Reason").fill("<b>maintenance</b>")
    await sure.get_by_role("button", name="Disconnect").click()
    told = await bob.expect("disconnecting_reason")
    assert (told["message"], told["reconnect"]) == ("<b>maintenance</b>", False)
    await bob.expect("disconnect")
    await expect(inspected.get_by_text("gone")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("None found.")).to_be_visible()
    await other.close()
    await bob.close()


async def test_why_a_message_was_missed(visitors: Visitors, nodes: Nodes) -> None:
    bob, carol = await come(nodes.url(0), "bob", "desk"), Client("/chat")
    await bob.call("leave", {"session_id": "desk"})
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"])
    await go_to(page, "Connections")
    await page.get_by_role("button", name="Inspect: bob").click()
    await page.get_by_role("link", name="Why did it miss a message?").click()
    await carol.connect(nodes.url(1), token("carol", roles=["operator"]))
    assert (await carol.call("join", {"session_id": "desk"}))["ok"]
    sent = await carol.call("message", {"session_id": "desk", "content": "is anybody here?"})
    await page.get_by_label("Room").fill("desk")
    await page.get_by_role("spinbutton", name="Number").fill(str(sent["seq"]))
    await page.get_by_role("button", name="Find out").click()
    await expect(page.get_by_text("It was not in the room", exact=True)).to_be_visible()
    await expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    await carol.close()
    await bob.close()


async def test_everybody_in_a_namespace_is_told(visitors: Visitors, nodes: Nodes) -> None:
    bob = await come(nodes.url(1), "bob", "desk")
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"], language="ko-KR")
    await page.get_by_role("link", name="공지 보내기").click()
    await page.get_by_label("네임스페이스").select_option("/chat")
    await page.get_by_label("데이터").fill("not JSON")
    await page.get_by_role("button", name="보내기").click()
    await expect(page.get_by_text("JSON 객체가 아닙니다.")).to_be_visible()
    await page.get_by_label("데이터").fill('{"message": "잠시 후 점검"}')
    await page.get_by_role("button", name="보내기").click()
    await page.get_by_role("dialog").get_by_role("button", name="보내기").click()
    assert (await bob.expect("maintenance"))["message"] == "잠시 후 점검"
    await expect(page.get_by_text("1개 연결에 보냈습니다")).to_be_visible()
    await bob.close()


async def test_nodes_and_plots_go_on_over_a_restart(visitors: Visitors, nodes: Nodes) -> None:
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"])
    await expect(page.get_by_role("img", name="Messages sent")).to_be_visible()
    await expect(page.locator(".admin-plot canvas").first).to_be_visible()
    await nodes.kill(0)
    await expect(page.get_by_text("Not up to date")).to_be_visible()
    await nodes.start(0)
    await expect(page.get_by_text("Not up to date")).to_be_hidden()
    await go_to(page, "Nodes")
    await expect(page.get_by_text("answers you")).to_be_visible()
    await expect(page.get_by_role("term").filter(has_text="Version")).to_have_count(2)


async def test_who_is_no_admin_is_told_so_and_a_tenants_admin_sees_the_tenant_only(
    visitors: Visitors, nodes: Nodes
) -> None:
    page = await visitors.visit(nodes.url(0) + "/admin", "bob")
    await expect(page.get_by_role("heading", name="This page is for the role admin.")).to_be_visible()
    bob = await come(nodes.url(0), "bob", "desk")
    page = await visitors.visit(nodes.url(0) + "/admin", "root", roles=["admin"], tenant="acme")
    await expect(page.get_by_text("outside any tenant only")).to_be_visible()
    await go_to(page, "Connections")
    await expect(page.get_by_text("None found.")).to_be_visible()
    await bob.close()


async def test_the_same_id_without_a_tenant_is_put_out_alone(visitors: Visitors, nodes: Nodes) -> None:
    bob, acmes = await come(nodes.url(1), "bob", "desk"), Client("/chat")
    await acmes.connect(nodes.url(1), token("bob", tenant="acme"))
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"])
    await go_to(page, "Connections")
    await expect(page.get_by_role("row")).to_have_count(3)  # with the head
    await page.get_by_label("Order").select_option("oldest")
    await page.get_by_role("button", name="Inspect: bob").first.click()
    await expect(page.get_by_role("link", name="session desk")).to_be_visible()
    await page.get_by_role("button", name="Disconnect this user everywhere").click()
    await page.get_by_role("dialog", name="Disconnect?").get_by_role("button", name="Disconnect").click()
    await bob.expect("disconnect")
    await expect(page.get_by_text("Disconnected: 1")).to_be_visible()
    assert (await acmes.call("ping"))["ok"]
    await acmes.close()
    await bob.close()


async def test_who_signed_in_too_long_ago_is_told_how_to_go_on(visitors: Visitors, nodes: Nodes) -> None:
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"], lifetime=-60, language="ko-KR")
    ran_out = page.get_by_role("status").filter(has_text="로그인이 만료되어")
    await expect(ran_out).to_be_visible()
    await expect(ran_out).to_contain_text("로그아웃한 뒤 다시 로그인하세요")
    await page.get_by_role("button", name="로그아웃").click()
    await page.get_by_role("button", name="로그인").first.click()
    await page.get_by_role("dialog").get_by_role("button", name="ada").click()
    await expect(page.get_by_role("link", name="연결", exact=True)).to_be_visible()
    await expect(ran_out).to_be_hidden()


async def test_a_slow_network_is_waited_for_and_asked_no_faster(visitors: Visitors, nodes: Nodes) -> None:
    bob = await come(nodes.url(0), "bob", "desk")
    page = await visitors.visit(nodes.url(0) + "/admin", "ada", roles=["admin"])
    under_way, most, answered, twice = 0, 0, 0, asyncio.Event()

    async def slow(route: Route) -> None:
        nonlocal under_way, most, answered
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1.5)
        under_way -= 1
        await route.continue_()
        answered += 1
        if answered == 2:
            twice.set()

    await page.route("**/api/admin/connections?*", slow)
    await go_to(page, "Connections")
    await expect(page.get_by_role("button", name="Inspect: bob")).to_be_visible()
    await asyncio.wait_for(twice.wait(), PATIENCE)
    assert most == 1
    await expect(page.get_by_text("Not up to date")).to_be_hidden()
    await page.get_by_label("Id, user or address").fill("nobody")
    await expect(page.get_by_text("None found.")).to_be_visible()
    await page.unroute_all(behavior="ignoreErrors")
    await bob.close()
