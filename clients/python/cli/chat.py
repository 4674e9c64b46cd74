"""`chat`: a session to talk in. Lines in, lines out; on a terminal with colours, and a few commands of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import click

from clients.python.cli import terminal
from clients.python.cli.keyboard import Keyboard
from clients.python.cli.target import Target, as_json, brief, first, run
from clients.python.client import Client
from clients.python.errors import ClientError, TimedOut
from clients.python.feed import Feed
from clients.python.messages import Message
from clients.python.session import EVENTS, ChatSession

MOST_EVENTS = 10_000  # that wait to be shown
ANSWER_SECONDS = 120.0
MOST_STREAMED = 100  # answers that were shown while they came

HELP = """/file PATH    send a file
/search TEXT  look for it in this session
/older        what was said before
/stop         stop the agent's answer
/quit         leave (Ctrl-D too)"""

EXAMPLES = """
\b
Examples:
  chat support-1                          talk; a line is a message, Ctrl-D leaves
  chat support-1 --say "loan rates?"      say it, print the answer, leave
  echo hello | chat support-1             the same from a pipe
  chat support-1 --outbox unsent.db       what is not acked is sent by the next run
"""


@click.command(epilog=EXAMPLES)
@click.argument("session_id")
@click.option("--say", multiple=True, help="Say this and leave after the answer; may be given more than once.")
@click.option("--outbox", type=click.Path(dir_okay=False), help="A file that keeps what is not acked yet.")
@as_json
@click.pass_obj
def chat(target: Target, session_id: str, say: tuple[str, ...], outbox: str | None, as_json: bool) -> None:
    """Talk in the chat session SESSION_ID; a line is a message, Ctrl-D leaves."""
    target = target.with_json(as_json)

    async def work() -> None:
        async with target.client(outbox=outbox) as client:
            screen: Screen = Json() if as_json else Pretty() if target.is_pretty() else Plain()
            await Talk(client, await client.session(session_id), screen).run(say)

    run(target, work)


class Screen:
    """How a session is shown; this one shows nothing of it."""

    def message(self, message: Message) -> None: ...

    def event(self, event: str, payload: Mapping[str, Any]) -> None: ...

    def typed(self) -> None: ...

    def state(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        click.echo(terminal.safe(text))


class Json(Screen):
    def message(self, message: Message) -> None:
        click.echo(brief({"type": "message", **message.raw}))

    def event(self, event: str, payload: Mapping[str, Any]) -> None:
        click.echo(brief({"type": event, **payload}))


class Plain(Screen):
    def message(self, message: Message) -> None:
        who = "agent" if message.sender_type == "agent" else message.sender_id
        click.echo(terminal.safe(f"{message.seq:>4}  {who}: {message.content}"))

    def event(self, event: str, payload: Mapping[str, Any]) -> None:
        match event:
            case "stream_start":
                click.echo("      agent: ", nl=False)
            case "stream_chunk":
                click.echo(terminal.safe(str(payload.get("content", ""))), nl=False)
            case "stream_end":
                click.echo()
                if error := payload.get("error"):
                    click.echo(terminal.safe(f"      * the agent failed: {error.get('code')}"))
            case "system":
                click.echo(terminal.safe(f"      * {payload.get('user_id')} {payload.get('event')}"))


class Pretty(Screen):
    """What one typed oneself is replaced by the message that it became."""

    def __init__(self) -> None:
        self._console = terminal.console()
        self._streaming = False

    def message(self, message: Message) -> None:
        agent = message.sender_type == "agent"
        self._say(message.seq, "agent" if agent else message.sender_id, agent, message.content)
        file = message.metadata.get("file")
        if isinstance(file, Mapping):
            self._print(f"      📎 {file.get('file_url') or file.get('url') or ''}", "cyan")

    def event(self, event: str, payload: Mapping[str, Any]) -> None:
        match event:
            case "stream_start":
                self._streaming = True
                self._print("   …  ", "dim", end="")
                self._print("agent: ", "bold magenta", end="")
            case "stream_chunk":
                self._print(str(payload.get("content", "")), end="")
            case "stream_end":
                self._streaming = False
                self._print("")
                self._sources(payload)
            case "system":
                self._print(f"      * {payload.get('user_id')} {payload.get('event')}", "dim")
            case "typing" if payload.get("is_typing"):
                self._print(f"      {payload.get('user_id')} is typing …", "dim")
            case "message_edited" | "message_deleted":
                self._print(f"      * {event.replace('_', ' ')}: {payload.get('seq')}", "dim")

    def typed(self) -> None:
        """The line above is what was typed: it goes, and comes back as the message that it became."""
        self._console.file.write("\x1b[1A\x1b[2K")
        self._console.file.flush()

    def state(self, text: str) -> None:
        self._print(text, "dim")

    def note(self, text: str) -> None:
        self._print(text, "cyan")

    def _say(self, seq: int, who: str, agent: bool, content: str) -> None:
        if self._streaming:
            self._print("")
        self._print(f"{seq:>4}  ", "dim", end="")
        self._print(f"{who}: ", "bold magenta" if agent else "bold green", end="")
        self._print(content)

    def _sources(self, end: Mapping[str, Any]) -> None:
        if error := end.get("error"):
            self._print(f"      the agent failed: {error.get('code')}", "red")
        if end.get("cancelled"):
            self._print("      stopped", "yellow")
        if end.get("source_documents"):
            titles = ", ".join(str(each.get("title", each.get("document"))) for each in end["source_documents"][:3])
            self._print(f"      from: {titles}", "dim")

    def _print(self, text: str, style: str = "", end: str = "\n") -> None:
        self._console.print(terminal.safe(text), style=style, end=end, markup=False, soft_wrap=True)


class Talk:
    def __init__(self, client: Client, session: ChatSession, screen: Screen) -> None:
        self._client = client
        self._session = session
        self._screen = screen
        self._answered = asyncio.Event()
        self._streamed: dict[str, None] = {}
        self._events: Feed[tuple[str, Any]] = Feed(MOST_EVENTS)
        self._last_unheard = session.last_seq  # up to here messages may have come before there was a handler
        for event in (*EVENTS, "message"):
            session.on(event, self._hear(event))

    async def run(self, say: tuple[str, ...]) -> None:
        pretty = isinstance(self._screen, Pretty)
        for message in self._session.history:
            self._screen.message(message)
        if pretty:
            await self._show_state()
            self._screen.note("Type and press Enter; /help lists commands, Ctrl-D leaves.")
        await first(self._show(), self._until_ended(), self._say_all(say) if say else self._talk(Keyboard()))
        while len(self._events):  # what came with the answer
            self._show_one(*await anext(self._events))

    def _hear(self, event: str) -> Callable[[Any], None]:
        return lambda payload: self._events.put((event, payload))

    async def _show_state(self) -> None:
        connection = await self._client.connection("/chat")
        said = ""

        def show() -> None:
            nonlocal said
            state = self._session.state
            text = f"{terminal.LIGHTS[state]} {'by HTTP' if state == 'fallback' else state}"
            if text != said and state != "closed":
                said = text
                self._screen.state(text)

        connection.on_state(show)
        show()

    async def _until_ended(self) -> None:
        """Raises why the session ended."""
        async for message in self._session:
            if message.seq <= self._last_unheard:
                self._events.put(("message", message))

    async def _show(self) -> None:
        async for event, payload in self._events:
            self._show_one(event, payload)

    def _show_one(self, event: str, payload: Any) -> None:
        if event == "message":
            if payload.message_id not in self._streamed:
                self._screen.message(payload)
                if payload.sender_type == "agent":
                    self._answered.set()
            return
        if event == "stream_start":
            self._streamed[str(payload.get("message_id"))] = None
            while len(self._streamed) > MOST_STREAMED:
                del self._streamed[next(iter(self._streamed))]
        if event.startswith("stream_") and str(payload.get("message_id")) not in self._streamed:
            return
        self._screen.event(event, payload)
        if event == "stream_end":
            self._answered.set()

    # -- saying ----------------------------------------------------------------------------------------------------

    async def _say_all(self, lines: tuple[str, ...]) -> None:
        for line in lines:
            await self._say_and_hear(line)

    async def _say_and_hear(self, line: str) -> None:
        self._answered.clear()
        await self._session.send(line)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._answered.wait()
        except TimeoutError:
            raise TimedOut(f"nobody answered within {ANSWER_SECONDS:g} s") from None

    async def _talk(self, keyboard: Keyboard) -> None:
        commands: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/file": self._file,
            "/search": self._search,
            "/older": self._older,
            "/stop": self._stop,
        }
        while (line := await keyboard.line()) is not None:
            text = line.strip()
            if not text:
                continue
            if not sys.stdin.isatty():
                await self._say_and_hear(text)
                continue
            word, _, rest = text.partition(" ")
            if word == "/quit":
                return
            try:
                if word in commands:
                    await commands[word](rest.strip())
                else:
                    self._screen.typed()
                    await self._session.send(text)
            except (ClientError, OSError) as error:
                self._screen.note(f"{text}: {error}")

    async def _help(self, _: str) -> None:
        self._screen.note(HELP)

    async def _file(self, path: str) -> None:
        await self._session.upload(await asyncio.to_thread(Path(path).expanduser))

    async def _search(self, text: str) -> None:
        for hit in await self._session.search(text):
            self._screen.note(f"{hit.get('seq', ''):>4}  {hit.get('content', '')}")

    async def _older(self, _: str) -> None:
        for message in await self._session.older():
            self._screen.message(message)

    async def _stop(self, _: str) -> None:
        for message_id in reversed(self._streamed):
            await self._session.cancel_stream(message_id)
            return
