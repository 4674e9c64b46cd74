"""The copilot's page: from a question to its answer, over data that stays in the browser, and what becomes of it when
the page, the network or the server goes away on the way."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from tests.conftest import Serve
from tests.pages.browsing import Visitors
from tests.support.cluster import Nodes
from tests.support.proxy import Proxy

pytestmark = pytest.mark.e2e

#: Fits two of the samples, so the server must ask which one is meant.
EITHER = "top 3 services by cost last month"
CLEAR = "AWS cost by month"
#: Eleven million bytes that need not come from here.
BIG = """input => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(11_000_000)], "big.csv"));
    input.files = files.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
}"""


async def ask(page: Page, text: str) -> Locator:
    """The question's card."""
    await page.get_by_role("textbox", name="Your question").fill(text)
    await page.keyboard.press("Enter")
    card = page.get_by_role("article").first
    await expect(card.get_by_role("heading")).to_have_text(text)
    return card


async def answered(card: Locator) -> None:
    await expect(card.get_by_text("Answered", exact=True)).to_be_visible()


async def connected(page: Page) -> None:
    await expect(page.locator(".light[data-state=connected]")).to_be_visible()


def file(name: str, text: str) -> FilePayload:
    return FilePayload(name=name, mimeType="", buffer=text.encode())


async def choose(page: Page, picked: FilePayload) -> None:
    await page.get_by_label("Import CSV or JSON").and_(page.locator("input")).set_input_files(picked)


