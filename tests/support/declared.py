"""Holds what servers in this process tell their clients against what their namespaces declare: the AsyncAPI document.

Namespaces that tests make up declare nothing, and are left alone.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

import jsonschema
from socketio import packet as wire

from server.http import asyncapi
from server.realtime import packets
from server.realtime.namespace import Namespace
from server.realtime.server import RealtimeServer

SAMPLES = 20  # of each event and ack that are looked at in one test
SHOWN = 300  # characters of one that does not fit

_formats = jsonschema.FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or (
        value.endswith("Z") and datetime.fromisoformat(value).utcoffset() == timedelta(0)
    )


class Declared:
    """What one namespace may tell, by what it is of: `("hear", event)`, `("question", event)`, `("ack", event)`."""

    def __init__(self, namespace: Namespace) -> None:
        document = asyncapi.document([namespace])
        schemas = document["components"]["schemas"]
        [channel] = document["channels"].values()
        self._refusal = _validator(channel["x-connect-error"], schemas)
        self._failed = _validator(schemas["Failed"], schemas)
        self._told: dict[str, Any] = {}
        self._acks: dict[str, Any] = {}
        self._any = None
        for key, message in channel["messages"].items():
            kind, name, payload = key.partition(".")[0], message["name"], message["payload"]
            if kind in ("hear", "question"):
                self._told[name] = _validator(payload, schemas)
            elif kind == "ack":
                self._acks[name] = _validator(payload["oneOf"][0], schemas)
        self._any = self._told.pop("*", None)

    def event(self, name: str, arguments: Sequence[object]) -> list[str]:
        validator = self._told.get(name, self._any)
        if validator is None:
            return ["is not declared"]
        if len(arguments) != 1:
            return [f"has {len(arguments)} arguments"]
        return _faults(validator, arguments[0])

    def ack(self, event: str, result: object) -> list[str]:
        if not isinstance(result, Mapping) or result.get("ok") is not True:
            return _faults(self._failed, result)
        validator = self._acks.get(event)
        return ["is not declared"] if validator is None else _faults(validator, result)

    def refusal(self, error: object) -> list[str]:
        return _faults(self._refusal, error.get("data") if isinstance(error, Mapping) else error)


class Watch:
    """All servers of this process, from `install` on. `faults` are of one test, between two `begin`s."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._served: WeakValueDictionary[str, Namespace] = WeakValueDictionary()  # tests look for what stays
        self._known: dict[object, Declared] = {}
        self._on = True

    def begin(self, *, on: bool) -> None:
        self.faults.clear()
        self._seen.clear()
        self._served.clear()
        self._on = on

    def install(self) -> None:
        add, handle, encode = RealtimeServer.add, Namespace.handle, packets.encode

        @functools.wraps(add)
        def adding(server: RealtimeServer, namespace: Namespace) -> None:
            add(server, namespace)
            self._served[namespace.path] = namespace

        @functools.wraps(handle)
        async def handling(
            namespace: Namespace, connection: Any, name: str, arguments: Sequence[Any], reply: Any
        ) -> None:
            def replying(*results: object) -> None:
                self._check("ack", namespace.path, name, results[0] if results else None)
                reply(*results)

            await handle(namespace, connection, name, arguments, None if reply is None else replying)

        @functools.wraps(encode)
        def encoding(kind: int, namespace: str, data: Any = None, id: int | None = None) -> Any:
            if kind == wire.EVENT:
                self._check("event", namespace, data[0], data[1:])
            elif kind == wire.CONNECT_ERROR:
                self._check("refusal", namespace, "", data)
            return encode(kind, namespace, data, id)

        RealtimeServer.add = adding
        Namespace.handle = handling
        for name, module in list(sys.modules.items()):
            if name.startswith("server.") and getattr(module, "encode", None) is encode:
                module.encode = encoding

    def _declared(self, namespace: Namespace) -> Declared:
        """Made once for all that declare the same: it takes some 50 ms."""
        events = [(name, event.ack) for name, event in namespace.events.items()]
        key = type(namespace), tuple(events), tuple(namespace.tells), tuple(namespace.requests)
        if key not in self._known:
            self._known[key] = Declared(namespace)
        return self._known[key]

    def _check(self, what: str, path: str, name: str, told: Any) -> None:
        namespace = self._served.get(path)
        if not self._on or namespace is None or not type(namespace).__module__.startswith("server."):
            return
        seen = (what, path, name if what == "event" or name in namespace.events else "")  # clients make up the others
        self._seen[seen] += 1
        if self._seen[seen] > SAMPLES:
            return
        declared = self._declared(namespace)
        if what == "event":
            faults = declared.event(name, told)
        else:
            faults = declared.ack(name, told) if what == "ack" else declared.refusal(told)
        self.faults += [f"{what} {name!r} of {path}: {fault}: {str(told)[:SHOWN]}" for fault in faults]


_Validator = jsonschema.validators.extend(
    jsonschema.Draft7Validator,
    type_checker=jsonschema.Draft7Validator.TYPE_CHECKER.redefine(
        "array", lambda _, value: isinstance(value, list | tuple)
    ),
)


def _validator(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Of a schema in which references are replaced by what they refer to: they would take as long as all else."""
    return _Validator(_inlined(schema, schemas), format_checker=_formats)


def _inlined(part: Any, schemas: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(each, schemas) for each in part]
    if not isinstance(part, Mapping):
        return part
    if isinstance(ref := part.get("$ref"), str):
        return _inlined(schemas[ref.rpartition("/")[2]], schemas)
    return {name: _inlined(each, schemas) for name, each in part.items()}


def _faults(validator: Any, told: object) -> list[str]:
    return [f"{error.json_path}: {error.message[:SHOWN]}" for error in validator.iter_errors(told)]
