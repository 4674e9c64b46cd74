from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from marshmallow import fields

from server.app import NAMESPACES
from server.errors import AtriumError, RateLimited
from server.http import asyncapi
from server.realtime.connection import Connection
from server.realtime.events import event
from server.realtime.namespace import Namespace
from server.realtime.schema import Count, Flag, Identifier, Payload, Text
from server.realtime.told import ANY, Ack, Moment, OneOf, Question, Request, Told
from tests.conftest import Connect, Serve

#: The specification's own schema, from npm.
OFFICIAL = Path(__file__).parents[1] / "clients/node_modules/@asyncapi/specs/schemas/3.0.0.json"


class Everything(Payload):
    name = Identifier(required=True, most=10)
    text = Text(least=0, most=5, load_default="")
    count = Count(least=1, most=9, load_default=1)
    flag = Flag(load_default=False)
    maybe = Count(load_default=None)


class Inner(Told):
    """What is inside."""

    at = Moment(allow_none=True)


class Outer(Told):
    optional = ("rest",)

    kind = OneOf("a", "b")
    inner = fields.Nested(Inner)
    maybe = fields.Nested(Inner, allow_none=True)
    rest = fields.List(fields.Nested(Inner))


class Done(Ack):
    outer = fields.Nested(Outer)


class Which(Request):
    options = fields.List(fields.String())


TELLS = {"say": Outer, "say it": Inner, "say_it": Inner, ANY: Inner}
REQUESTS = {"which": Question(Which, Everything)}


class Toys(Namespace):
    path = "/toys"
    tells = TELLS
    requests = REQUESTS

    @event("say", Everything, rate="messages", attachment="sound", ack=Done)
    async def say(
        self, connection: Connection, name: str, text: str, count: int, flag: bool, maybe: int | None, sound: bytes
    ) -> None:
        """Says it.

        At length."""


@pytest.fixture
def toys() -> dict[str, Any]:
    return asyncapi.document([Toys()])


