"""Which server a command talks to, as whom, and how it ends: what went wrong is one line, and exit code 1."""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import click

from clients.python.cli import terminal
from clients.python.client import Client
from clients.python.errors import ClientError
from clients.python.policy import POLICIES
from clients.python.tokens import Token, development_token

AUTO = "auto"
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Target:
    """`token`: None where a server under DEBUG shall mint one. `reconnect`: a policy's name, or `auto`."""

    url: str
    token: str | None
    reconnect: str = AUTO
    as_json: bool = False

    @property
    def user(self) -> str:
        return os.environ.get("USER") or getpass.getuser()

    def with_json(self, as_json: bool) -> Target:
        return Target(self.url, self.token, self.reconnect, as_json)

    def is_pretty(self) -> bool:
        return not self.as_json and terminal.is_terminal()

    def credentials(self, sub: str | None = None) -> Token:
        """Asked again at each connect, as what was minted runs out."""
        if self.token is not None:
            return self.token

        async def mint() -> str | None:
            return await development_token(self.url, sub or self.user)

        return mint

    def client(self, *, tokenless: bool = False, outbox: str | None = None) -> Client:
        """Scripts end when the connection does, people are brought back; `--reconnect` says otherwise."""
        policy = self.reconnect
        if policy == AUTO:
            policy = "" if self.is_pretty() else "none"
        token = self.token if tokenless else self.credentials()
        return Client(self.url, token, policy=policy or None, fallback=policy != "none", outbox=outbox)


def policies() -> click.Choice[str]:
    return click.Choice([AUTO, *POLICIES])


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")(command)


def run(target: Target, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it to its end, or to Ctrl-C: exit code 130."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        asyncio.run(work())
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        _leave(INTERRUPTED)
    except ClientError as error:
        where = f"no connection to {target.url}: {error.message}" if error.code == "UNREACHABLE" else str(error)
        click.echo(terminal.failure(terminal.safe(where)), err=True)
        _leave(1)
    except (OSError, ValueError) as error:
        click.echo(terminal.failure(terminal.safe(str(error))), err=True)
        _leave(1)


def _leave(code: int) -> None:
    """Quietly: nobody reads a broken pipe, and what waits for a line of input waits on."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(code)


async def first(*works: Awaitable[Any]) -> None:
    """Until one of them ends, or fails; the others are ended too."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def brief(value: object) -> str:
    """JSON of the same meaning; what is no letter or sign is escaped, as a terminal might act on it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        text if text.isprintable() else "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
    )