async def test_a_question_is_answered_and_all_that_left_the_browser_can_be_looked_at(
    visitors: Visitors, serve: Serve
) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/copilot", "alice")
    await expect(page.get_by_role("button", name="Look at aws_costs")).to_be_visible()
    card = await ask(page, EITHER)
    dialog = page.get_by_role("dialog", name="The server asks you")
    await expect(dialog.get_by_role("timer")).to_have_text(re.compile("1:[45]"))
    await expect(dialog.get_by_role("button", name="aws_costs")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    await answered(card)
    steps = card.get_by_role("list", name="Steps").get_by_role("listitem")
    names = ["Read the question", "Looked which data there is", "Asked you", "Read the rows", "Computed"]
    await expect(steps).to_have_text([re.compile(rf"{name}\s*[\d.]+ m?s") for name in names])
    figures = card.get_by_role("table").get_by_role("row")
    await expect(figures).to_have_count(5)
    await expect(figures.nth(1)).to_contain_text("Compute Engine")
    await expect(card.get_by_text("9 more this minute").or_(page.get_by_text("9 more this minute"))).to_be_visible()

    await card.get_by_text("What left this browser").click()
    sent = card.get_by_role("listitem").filter(has=page.get_by_role("button", name="Look: "))
    await expect(sent).to_have_count(3)
    await expect(card.get_by_text("Rows of aws_costs")).to_have_count(0)
    await sent.filter(has_text="Rows of gcp_costs").get_by_role("button").click()
    looked = page.get_by_role("dialog", name="What was sent: Rows of gcp_costs")
    rows = int(re.search(r"(\d+) rows read", await card.inner_text())[1])  # type: ignore[index]
    await expect(looked.get_by_role("table")).to_have_attribute("aria-rowcount", str(rows + 1))
    await expect(looked.get_by_role("columnheader")).to_contain_text(["Row", "date", "service", "cost"])
    await page.keyboard.press("Escape")
    await expect(looked).to_be_hidden()

    card = await ask(page, CLEAR)
    await answered(card)
    await expect(card.get_by_role("img", name="Chart of cost · total")).to_be_visible()


async def test_a_reload_goes_on_with_the_question_where_it_was(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/copilot", "alice")
    await ask(page, EITHER)
    dialog = page.get_by_role("dialog", name="The server asks you")
    await expect(dialog).to_be_visible()
    await page.reload()
    await dialog.get_by_role("button", name="aws_costs").click()
    card = page.get_by_role("article")
    await expect(card).to_have_count(1)
    await answered(card)
    await card.get_by_text("What left this browser").click()
    await expect(card.get_by_text("A question to you")).to_have_count(1)
    await expect(card.get_by_text("“aws_costs”")).to_be_visible()


async def test_a_new_window_goes_on_with_the_question_of_one_that_was_closed(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    first = await visitors.visit(f"{server.url}/copilot", "alice")
    token = await first.evaluate("sessionStorage.getItem('atrium.token')")
    await ask(first, EITHER)
    await expect(first.get_by_role("dialog", name="The server asks you")).to_be_visible()
    second = await first.context.new_page()
    await first.close()
    await second.goto(f"{server.url}/copilot#token={token}")
    await second.get_by_role("dialog", name="The server asks you").get_by_role("button", name="gcp_costs").click()
    await answered(second.get_by_role("article", name=EITHER))


async def test_neither_a_lost_network_nor_a_killed_server_loses_a_question(visitors: Visitors, nodes: Nodes) -> None:
    way = await Proxy.start("127.0.0.1", nodes.port(0))
    page = await visitors.visit(f"http://127.0.0.1:{way.port}/copilot", "alice")
    await connected(page)
    card = await ask(page, EITHER)
    dialog = page.get_by_role("dialog", name="The server asks you")
    await expect(dialog).to_be_visible()
    await way.close()
    await expect(page.get_by_text("Reconnecting")).to_be_visible()
    other = Proxy("127.0.0.1", nodes.port(1))
    other.port = way.port
    await other.accept()
    await connected(page)  # to the other node, which hears the answer that the first one waits for
    await dialog.get_by_role("button", name="aws_costs").click()
    await answered(card)

    card = await ask(page, EITHER)
    await expect(dialog).to_be_visible()
    await nodes.kill(1)
    await other.close()
    await way.accept()
    await connected(page)
    await expect(card.get_by_text("Asked again: the server had lost it")).to_be_visible()
    await dialog.get_by_role("button", name="gcp_costs").click()
    await answered(card)
    await way.close()


async def test_a_person_may_put_off_give_up_or_be_too_late_with_an_answer(visitors: Visitors, serve: Serve) -> None:
    server = await serve(COPILOT_PERSON_TIMEOUT=2)
    page = await visitors.visit(f"{server.url}/copilot", "alice")
    await connected(page)
    dialog = page.get_by_role("dialog", name="The server asks you")
    card = await ask(page, EITHER)
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await card.get_by_role("button", name="Answer the server's question").click()
    await dialog.get_by_role("button", name="Cancel the question").click()
    await expect(dialog).to_be_hidden()
    await expect(card.get_by_text("Cancelled")).to_be_visible()

    card = await ask(page, EITHER)
    await expect(dialog).to_be_visible()
    await expect(dialog).to_be_hidden()  # the server's two seconds
    await expect(page.get_by_text("The server waits for your answer no more.")).to_be_visible()
    await expect(card.get_by_text("No answer came from this browser in time")).to_be_visible()
    await card.get_by_role("button", name="Ask again").click()
    await dialog.get_by_role("textbox").fill("the gcp one")
    await page.keyboard.press("Enter")
    await answered(page.get_by_role("article").first)


async def test_who_wants_to_be_asked_decides_what_leaves_the_browser(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/copilot", "alice")
    await page.get_by_role("checkbox", name="Ask me before anything is sent").check()
    card = await ask(page, CLEAR)
    dialog = page.get_by_role("dialog", name="May this leave your browser?")
    await expect(dialog).to_contain_text("Names, descriptions and columns of 3 data sets")
    await dialog.get_by_role("button", name="Send this").click()
    await expect(dialog).to_contain_text("250 rows of aws_costs")
    await dialog.get_by_role("button", name="Do not send").click()
    await expect(card.get_by_text("You did not let the data out.")).to_be_visible()
    await expect(card.get_by_text(re.compile(r"2 requests · 0 rows"))).to_be_visible()

    offer = page.get_by_role("checkbox", name="Offered to the server: aws_costs")
    await offer.click()
    await expect(offer).not_to_be_checked()
    card = await ask(page, "total cost by service")
    await dialog.get_by_role("button", name="Send all for this question").click()
    await answered(card)
    await expect(card.get_by_text("gcp_costs ·")).to_be_visible()


async def test_questions_over_the_limit_wait_and_say_how_long(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/copilot", "alice")
    await connected(page)
    for _ in range(10):
        await answered(await ask(page, "total budget by team"))
    card = await ask(page, CLEAR)
    await expect(card.get_by_text(re.compile(r"Too many questions\. Goes on in \d+ s"))).to_be_visible()
    await card.get_by_role("button", name="Cancel").click()
    await expect(card.get_by_text("Cancelled")).to_be_visible()


async def test_files_are_read_within_bounds_and_shown_as_text(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/copilot", "alice")
    await connected(page)
    await page.get_by_role("button", name="Look at team_budgets").wait_for()
    for picked, fault in (
        (file("a.json", "{"), "This is not JSON"),
        (file("a.json", "[1]"), "Entry 1 is not an object"),
        (file("a.csv", "only,a,header\n"), "There are no rows"),
        (file("a.csv", "x,x\n1,2\n"), "Two columns are named x"),
        (file("a.csv", ",".join(map(str, range(61))) + "\n1\n"), "too many columns (61)"),
        (file("a.csv", "a\n" + "1\n" * 50_001), "more than 50,000 rows"),
        (file("a.png", "x"), "Only CSV, TSV and JSON"),
    ):
        await choose(page, picked)
        await expect(page.get_by_role("alert").filter(has_text=fault)).to_be_visible()

    await page.locator("input[type=file]").evaluate(BIG)
    await expect(page.get_by_role("alert").filter(has_text="larger than 10 MB")).to_be_visible()

    markup = "<img src=x onerror=document.title='owned'>"
    rows = "\n".join(f"2025-10-{1 + at % 28:02},{('서울', '부산', markup)[at % 3]},{at}" for at in range(3000))
    await choose(page, file(f"{markup}.csv", f"날짜,지역,매출\n{rows}\n"))
    edit = page.get_by_role("dialog")
    await edit.get_by_label("Name", exact=True).fill("가게 매출 <b>")
    await edit.get_by_label("Description", exact=True).fill("지역별 매출")
    await edit.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    card = await ask(page, "지역별 매출 합계")
    await answered(card)
    await expect(card.get_by_role("row").filter(has_text="서울")).to_contain_text("1,498,500")
    await expect(card.get_by_role("row").filter(has_text=markup)).to_contain_text("1,500,500")
    await page.get_by_role("button", name="Look at 가게 매출 <b>").click()
    looked = page.get_by_role("dialog", name="가게 매출 <b>")
    await expect(looked.get_by_role("cell", name=markup).first).to_be_visible()
    assert await looked.get_by_role("row").count() < 100  # of 3,000
    await page.keyboard.press("Escape")
    await expect(page).to_have_title("Copilot · Atrium")

    numbers = {f"n{column}": 123_456.789 for column in range(50)}
    wide = [{"shop": f"s{at % 4}", "sales": at, **numbers, "notes": "n" * 900} for at in range(300)]
    await choose(page, file("notes.json", json.dumps(wide)))
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    card = await ask(page, "total by shop in notes")
    await answered(card)
    await card.get_by_text("What left this browser").click()
    await expect(card.get_by_text("Did not fit into a message and stayed here: notes, n49").first).to_be_visible()


async def test_an_expired_token_is_told_and_people_do_not_see_each_others_data(
    visitors: Visitors, serve: Serve
) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/copilot", "alice", lifetime=-60)
    await expect(page.get_by_role("alert").filter(has_text="You are not signed in any more")).to_be_visible()
    await page.get_by_role("button", name="Edit team_budgets").click()
    await page.get_by_role("dialog").get_by_label("Name", exact=True).fill("alices_own")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.get_by_role("button", name="Look at alices_own")).to_be_visible()
    await page.get_by_role("banner").get_by_role("button", name="alice").click()
    await page.get_by_role("banner").get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="ada admin").click()
    await connected(page)
    await expect(page.get_by_role("button", name="Look at team_budgets")).to_be_visible()
    await expect(page.get_by_role("button", name="Look at alices_own")).to_have_count(0)
