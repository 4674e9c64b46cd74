"""The server as `serve` runs it, with one namespace more, whose handlers take their time. A program."""

from __future__ import annotations

import asyncio
import contextlib
from unittest import mock

from marshmallow import fields

from server import __main__ as program
from server.app import REALTIME, build_app
from server.realtime.connection import Connection
from server.realtime.namespace import Namespace, event
from server.realtime.schema import Count, Payload


class Job(Payload):
    number = Count(required=True)
    seconds = fields.Float(load_default=0.0)


class Slow(Namespace):
    path = "/slow"

    @event("work", Job)
    async def work(self, connection: Connection, number: int, seconds: float) -> dict[str, object]:
        """It tells what has begun on standard output."""
        print(f"begun {number}", flush=True)  # noqa: T201
        await asyncio.sleep(seconds)
        return {"number": number}

    @event("hang")
    async def hang(self, connection: Connection) -> None:
        print("hanging", flush=True)  # noqa: T201
        await asyncio.Event().wait()

    @event("stubborn")
    async def stubborn(self, connection: Connection) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    @event("flood")
    async def flood(self, connection: Connection) -> None:
        """More than the kernel takes for a client that does not read, less than its outbox does."""
        for _ in range(30):
            await self.send(connection, "flood", {"text": "x" * 20_000})


def build(*arguments: object, **options: object) -> object:
    app = build_app(*arguments, **options)  # type: ignore[arg-type]
    app[REALTIME].add(Slow())
    return app


if __name__ == "__main__":
    with mock.patch.object(program, "build_app", build):
        program.cli(["serve"])
