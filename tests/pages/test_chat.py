"""The chat page, as its people have it: on two nodes, over networks that fail, with what others may send them."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.pages.browsing import Visitors, chromium
from tests.support.cluster import Nodes
from tests.support.files import picture
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.rest import Rest

#: One pair of nodes and one browser for all of them, each with people of its own: to start them takes longer than most.
pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

SESSIONS = "/api/chat/sessions"
INERT = "<img src=x onerror=\"document.title='broken into'\"><b>bold</b>"
NOON = "2026-01-01 12:00:00.000000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sqlite_url(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("chat") / "atrium.db"
    await asyncio.to_thread(shutil.copy, migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory, sqlite_url: str) -> AsyncIterator[Nodes]:
    """Two nodes that share a Redis and a database file."""
    home = tmp_path_factory.mktemp("nodes")
    async with (
        RedisServer() as redis,
        Nodes(home, database_url=sqlite_url, redis_urls=[redis.url] * 2, DEBUG="true", CHAT_DEFAULT_AGENT="1") as nodes,
    ):
        yield nodes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def visitors(browser: Browser) -> AsyncIterator[Visitors]:
    everybody = Visitors(browser)
    yield everybody
    await everybody.leave()


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(nodes: Nodes) -> AsyncIterator[Proxy]:
    """The way to node 0."""
    proxy = await Proxy.start("127.0.0.1", nodes.port(0))
    yield proxy
    await proxy.close()


async def make(user: Rest, *invited: str, agent_id: int = 0, title: str = "Planning") -> str:
    """A session of `user`'s; without an agent unless told otherwise."""
    made = await user.post(SESSIONS, {"agent_id": agent_id, "title": title})
    session_id: str = made.body["session_id"]
    for each in invited:
        await user.post(f"{SESSIONS}/{session_id}/participants", {"user_id": each})
    return session_id


async def say(user: Rest, session_id: str, content: str) -> None:
    reply = await user.post(f"{SESSIONS}/{session_id}/messages", {"content": content})
    assert reply.status == 201, reply


def at(url: str, session_id: str | None = None) -> str:
    return f"{url}/chat" if session_id is None else f"{url}/chat?session={session_id}"


def history(page: Page) -> Locator:
    return page.get_by_role("region", name="Messages")


def bubble(page: Page, text: str) -> Locator:
    """The message that says just this."""
    return history(page).get_by_role("article").filter(has=page.get_by_text(text, exact=True))