def references(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(ref := part.get("$ref"), str):
            yield ref
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def resolved(document: Any, ref: str) -> Any:
    for key in ref.removeprefix("#/").split("/"):
        document = document[key]
    return document


async def fetched(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/asyncapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        found: dict[str, Any] = await response.json()
        return found


# -- the server's -------------------------------------------------------------------------------------------------


async def test_it_is_an_asyncapi_document(serve: Serve) -> None:
    document = await fetched((await serve()).url)  # without a token
    official = json.loads(OFFICIAL.read_text())
    assert [error.message for error in jsonschema.Draft7Validator(official).iter_errors(document)] == []
    assert list(jsonschema.Draft7Validator(official).iter_errors(document | {"asyncapi": "2.0.0"}))
    for ref in references(document):
        resolved(document, ref)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


async def test_it_has_what_the_server_takes_and_nothing_else(serve: Serve, connect: Connect) -> None:
    server = await serve(RATE_LIMIT_ENABLED="false")
    document = await fetched(server.url)
    assert {each["address"] for each in document["channels"].values()} == {each.path for each in server.app[NAMESPACES]}
    for channel in document["channels"].values():
        described = {each["name"] for key, each in channel["messages"].items() if key.startswith("send.")}
        client = await connect(server, channel["address"], "alice")
        for name in sorted(described):
            ack = await client.call(name)
            assert ack["ok"] or ack["error"]["code"] != "UNKNOWN_EVENT"
        [namespace] = [each for each in server.app[NAMESPACES] if each.path == channel["address"]]
        assert described == set(namespace.events)
        assert (await client.call("no such event"))["error"]["code"] == "UNKNOWN_EVENT"


async def test_every_ack_of_ours_is_declared(serve: Serve) -> None:
    document = await fetched((await serve()).url)
    assert "AnyAck" not in document["components"]["schemas"]
    undescribed = [
        key for key, each in document["operations"].items() if each["action"] == "receive" and not each.get("summary")
    ]
    assert undescribed == []


async def test_who_needs_a_token(serve: Serve) -> None:
    document = await fetched((await serve()).url)
    secured = {key.partition(".")[0] for key, each in document["operations"].items() if "security" in each}
    assert secured == {"chat", "trading", "copilot"}


async def test_every_error_is_named(serve: Serve) -> None:
    codes = (await fetched((await serve()).url))["components"]["schemas"]["ErrorCode"]
    assert {AtriumError.code, RateLimited.code, "TOKEN_EXPIRED", "CANCELLED"} <= set(codes["enum"])
    assert "- `RATE_LIMITED`: Too many requests" in codes["description"]


# -- how it is made -----------------------------------------------------------------------------------------------


def test_an_event_its_ack_and_its_failure(toys: dict[str, Any]) -> None:
    receive = toys["operations"]["toys.send.say"]
    assert (receive["action"], receive["summary"], receive["x-rate"]) == ("receive", "Says it. At length.", "messages")
    [message] = [resolved(toys, each["$ref"]) for each in receive["messages"]]
    assert (message["name"], message["x-attachment"]) == ("say", "sound")
    payload = resolved(toys, message["payload"]["$ref"])
    assert payload["properties"]["sound"]["format"] == "binary"
    assert payload["required"] == ["name", "sound"]
    [ack] = [resolved(toys, each["$ref"]) for each in receive["reply"]["messages"]]
    done, failed = (resolved(toys, each["$ref"]) for each in ack["payload"]["oneOf"])
    assert done["properties"]["ok"]["const"] is True
    assert failed["properties"]["ok"]["const"] is False


def test_what_is_told_may_have_the_name_of_what_is_sent(toys: dict[str, Any]) -> None:
    messages = toys["channels"]["toys"]["messages"]
    assert messages["send.say"]["payload"] != messages["hear.say"]["payload"]
    assert toys["operations"]["toys.hear.say"]["action"] == "send"


def test_any_other_event_and_names_that_no_key_can_have(toys: dict[str, Any]) -> None:
    messages = toys["channels"]["toys"]["messages"]
    assert (messages["hear.any"]["name"], messages["hear.any"]["x-open"]) == ("*", True)
    assert {messages["hear.say_it"]["name"], messages["hear.say_it2"]["name"]} == {"say it", "say_it"}


def test_a_question_has_its_answer_for_a_reply(toys: dict[str, Any]) -> None:
    asked = toys["operations"]["toys.question.which"]
    assert asked["action"] == "send"
    [answer] = [resolved(toys, each["$ref"]) for each in asked["reply"]["messages"]]
    assert answer["payload"]["$ref"].endswith("EverythingPayload")
    [question] = [resolved(toys, each["$ref"]) for each in asked["messages"]]
    assert resolved(toys, question["payload"]["$ref"])["required"] == ["options", "requestId"]


def test_told_fields_are_there_unless_optional(toys: dict[str, Any]) -> None:
    schemas = toys["components"]["schemas"]
    [outer] = [each for name, each in schemas.items() if name.endswith("Outer")]
    assert outer["required"] == ["inner", "kind", "maybe"]
    assert outer["additionalProperties"] is False
    assert outer["properties"]["maybe"]["anyOf"][1] == {"type": "null"}
    [inner] = [each for name, each in schemas.items() if name.endswith("Inner")]
    assert inner["description"] == "What is inside."
    assert inner["properties"]["at"] == {"type": ["string", "null"], "format": "date-time"}
    assert "description" not in outer  # what it inherits is not what it says


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("name", ["n", "a b", "한글", "10 letters"], ["", " n", "n ", "a\nb", "a\x00", "eleven char", 5, None]),
        ("text", ["", "12345", "\n"], ["123456", "\0", 5, None]),
        ("count", [1, 9], [0, 10, 1.5, "5", True, None]),
        ("flag", [True, False], [0, "true", None]),
        ("maybe", [None, 0, 2**53 - 1], [-1, 2**53, "5", True]),
    ],
)
def test_fields_of_ours_say_what_they_take(
    toys: dict[str, Any], field: str, good: list[object], bad: list[object]
) -> None:
    [schema] = [each for name, each in toys["components"]["schemas"].items() if name.endswith("EverythingPayload")]
    described = jsonschema.Draft7Validator(schema["properties"][field])
    taken = Everything().fields[field]
    for value in good:
        assert described.is_valid(value), value
        taken.deserialize(value)
    for value in bad:
        assert not described.is_valid(value), value
        with pytest.raises(Exception):  # noqa: B017, PT011
            taken.deserialize(value)


def test_schemas_of_one_name_are_told_apart() -> None:
    def named(number: int) -> type[Told]:
        return type("Same", (Told,), {"a" * number: fields.String()})

    toys = Toys()
    toys.tells = {"one": named(1), "two": named(2)}
    document = asyncapi.document([toys])
    payloads = [
        resolved(document, each["payload"]["$ref"])
        for key, each in document["channels"]["toys"]["messages"].items()
        if key in ("hear.one", "hear.two")
    ]
    assert [list(each["properties"]) for each in payloads] == [["a"], ["aa"]]
