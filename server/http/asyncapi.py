"""The AsyncAPI document, from what the namespaces declare: what clients may send and are answered, what they are told
and asked. It declares nothing itself; what the schemas are is in the namespaces' `schemas` and `told`.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from server import __version__
from server.realtime import told
from server.realtime.events import Event
from server.realtime.namespace import Namespace
from server.realtime.schema import Payload
from server.realtime.told import ANY

PATH = "/asyncapi.json"

Json = dict[str, Any]

ABOUT = """\
One channel for each Socket.IO namespace (Socket.IO v5, Engine.IO v4, at `/socket.io/`). An operation that the server
`receive`s is an event that clients may send, its reply the ack; one that it `send`s is an event that clients hear, and
where it has a reply a question: the client answers by the ack, or by the event `answer`.

- **Connecting**: `auth` of the CONNECT carries `token`, a JWT; `recovery: true` asks for connection state recovery. A
  refused connect carries a `Refusal`.
- **Acks** say `ok`. Without an ack callback a failure arrives as event `error`. The codes are those of `ErrorCode`.
- **Binary data** (`x-attachment`) is an event's second argument, or the field of that name in its payload.
- **Plain WebSockets** speak the same events as `{"type": event, ...payload}`.
- Administrators may tell anything (`POST /api/admin/broadcast`), also what is not here.
- What clients send may hold no other fields; to what they are told a later version may add some.
"""


def routes(namespaces: Sequence[Namespace]) -> list[web.RouteDef]:
    """For everybody, as are API docs."""
    body: list[bytes] = []

    def encoded() -> bytes:
        return orjson.dumps(document(namespaces))

    async def get(request: web.Request) -> web.Response:
        if not body:  # most servers are never asked, and it takes some 50 ms
            body.append(await asyncio.to_thread(encoded))
        return web.Response(body=body[0], content_type="application/json")

    return [web.get(PATH, get)]


def document(namespaces: Iterable[Namespace]) -> Json:
    """To be called when all events were added."""
    schemas = _Schemas()
    channels: Json = {}
    operations: Json = {}
    for namespace in namespaces:
        name = _key(namespace.path)
        channel = _Channel(name, namespace, schemas)
        channels[name], operations = channel.described(), operations | channel.operations
    schemas.name(told.Failed)
    schemas.name(told.Refusal)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Atrium", "version": __version__, "description": ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "socketio": {
                "host": "{host}",
                "pathname": "/socket.io/",
                "protocol": "socketio",
                "variables": {"host": {"default": "localhost:8000"}},
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": schemas.described(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "`auth.token`"}
            },
        },
    }


class _Channel:
    """Of one namespace. Keys of messages begin with what they are: events of both ways may have one name."""

    def __init__(self, name: str, namespace: Namespace, schemas: _Schemas) -> None:
        self.operations: Json = {}
        self._name = name
        self._namespace = namespace
        self._schemas = schemas
        self._messages: Json = {}
        self._security: Json = {"security": [_ref("securitySchemes", "token")]} if namespace.require_auth else {}

    def described(self) -> Json:
        namespace = self._namespace
        for name, event in namespace.events.items():
            self._receive(name, event)
        for name, schema in namespace.tells.items():
            self._send("hear", name, schema)
        for name, question in namespace.requests.items():
            answer = self._message("answer", name, self._schemas.name(question.answer), "The answer")
            self._send("question", name, question.payload, reply=answer)
        return {
            "address": namespace.path,
            "title": namespace.path,
            "servers": [{"$ref": "#/servers/socketio"}],
            "messages": self._messages,
            "x-connect-error": _ref("schemas", self._schemas.name(told.Refusal)),
        }

    def _receive(self, name: str, event: Event) -> None:
        attachment = event.attachment
        schema = self._schemas.name(type(event.shape.schema), attachment)
        more: Json = {} if attachment is None else {"x-attachment": attachment}
        message = self._message("send", name, schema, event.says, **more)
        ack = self._message("ack", name, self._schemas.name(event.ack), "The ack", self._schemas.name(told.Failed))
        if event.rate is not None:
            more["x-rate"] = event.rate
        self._operate("receive", message, ack, event.says, **more)

    def _send(self, kind: str, name: str, schema: type[Schema], *, reply: str | None = None) -> None:
        says = "Any other event." if name == ANY else _says(schema)
        more = {"x-open": True} if name == ANY else {}
        message = self._message(kind, name, self._schemas.name(schema), says, **more)
        self._operate("send", message, reply, says)

    def _message(self, kind: str, name: str, schema: str, says: str, *others: str, **more: object) -> str:
        """Its key. Where it may have `others`, one of the schemas is it."""
        key = _unused(f"{kind}.{'any' if name == ANY else _key(name)}", self._messages)
        refs = [_ref("schemas", each) for each in (schema, *others)]
        self._messages[key] = {
            "name": name,
            **_sentences(says),
            "payload": {"oneOf": refs} if others else refs[0],
            **more,
        }
        return key

    def _operate(self, action: str, message: str, reply: str | None, says: str, **more: object) -> None:
        channel = {"$ref": f"#/channels/{self._name}"}
        self.operations[f"{self._name}.{message}"] = {
            "action": action,
            "channel": channel,
            **_sentences(says),
            "messages": [self._message_ref(message)],
            **({} if reply is None else {"reply": {"channel": channel, "messages": [self._message_ref(reply)]}}),
            **self._security,
            **more,
        }

    def _message_ref(self, key: str) -> Json:
        return {"$ref": f"#/channels/{self._name}/messages/{key}"}


class _Schemas:
    """Of all namespaces, each once, as JSON schemas. Those of what clients send are called payloads, for they share
    many a name with what is told; those of a namespace begin with its name."""

    def __init__(self) -> None:
        plugin = MarshmallowPlugin(schema_name_resolver=lambda schema: self._title(_class(schema)))
        self._spec = APISpec("", "", "3.1.0", plugins=[plugin])
        if plugin.converter is None:
            raise AssertionError("apispec has begun")
        plugin.converter.add_attribute_function(_own)
        self._converter = plugin.converter
        self._names: dict[type[Schema], str] = {}
        self._attachments: dict[str, str] = {}
        self._codes = sorted({each.code for each in told.errors()})

    def name(self, schema: type[Schema], attachment: str | None = None) -> str:
        """In the document's components."""
        name = self._title(schema)
        if name not in self._spec.components.schemas:
            self._spec.components.schema(name, schema=schema())
        if attachment is not None:
            self._attachments[name] = attachment
        return name

    def described(self) -> Json:
        found: dict[str, Json] = self._spec.components.schemas
        by_name = {name: schema for schema, name in self._names.items()}
        for name, described in found.items():
            described["title"] = name
            if says := _says(by_name[name]):
                described["description"] = says
        for name, attachment in self._attachments.items():
            binary = {"type": "string", "format": "binary", "description": "Bytes."}
            found[name]["properties"][attachment] = binary
            found[name].setdefault("required", []).append(attachment)
        codes = {"type": "string", "title": "ErrorCode", "enum": self._codes, "description": _codes()}
        return {name: found[name] for name in sorted(found)} | {"ErrorCode": codes}

    def _title(self, schema: type[Schema]) -> str:
        if schema not in self._names:
            name = _owner(schema.__module__) + schema.__name__.lstrip("_")
            if not issubclass(schema, told.Told):
                name = f"{name}Payload" if schema is not Payload else "NoPayload"
            self._names[schema] = _unused(name, self._names.values())
        return self._names[schema]