def composer(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message", exact=True)


def listed(page: Page, title: str) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("link", name=title)


async def write(page: Page, text: str) -> None:
    await composer(page).fill(text)
    await composer(page).press("Enter")


async def light(page: Page, state: str) -> None:
    await expect(page.locator(".light").first).to_have_attribute("data-state", state)


async def test_two_people_talk_over_two_nodes(visitors: Visitors, nodes: Nodes) -> None:
    bob = await visitors.visit(at(nodes.url(1)), "bob")
    await expect(bob.get_by_text("No conversations yet")).to_be_visible()
    alice = await visitors.visit(at(nodes.url(0)), "alice")
    await light(alice, "connected")
    await light(bob, "connected")

    # a new one, of people only; who is invited hears of it at once
    await alice.get_by_role("button", name="New conversation").click()
    await alice.get_by_label("Title").fill("Planning")
    await alice.get_by_label("People only").check()
    await alice.get_by_label("Invite").fill("bob, carol")
    await alice.get_by_role("button", name="Start").click()
    await expect(alice).to_have_url(re.compile(r"/chat\?session=sess_"))
    await expect(listed(bob, "Planning")).to_be_visible()

    # Enter sends, Shift+Enter does not, nor does the Enter that ends a syllable
    await composer(alice).fill("annyeong")
    for key in ({"key": "Enter", "isComposing": True}, {"key": "Enter", "keyCode": 229}):
        await composer(alice).dispatch_event("keydown", key)
    await composer(alice).press("Shift+Enter")
    await expect(composer(alice)).to_have_value("annyeong\n")
    await write(alice, "first\nsecond")
    await write(alice, INERT)
    await expect(bubble(alice, "first second")).to_be_visible()
    await expect(listed(bob, "Planning")).to_contain_text("2 unread")

    # what the server refuses stays, to be sent again or not
    await write(alice, "not \0 text")
    for _ in range(2):
        await expect(alice.get_by_text("Not sent: The server did not accept this.")).to_be_visible()
        await alice.get_by_role("button", name="Send again").click()
    await expect(alice.get_by_text("Not sent: The server did not accept this.")).to_be_visible()
    await alice.get_by_role("button", name="Discard").click()
    await expect(alice.get_by_text("Not sent")).to_be_hidden()
    await expect(listed(bob, "Planning")).to_contain_text("<b>bold</b>")
    await expect(bob).to_have_title("(2) Chat · Atrium")

    # what is not read yet is marked, then read; what was said runs nothing
    await listed(bob, "Planning").click()
    await expect(history(bob).get_by_text("New", exact=True)).to_be_visible()
    await expect(bubble(bob, INERT)).to_be_visible()
    await expect(alice.get_by_text("Read by bob")).to_be_attached()
    await expect(listed(bob, "Planning")).not_to_contain_text("unread")
    await expect(bob).to_have_title("Chat · Atrium")
    await expect(alice.get_by_text("2 people here")).to_be_visible()

    # typing, and what comes of it
    await composer(bob).press_sequentially("I am")
    await expect(alice.get_by_text("bob is typing…")).to_be_visible()
    await composer(bob).press("Enter")
    await expect(bubble(alice, "I am")).to_be_visible()
    await expect(alice.get_by_text("bob is typing…")).to_be_hidden()

    # one's own is changed and taken back; others' is not
    await composer(bob).press("ArrowUp")
    await expect(composer(bob)).to_have_value("I am")
    await write(bob, "I was")
    await expect(bubble(alice, "I was").get_by_text("edited")).to_be_visible()
    assert await bubble(alice, "I was").get_by_role("button", name="Delete").count() == 0
    await bubble(bob, "I was").get_by_role("button", name="Delete").click()
    await bob.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(history(alice).get_by_text("This message was deleted")).to_be_visible()

    # who goes is seen to go; who is removed is told; Back is back
    await alice.get_by_role("button", name="Details").click()
    people = alice.get_by_role("complementary", name="Details")
    await expect(people.get_by_role("listitem").filter(has_text="bob")).to_contain_text("here")
    await expect(people.get_by_role("listitem").filter(has_text="carol")).to_contain_text("away")
    await people.get_by_role("button", name="Remove bob").click()
    await alice.get_by_role("dialog").get_by_role("button", name="Remove bob").click()
    await expect(bob.get_by_text("You were removed from the conversation")).to_be_visible()
    await expect(bob).to_have_url(at(nodes.url(1)))
    await alice.go_back()
    await expect(alice.get_by_role("heading", name="Pick a conversation")).to_be_visible()
    await alice.go_forward()
    await expect(bubble(alice, "first second")).to_be_visible()
    await alice.get_by_role("button", name="Archive", exact=True).click()
    await alice.get_by_role("dialog").get_by_role("button", name="Archive").click()
    await expect(alice.get_by_text("This conversation is archived")).to_be_visible()
    await expect(composer(alice)).to_be_hidden()


async def test_an_agent_is_stopped_and_a_person_takes_over(visitors: Visitors, nodes: Nodes) -> None:
    session_id = await make(Rest(nodes.url(0), "carol"), agent_id=1, title="My card")
    for n in range(30):  # more than a screen holds; no agent answers staff
        await say(Rest(nodes.url(1), "ada", roles=("admin",)), session_id, f"news {n}")
    olga = await visitors.visit(at(nodes.url(1)), "olga", roles=("operator",))
    await light(olga, "connected")
    carol = await visitors.visit(at(nodes.url(0), session_id), "carol")
    await write(carol, "I lost my card. What should I do?")
    await carol.get_by_role("button", name="Stop the answer").click()
    await expect(history(carol).get_by_text("stopped", exact=True)).to_be_visible()
    await expect(carol.get_by_role("button", name="Stop the answer")).to_be_hidden()

    await carol.get_by_role("button", name="Ask for a person").click()
    await expect(carol.get_by_text("A person was asked for. Somebody will come.")).to_be_visible()
    await expect(olga.get_by_text(re.compile("carol waits for a person · Urgency"))).to_be_visible()

    # what operators are told of her is not for her
    await olga.get_by_role("button", name="Waiting 1").click()
    waiting = await Rest(nodes.url(1), "olga", roles=("operator",)).get(SESSIONS, everyone="true", handover="true")
    [card] = waiting.body["sessions"]
    briefing = card["handover"]
    await expect(listed(olga, "My card")).to_contain_text(briefing["summary"])
    await expect(listed(olga, "My card")).to_contain_text(briefing["urgency"])
    hers = await visitors.visit(at(nodes.url(0)), "carol")
    await expect(listed(hers, "My card")).to_contain_text(card["last_message"] or "Nothing said yet")
    await expect(listed(hers, "My card")).not_to_contain_text(briefing["summary"])
    await expect(listed(hers, "My card")).not_to_contain_text(briefing["urgency"])

    # to read is not to take over
    await listed(olga, "My card").click()
    await expect(bubble(olga, "I lost my card. What should I do?")).to_be_visible()
    await expect(composer(olga)).to_be_hidden()
    await olga.get_by_role("button", name="Take over").click()
    await expect(history(carol).get_by_text("olga took over from the agent")).to_be_visible()
    await expect(carol.get_by_text("olga answers here")).to_be_visible()
    await expect(olga.get_by_role("button", name="Waiting", exact=True)).to_be_visible()
    await expect(olga.get_by_role("button", name="Active")).to_have_attribute("aria-pressed", "true")
    await expect(listed(olga, "My card")).to_have_attribute("aria-current", "true")
    await make(Rest(nodes.url(1), "ada"), "olga", title="Lunch")  # the list is asked for anew
    await expect(listed(olga, "Lunch")).to_be_visible()
    await expect(listed(olga, "My card")).to_have_attribute("aria-current", "true")
    await write(olga, "I am here")
    await expect(bubble(carol, "I am here").get_by_text("Operator")).to_be_visible()
    await write(carol, "Thank you")
    await expect(bubble(olga, "Thank you")).to_be_visible()

    # given back, it stays given back: nobody joins by accident
    await olga.get_by_role("button", name="Give back to the agent").click()
    await expect(olga.get_by_role("button", name="Take over")).to_be_visible()
    await expect(bubble(olga, "Thank you")).to_be_in_viewport()
    await expect(history(carol).get_by_text("The agent answers again")).to_be_visible()
    await write(carol, "How much can I borrow?")
    await expect(history(carol).get_by_text(re.compile("^Up to 100 million won .* decide.$"))).to_be_visible()
    await expect(olga.get_by_text(re.compile("^Up to 100 million won"))).to_be_in_viewport()
    await expect(olga.get_by_role("button", name="Take over")).to_be_visible()

    # what is in view is heard, and covered by no toast
    toast = olga.locator(".toast").filter(has_text="waits for a person")
    await expect(toast).to_have_count(0)
    await carol.get_by_role("button", name="Ask for a person").click()
    await expect(olga.locator(".chat-analysis")).to_contain_text("carol waits for a person")
    await expect(olga.locator("[aria-live]").filter(has_text="carol waits for a person · Urgency")).to_be_attached()
    await expect(toast).to_have_count(0)
    await olga.get_by_role("button", name="Waiting 1").click()
    dan = Rest(nodes.url(0), "dan")
    theirs = await make(dan, agent_id=1, title="My loan")
    assert (await dan.post(f"{SESSIONS}/{theirs}/handover", {"reason": "too long"})).status == 200
    await expect(olga.locator("[aria-live]").filter(has_text="dan waits for a person · Urgency")).to_be_attached()
    await expect(listed(olga, "My loan")).to_be_visible()
    await expect(toast).to_have_count(0)


async def test_files_go_with_progress_over_a_network_that_fails(visitors: Visitors, nodes: Nodes, proxy: Proxy) -> None:
    fay, ben = Rest(nodes.url(0), "fay"), Rest(nodes.url(1), "ben")
    session_id = await make(fay, "ben")
    page = await visitors.visit(at(f"http://127.0.0.1:{proxy.port}", session_id), "fay")
    other = await visitors.visit(at(nodes.url(1), session_id), "ben")
    await expect(composer(page)).to_be_visible()
    picker = page.locator("input[type=file]")
    red = FilePayload(name="red wall.png", mimeType="image/png", buffer=picture("PNG"))

    await picker.set_input_files([red, FilePayload(name="tool.exe", mimeType="x/x", buffer=b"MZ\0\0" * 50)])
    for each in (page, other):
        await expect(history(each).get_by_role("img", name="wall")).to_be_visible()
        width = (
            await history(each)
            .get_by_role("img", name="wall")
            .evaluate("img => img.decode().then(() => img.naturalWidth)")
        )
        assert width > 0
    await expect(page.get_by_text(re.compile("Files of this kind are not accepted. Accepted: .*PNG"))).to_be_visible()
    await page.get_by_role("button", name="Discard: tool.exe").click()
    async with other.expect_download() as download:
        await other.get_by_role("button", name=re.compile("^Download")).last.click()
    assert (await (await download.value).path()).read_bytes() == picture("PNG")
    await other.get_by_role("button", name=re.compile("^Open")).click()
    await expect(other.get_by_role("dialog").get_by_role("img")).to_be_visible()

    # one that hangs is stopped, one that was cut off is sent again
    slow = FilePayload(name="slow.txt", mimeType="text/plain", buffer=b"slow " * 400_000)
    proxy.black_hole(True)
    await picker.set_input_files([slow])
    await expect(page.get_by_role("progressbar", name="slow.txt")).to_be_visible()
    await page.get_by_role("button", name="Cancel: slow.txt").click()
    await expect(page.get_by_role("progressbar")).to_be_hidden()
    await picker.set_input_files([FilePayload(name="cut.txt", mimeType="text/plain", buffer=slow["buffer"])])
    await expect(page.get_by_role("progressbar", name="cut.txt")).to_be_visible()
    proxy.refuse()
    await proxy.cut()
    proxy.black_hole(False)
    await expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
    await proxy.accept()
    await page.get_by_role("button", name="Send again").click()
    await expect(history(other).get_by_text("cut.txt")).to_be_visible()
    files = (await ben.get(f"{SESSIONS}/{session_id}/messages")).body["messages"]
    assert [each["content"] for each in files] == [red["name"], "cut.txt"]

    # they may be dropped and pasted too
    await page.evaluate(
        """() => {
             const carried = (name) => {
               const data = new DataTransfer();
               data.items.add(new File([name], name, { type: "text/plain" }));
               return data;
             };
             const at = document.querySelector("textarea");
             const how = { bubbles: true, cancelable: true };
             at.dispatchEvent(new DragEvent("drop", { ...how, dataTransfer: carried("dropped.txt") }));
             at.dispatchEvent(new ClipboardEvent("paste", { ...how, clipboardData: carried("pasted.txt") }));
           }"""
    )
    await expect(history(other).get_by_text("dropped.txt")).to_be_visible()
    await expect(history(other).get_by_text("pasted.txt")).to_be_visible()

    # what is too long for a message may go as a file
    await composer(page).fill("가" * 40_000)
    await expect(page.get_by_text("The message is too long")).to_be_visible()
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    await page.get_by_role("button", name="Send it as a text file").click()
    await expect(history(other).get_by_text("message.txt")).to_be_visible()
    await write(page, ("가나다 " * 40 + "\n") * 100)  # and this just so; all stay at the end of what is said
    for each in (page, other):
        await expect(each.get_by_role("button", name=re.compile("Show all of it"))).to_be_in_viewport()


async def test_a_long_history_and_five_thousand_sessions(visitors: Visitors, nodes: Nodes, sqlite_url: str) -> None:
    lena = Rest(nodes.url(0), "lena")
    session_id = await make(lena, title="T" * 200)
    await say(lena, session_id, "the needle in the haystack")
    await asyncio.to_thread(_fill, sqlite_url, session_id)
    await say(lena, session_id, "the newest")

    page = await visitors.visit(at(nodes.url(0), session_id), "lena")
    await expect(bubble(page, "the newest")).to_be_in_viewport()

    # earlier ones come without what is read moving away
    frame = history(page)
    await frame.evaluate("each => each.scrollTo({ top: each.scrollHeight - 4 * each.clientHeight })")
    await frame.evaluate("each => new Promise(requestAnimationFrame)")
    held = asyncio.Event()

    async def late(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route(re.compile("messages.*before"), late)
    async with page.expect_request(re.compile("messages.*before")):
        seen = await frame.evaluate(
            """async (each) => {
                 each.scrollTo({ top: 800 });
                 await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
                 const top = each.getBoundingClientRect().top;
                 const lines = [...each.querySelectorAll("[data-seq]")];
                 const line = lines.find((line) => line.getBoundingClientRect().top > top);
                 return { seq: line.dataset.seq, top: line.getBoundingClientRect().top, height: each.scrollHeight };
               }"""
        )
    held.set()
    await frame.evaluate(
        """async (each, height) => {
             while (each.scrollHeight < height + 2000) await new Promise(requestAnimationFrame);
             await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
           }""",
        seen["height"],
    )
    anchor = page.locator(f'[data-seq="{seen["seq"]}"]')
    await expect(anchor).to_be_in_viewport()
    moved = abs(await anchor.evaluate("each => each.getBoundingClientRect().top") - seen["top"])
    assert moved < 4, moved
    assert await page.get_by_role("article").count() < 80

    # what is found is gone to, however far
    await page.get_by_role("searchbox").fill("needle")
    await expect(page.get_by_text("1 message found")).to_be_visible()
    assert await page.locator("mark").all_inner_texts() == ["needle"]
    await page.get_by_role("button", name="the needle in the haystack").click()
    await expect(bubble(page, "the needle in the haystack")).to_be_in_viewport()
    await page.get_by_role("button", name="To the newest message").click()
    await expect(bubble(page, "the newest")).to_be_in_viewport()

    # the list is paged and drawn in part; arrows walk through it
    await page.get_by_role("searchbox").press("Escape")
    await expect(page.get_by_role("searchbox")).to_have_value("")
    await listed(page, "T" * 200).focus()
    await page.keyboard.press("End")
    await page.keyboard.press("End")
    assert await page.locator(".chat-item").count() < 60
    await page.locator(".chat-list").evaluate(
        """async (each) => { while (!each.textContent.includes("session 0 of many")) {
             each.scrollTo({ top: each.scrollHeight }); await new Promise(requestAnimationFrame); } }"""
    )
    await expect(listed(page, "session 0 ")).to_be_attached()
    assert await page.locator(".chat-item").count() < 60


def _fill(sqlite_url: str, session_id: str) -> None:
    """1,000 messages in the session, and 5,000 sessions older than it."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=30)) as db, db:
        db.executemany(
            "INSERT INTO chat_sessions (session_id, user_id, title, created_at, updated_at)"
            " VALUES (?, 'lena', ?, ?, ?)",
            (
                (
                    f"old-{n}",
                    f"session {n} of many",
                    NOON,
                    f"2026-01-01 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}.000000",
                )
                for n in range(5000)
            ),
        )
        db.executemany(
            "INSERT INTO chat_participants (session_id, user_id, joined_at) VALUES (?, 'lena', ?)",
            ((f"old-{n}", NOON) for n in range(5000)),
        )
        db.executemany(
            "INSERT INTO chat_messages"
            " (session_id, message_id, seq, sender_type, sender_id, message_type, content, created_at)"
            " VALUES (?, ?, ?, 'user', ?, 'text', ?, ?)",
            (
                (
                    session_id,
                    f"msg_{n}",
                    n,
                    f"user-{n % 5}",
                    f"message {n} " + "lorem ipsum " * (n % 40),
                    f"2026-01-02 {n // 60:02}:{n % 60:02}:00.000000",
                )
                for n in range(2, 1002)
            ),
        )
        db.execute("UPDATE chat_sessions SET last_seq = 1001 WHERE session_id = ?", (session_id,))
        db.execute("UPDATE chat_participants SET last_read_seq = 1001 WHERE session_id = ?", (session_id,))


async def test_what_a_message_says_of_itself_breaks_no_page(visitors: Visitors, nodes: Nodes) -> None:
    mallory = Rest(nodes.url(0), "mallory")
    session_id = await make(mallory, "trent")
    nothing = {"toString": 1, "valueOf": 1}
    for metadata in (
        {"file": {"url": "/files/abc", "name": nothing, "type": nothing, "size": nothing, "thumbnail_url": nothing}},
        {"source_documents": [{"document": nothing, "title": nothing}, None, 5, "text"], "agent_name": nothing},
        {"edited_at": nothing, "cancelled": nothing, "tokens_used": nothing, "latency_ms": nothing},
    ):
        body = {"content": "look at this", "metadata": metadata}
        reply = await mallory.post(f"{SESSIONS}/{session_id}/messages", body)
        assert reply.status == 201, reply
    await say(mallory, session_id, "and this")
    trent = await visitors.visit(at(nodes.url(1), session_id), "trent")
    await expect(bubble(trent, "and this")).to_be_visible()
    await expect(bubble(trent, "look at this")).to_have_count(3)


async def test_the_network_goes_and_comes_back(visitors: Visitors, nodes: Nodes, proxy: Proxy) -> None:
    nora, noah = Rest(nodes.url(0), "nora"), Rest(nodes.url(1), "noah")
    session_id = await make(nora, "noah")
    page = await visitors.visit(at(f"http://127.0.0.1:{proxy.port}", session_id), "nora")
    other = await visitors.visit(at(nodes.url(1), session_id), "noah")
    await write(page, "before")
    await expect(bubble(other, "before")).to_be_visible()

    proxy.refuse()
    await proxy.cut()
    await light(page, "reconnecting")
    await write(page, "meanwhile here")
    await expect(page.get_by_text("Will be sent when you are connected again")).to_be_visible()
    await write(other, "meanwhile there")
    await expect(bubble(other, "meanwhile there")).to_be_visible()
    await proxy.accept()
    await light(page, "connected")
    for each in (page, other):
        await expect(bubble(each, "meanwhile here")).to_have_count(1)
        await expect(bubble(each, "meanwhile there")).to_have_count(1)
    said = (await noah.get(f"{SESSIONS}/{session_id}/messages")).body["messages"]
    assert [each["content"] for each in said] == ["before", "meanwhile there", "meanwhile here"]

    # its node is restarted
    await nodes.restart(0)
    await light(page, "connected")
    await write(page, "after")
    await expect(bubble(other, "after")).to_be_visible()
    await write(other, "the end")
    await expect(bubble(page, "the end")).to_be_visible()


async def test_without_a_socket_it_goes_on_by_http(visitors: Visitors, nodes: Nodes) -> None:
    session_id = await make(Rest(nodes.url(0), "wim"), "wanda")
    other = await visitors.visit(at(nodes.url(1), session_id), "wanda")
    page = await visitors.visit(at(nodes.url(0)), "wim")
    await light(page, "connected")
    await page.clock.install()
    await page.route("**/socket.io/**", lambda route: route.abort())
    await page.route_web_socket("**/socket.io/**", lambda socket: socket.close())
    await page.goto(at(nodes.url(0), session_id))
    await _hurry(page, "fallback")
    await write(page, "by HTTP")
    await expect(bubble(other, "by HTTP")).to_be_visible()
    await write(other, "answered")
    await page.clock.fast_forward(4000)
    await expect(bubble(page, "answered")).to_be_visible()
    await page.unroute_all()


async def _hurry(page: Page, state: str) -> None:
    """Lets the page's time go by until its light is so."""
    shown = page.locator(".light").first
    while await shown.get_attribute("data-state") != state:
        await page.clock.run_for(1000)


async def test_a_token_runs_out_on_a_phone(visitors: Visitors, nodes: Nodes) -> None:
    tess = Rest(nodes.url(0), "tess")
    await make(tess, agent_id=1, title="카드 문의")
    page = await visitors.visit(
        at(nodes.url(0)), "tess", lifetime=6, language="ko-KR", size=(390, 844), has_touch=True, is_mobile=True
    )
    await page.get_by_role("link", name="카드 문의").tap()
    await expect(page.get_by_role("heading", name="카드 문의")).to_be_visible()
    await expect(page.get_by_role("navigation", name="대화")).to_be_hidden()
    await page.get_by_role("button", name="목록으로").tap()
    await expect(page.get_by_role("navigation", name="대화")).to_be_visible()
    await expect(page.get_by_text("연결 끊김")).to_be_visible()
    await expect(page.get_by_text("로그인이 만료되었습니다")).to_be_visible()
    wide: Any = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
