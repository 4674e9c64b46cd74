"""`python -m clients.python chat|watch|monitor|ask`: one command per namespace, to try a server with."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import click
from socketio.exceptions import ConnectionError as NotConnected

from clients.python.connection import Connection, Lost, Refused, connect, connection, development_token

#: What `ask` offers the server: the little data set of a client that has no other.
COSTS = [
    {"date": f"2026-{month:02}-01", "service": service, "region": region, "cost": round(base * (1 + month / 50), 2)}
    for month in (8, 9, 10)
    for service, region, base in (
        ("EC2", "ap-northeast-2", 4120.5),
        ("RDS", "ap-northeast-2", 1830.25),
        ("S3", "us-east-1", 612.4),
        ("Lambda", "us-east-1", 95.8),
    )
]
DATASET = {
    "name": "cloud_costs",
    "description": "Cloud cost by service, region and month (클라우드 서비스별 비용)",
    "columns": ["date", "service", "region", "cost"],
}

Session = Callable[[Connection], Awaitable[None]]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="ATRIUM_URL", default="http://localhost:8000", show_default=True)
@click.option("--token", envvar="ATRIUM_TOKEN", help="Default: one that a server under DEBUG mints for you.")
@click.pass_context
def cli(context: click.Context, url: str, token: str | None) -> None:
    """Try an Atrium server."""
    context.obj = (url.rstrip("/"), token)


@cli.command()
@click.option("--count", type=int, help="Stop after so many messages.")
@click.pass_obj
def monitor(target: tuple[str, str | None], count: int | None) -> None:
    """Every machine's status, every second."""

    async def session(opened: Connection) -> None:
        done = asyncio.Event()
        seen = 0

        async def status(message: Mapping[str, Any]) -> None:
            nonlocal seen
            seen += 1
            states: dict[str, list[str]] = {}
            for machine in message["equipment"]:
                states.setdefault(machine["status"], []).append(machine["equipment_name"])
            click.echo(f"{message['timestamp']}  {len(message['equipment'])} machines")
            for state in ("running", "idle", "stopped", "error", "disconnected"):
                if names := states.get(state):
                    click.echo(f"  {state:<12} {len(names):>2}  {', '.join(names)}")
            if seen == count:
                done.set()

        opened.on("equipment_status", status)
        await start(opened, target)
        await opened.until(done.wait())

    run(target, "/monitor", session)


@cli.command()
@click.argument("channel")
@click.option("--count", type=int, help="Stop after so many messages.")
@click.pass_obj
def watch(target: tuple[str, str | None], channel: str, count: int | None) -> None:
    """A trading CHANNEL, such as ticks:005930, stock_updates or general, or all of a kind: 'ticks:*'."""

    async def session(opened: Connection) -> None:
        done = asyncio.Event()
        seen = 0

        def is_of(name: object) -> bool:
            return name == channel or (channel.endswith("*") and str(name).startswith(channel[:-1]))

        async def message(event: str, payload: Any = None) -> None:
            nonlocal seen
            if not isinstance(payload, Mapping) or not is_of(payload.get("channel")):
                return
            seen += 1
            click.echo(f"{payload.get('seq', ''):>6}  {event}  {brief(payload.get('data', payload))}")
            if seen == count:
                done.set()

        opened.on("*", message)
        await start(opened, target)
        ack = await opened.call("subscribe", {"channel": channel})
        click.echo(f"subscribed to {channel}" + ("" if ack["seq"] is None else f" at seq {ack['seq']}"))
        await opened.until(done.wait())

    run(target, "/trading", session)