def _own(converter: object, field: fields.Field[Any], ret: Json) -> Json:
    """What a class of fields says of itself, beside what apispec sees of it."""
    if isinstance(field, told.Code):
        ret.pop("type", None)
        return _ref("schemas", "ErrorCode")
    describe: Callable[[], Json] | None = getattr(field, "json_schema", None)
    own = {} if describe is None else dict(describe())
    if field.allow_none and "type" in own:
        own["type"] = [own["type"], "null"]
    return own


def _class(schema: Schema | type[Schema] | str) -> type[Schema]:
    if isinstance(schema, type):
        return schema
    if isinstance(schema, Schema):
        return type(schema)
    raise TypeError(f"a schema by its name: {schema}")


def _owner(module: str) -> str:
    """What the names of a module's schemas begin with."""
    parts = module.split(".")
    if parts[0] != "server":
        return _pascal(parts[0])
    return _pascal(parts[2]) if parts[1] == "namespaces" else ""


def _pascal(name: str) -> str:
    return "".join(each.title() for each in re.split(r"[^A-Za-z0-9]+", name))


def _says(schema: type[Schema]) -> str:
    """What it says itself, not what it inherits."""
    return "" if schema is Payload else inspect.cleandoc(vars(schema).get("__doc__") or "")


def _sentences(says: str) -> Json:
    return {"summary": " ".join(says.split())} if says else {}


def _codes() -> str:
    """Every code with what it says where nothing better is known."""
    named = [each for each in told.errors() if "code" in vars(each)]
    return "\n".join(sorted({f"- `{each.code}`: {each.default_message}" for each in named}))


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name.strip("/")) or "root"


def _unused(name: str, used: Iterable[str] | Mapping[str, object]) -> str:
    taken, number, found = set(used), 2, name
    while found in taken:
        found, number = f"{name}{number}", number + 1
    return found


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
