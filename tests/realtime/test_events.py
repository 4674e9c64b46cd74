from __future__ import annotations

import pytest

from server.realtime.connection import Connection
from server.realtime.events import event
from server.realtime.namespace import Namespace
from server.realtime.schema import Payload, Text
from server.realtime.told import Ack, AnyAck


class Said(Payload):
    text = Text(most=5)


class Toys(Namespace):
    path = "/toys"

    @event("say", Said, rate="messages", attachment="sound", ack=Ack)
    async def say(self, connection: Connection, text: str, sound: bytes) -> None:
        """Says it."""

    @event("hush")
    async def hush(self, connection: Connection) -> None: ...


def test_what_is_declared() -> None:
    toys = Toys()
    say, hush = toys.events["say"], toys.events["hush"]
    assert (say.name, say.rate, say.attachment, say.ack, say.says) == ("say", "messages", "sound", Ack, "Says it.")
    assert (hush.rate, hush.attachment, hush.ack, hush.says) == (None, None, AnyAck, "")
    assert say.handler == toys.say


def test_one_from_outside() -> None:
    async def shout(namespace: Namespace, connection: Connection, *, text: str) -> None:
        """Loudly."""

    toys = Toys()
    toys.add("shout", Said, shout, rate="messages", ack=Ack)
    found = toys.events["shout"]
    assert (found.rate, found.ack, found.says) == ("messages", Ack, "Loudly.")


@pytest.mark.parametrize("attachment", [None, "sound"])
def test_a_handler_takes_what_its_schema_has(attachment: str | None) -> None:
    with pytest.raises(TypeError, match="event 'say': the handler takes"):

        @event("say", Said, attachment=attachment)
        async def say(self: Namespace, connection: Connection, words: str) -> None: ...