@cli.command()
@click.argument("session_id")
@click.option("--say", multiple=True, help="Say this and leave after the answer; may be given more than once.")
@click.pass_obj
def chat(target: tuple[str, str | None], session_id: str, say: tuple[str, ...]) -> None:
    """Talk in the chat session SESSION_ID; a line is a message, Ctrl-D leaves."""

    async def session(opened: Connection) -> None:
        answered = asyncio.Event()

        async def message(payload: Mapping[str, Any]) -> None:
            who = "agent" if payload["sender_type"] == "agent" else payload["sender_id"]
            click.echo(f"{payload['seq']:>4}  {who}: {payload['content']}")

        async def chunk(payload: Mapping[str, Any]) -> None:
            click.echo(payload["content"], nl=False)

        async def stream_start(payload: Mapping[str, Any]) -> None:
            click.echo("      agent: ", nl=False)

        async def stream_end(payload: Mapping[str, Any]) -> None:
            click.echo()
            answered.set()

        async def system(payload: Mapping[str, Any]) -> None:
            click.echo(f"      * {payload['user_id']} {payload['event']}")

        for event, handler in (
            ("message", message),
            ("stream_start", stream_start),
            ("stream_chunk", chunk),
            ("stream_end", stream_end),
            ("system", system),
        ):
            opened.on(event, handler)
        await start(opened, target)
        joined = await opened.call("join", {"session_id": session_id})
        for earlier in joined["messages"]:
            await message(earlier)
        for line in say:
            answered.clear()
            await opened.call("message", {"session_id": session_id, "content": line})
            await opened.until(answered.wait())
        lines = typed()
        while not say and (line := await opened.until(lines.get())):
            if line.strip():
                answered.clear()
                await opened.call("message", {"session_id": session_id, "content": line.strip()})
                if not sys.stdin.isatty():
                    await opened.until(answered.wait())

    run(target, "/chat", session)


@cli.command()
@click.argument("question")
@click.pass_obj
def ask(target: tuple[str, str | None], question: str) -> None:
    """Ask the copilot a QUESTION about a little table of cloud costs that this client holds."""

    async def session(opened: Connection) -> None:
        done = asyncio.Event()

        async def available(request: Mapping[str, Any]) -> Mapping[str, Any]:
            click.echo(f"  server asks for the data sets: offering {DATASET['name']}")
            return {"datasets": [DATASET]}

        async def rows(request: Mapping[str, Any]) -> Mapping[str, Any]:
            click.echo(f"  server fetches {request['dataset']} {brief(request['params'])}: {len(COSTS)} rows")
            return {"data": COSTS}

        async def clarify(request: Mapping[str, Any]) -> None:
            options = request.get("options") or []
            click.echo(f"  {request['question']} {options}")
            line = await typed().get()
            await opened.emit("human_response", {"requestId": request["requestId"], "answer": line.strip() or "?"})

        async def response(answer: Mapping[str, Any]) -> None:
            click.echo(answer["text"])
            done.set()

        async def failed(fault: Mapping[str, Any]) -> None:
            click.echo(f"{fault['code']}: {fault.get('message', '')}", err=True)
            done.set()

        for event, handler in (
            ("request_available_data", available),
            ("request_api", rows),
            ("clarification_request", clarify),
            ("response", response),
            ("error", failed),
        ):
            opened.on(event, handler)
        await start(opened, target)
        await opened.call("query", {"text": question})
        await opened.until(done.wait())

    run(target, "/copilot", session)


def typed() -> asyncio.Queue[str]:
    """The lines of standard input, an empty one at its end. A thread of its own that nobody waits for: one in the
    loop's pool would hold up Ctrl-C until the next line."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed
            while True:
                line = sys.stdin.readline()
                loop.call_soon_threadsafe(lines.put_nowait, line)
                if not line:
                    return

    threading.Thread(target=read, daemon=True).start()
    return lines


async def start(opened: Connection, target: tuple[str, str | None]) -> None:
    url, token = target
    if token is None and opened.namespace != "/monitor":
        token = await development_token(url, os.environ.get("USER") or getpass.getuser())
    await connect(opened, url, token)


def run(target: tuple[str, str | None], namespace: str, session: Session) -> None:
    """Runs a session to its end or to Ctrl-C; what the server refuses is one line, and exit code 1."""

    async def whole() -> None:
        async with connection(namespace) as opened:
            await session(opened)

    if not target[0].startswith(("http://", "https://")):
        sys.exit(f"--url {target[0]}: not an http:// or https:// address")
    try:
        asyncio.run(whole())
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        os._exit(130)  # quietly: python-socketio's own tasks would tell of their interruption
    except (Refused, Lost) as error:
        sys.exit(str(error))
    except NotConnected as error:
        sys.exit(f"no connection to {target[0]}: {error}")


def brief(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    cli()
