"""What packages outside the tree add (`ATRIUM_EXTENSIONS`): events, channel classes, feeds, agents, equipment sources.

It imports them, has them register and finds their faults; it builds nothing of what they bring. Such a package imports
from nowhere else in the server: the names in `__all__` stay.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

from server.errors import AtriumError, ClientTimeout, ConfigError, Forbidden, InvalidMessage, LimitExceeded, NotFound
from server.identity import Identity
from server.namespaces.chat.agents.backend import Backend, Question, Verdict
from server.namespaces.chat.namespace import ChatNamespace
from server.namespaces.copilot.namespace import CopilotNamespace
from server.namespaces.monitor.catalogue import Group, Kind, Machine
from server.namespaces.monitor.namespace import MonitorNamespace
from server.namespaces.monitor.schemas import Reading
from server.namespaces.monitor.sources import KINDS, Source, SourceError
from server.namespaces.trading.feeds import FEEDS, Build, FeedOptions
from server.namespaces.trading.feeds.broadcast import Feed
from server.namespaces.trading.namespace import NO_FEED, TradingNamespace
from server.namespaces.trading.schemas import Tick
from server.realtime.asking import RoomAnswer, RoomAnswers
from server.realtime.asks import User
from server.realtime.connection import Connection
from server.realtime.events import RESERVED, Handler
from server.realtime.namespace import Namespace
from server.realtime.schema import Count, Flag, Identifier, Payload, Text
from server.realtime.told import Ack, AnyAck, Counted, Moment, OneOf, Request, Told
from server.realtime.told import Question as Asked
from server.timestamps import iso_utc

__all__ = [
    "Ack",
    "AnyAck",
    "AtriumError",
    "Backend",
    "ClientTimeout",
    "ConfigError",
    "Connection",
    "Count",
    "Counted",
    "Extensions",
    "Feed",
    "FeedOptions",
    "Flag",
    "Forbidden",
    "Group",
    "Identifier",
    "Identity",
    "InvalidMessage",
    "Kind",
    "LimitExceeded",
    "Machine",
    "Moment",
    "Namespace",
    "NotFound",
    "OneOf",
    "Payload",
    "Question",
    "Reading",
    "Request",
    "RoomAnswer",
    "RoomAnswers",
    "Source",
    "SourceError",
    "Text",
    "Tick",
    "Told",
    "User",
    "Verdict",
    "iso_utc",
]

LONGEST_NAME = 100
RATES = frozenset({"messages", "queries"})  # the limits that an event may count under
_NAMESPACES: Mapping[str, type[Namespace]] = {
    each.path: each for each in (ChatNamespace, TradingNamespace, MonitorNamespace, CopilotNamespace)
}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclasses.dataclass(frozen=True, slots=True)
class _Event:
    name: str
    payload: type[Payload]
    handler: Handler
    rate: str | None
    ack: type[Ack]


class Extensions:
    """What `register(atrium: Extensions)` of each extension is given. A fault does not raise: all are told at once.

    `channel_classes`, `agents`, `feeds` and `sources` are for who builds these: classes as `(who, name, table)`,
    agents as `(who, table)` - `who` goes before what is wrong with it -, the others by name.
    """

    def __init__(self) -> None:
        self.channel_classes: list[tuple[str, str, Mapping[str, object]]] = []
        self.agents: list[tuple[str, Mapping[str, object]]] = []
        self.feeds: dict[str, Build] = {}
        self.sources: dict[str, Kind] = {}
        self.faults: list[str] = []
        self._events: dict[str, list[_Event]] = {path: [] for path in _NAMESPACES}
        self._tells: dict[str, dict[str, type[Told]]] = {path: {} for path in _NAMESPACES}
        self._requests: dict[str, dict[str, Asked]] = {path: {} for path in _NAMESPACES}
        self._owners: dict[str, str] = {}
        self._module: str | None = None

    # -- what an extension calls --------------------------------------------------------------------------------

    def event(
        self,
        namespace: str,
        name: str,
        payload: type[Payload] = Payload,
        *,
        rate: str | None = None,
        ack: type[Ack] = AnyAck,
    ) -> Callable[[Handler], Handler]:
        """Declares `async def handler(namespace, connection, *, one, other)`, where `one` and `other` are the payload's
        fields, as the handler of an event.

        It runs as every other: in the order of its connection's events; what it returns goes into the ack; an
        `AtriumError` is told to the client, anything else it raises is INTERNAL. It may be cancelled and must not
        block. Whoever may connect may send the event: whom to refuse (`connection.identity`) and what to keep within a
        tenant is the handler's business. `rate`: `messages` or `queries`, if it counts under that limit too. `ack`, and
        the handler's docstring, are for the AsyncAPI document.
        """

        def declare(handler: Handler) -> Handler:
            what = f"event {name!r} of {namespace!r}"
            if fault := _event_fault(namespace, name, payload, handler, rate):
                self._fault(f"{what}: {fault}")
            elif not _is_kind(ack, Ack):
                self._fault(f"{what}: {ack!r} is no Ack")
            elif self._claim(what, ours=name in _declared(_NAMESPACES[namespace])):
                self._events[namespace].append(_Event(name, payload, handler, rate, ack))
            return handler

        return declare

    def tells(self, namespace: str, name: str, payload: type[Told], answer: type[Payload] | None = None) -> None:
        """Declares an event that clients hear; with an `answer`, and a `Request` as its payload, a question that they
        are asked. For the AsyncAPI document, and the types that clients make of it: nothing is checked while it runs.
        """
        what = f"event {name!r} to clients of {namespace!r}"
        if namespace not in _NAMESPACES:
            self._fault(f"{what}: there are {', '.join(_NAMESPACES)}")
        elif not _is_sendable(name):
            self._fault(f"{what}: no client can hear that")
        elif not _is_kind(payload, Told if answer is None else Request):
            self._fault(f"{what}: {payload!r} is no {'Told' if answer is None else 'Request'}")
        elif answer is not None and not _is_kind(answer, Payload):
            self._fault(f"{what}: {answer!r} is no Payload")
        elif self._claim(what, ours=name in {**_NAMESPACES[namespace].tells, **_NAMESPACES[namespace].requests}):
            if answer is None:
                self._tells[namespace][name] = payload
            else:
                self._requests[namespace][name] = Asked(cast("type[Request]", payload), answer)

    def channel_class(self, name: str, table: Mapping[str, object]) -> None:
        """A class of channels of /trading, as a table of `channels.toml`, whose own classes are looked at first."""
        what = f"channel class {name!r}"
        if not _is(name, str) or not _is(table, Mapping):
            self._fault(f"{what}: it takes a name and a table")
        elif self._claim(what):
            self.channel_classes.append((self._who, name, table))

    def feed(self, name: str, build: Build) -> None:
        """What TRADING_FEED=name plays. `build` may read files; it raises ConfigError."""
        what = f"feed {name!r}"
        if self._usable(what, name, build) and self._claim(what, ours=name in FEEDS or name == NO_FEED):
            self.feeds[name] = self._guarded(what, build, "symbols", "ticks")

    def agent(self, id: int, name: str, backend: str, *, avatar: str | None = None, **options: object) -> None:
        """An agent of /chat, as a table of `agents.toml`: `backend` is a name that may stand there, or the dotted path
        of what makes a `Backend` from the configuration's folder and the options."""
        what = f"agent {id!r}"
        if self._claim(what):
            shown = {} if avatar is None else {"avatar": avatar}
            table = {"id": id, "name": name, "backend": backend, **shown, **options}
            self.agents.append((f"{self._who}: {what}", table))

    def source(self, name: str, kind: Kind) -> None:
        """What `source = "name"` in `equipment.toml` means."""
        what = f"source {name!r}"
        if not _is(kind, Kind):
            self._fault(f"{what}: {kind!r} is no Kind")
        elif self._usable(what, name, kind.build) and self._claim(what, ours=name in KINDS):
            self.sources[name] = dataclasses.replace(
                kind,
                build=self._guarded(what, kind.build, "name", "codes", "read", "close"),
                check=self._guarded(what, lambda group: list(kind.check(group))),
            )

    # -- what the server calls ----------------------------------------------------------------------------------

    def extend(self, namespace: Namespace) -> None:
        """Gives it the events that are for it, and what it is declared to tell."""
        for each in self._events.get(namespace.path, ()):
            namespace.add(each.name, each.payload, each.handler, rate=each.rate, ack=each.ack)
        namespace.tells = {**namespace.tells, **self._tells.get(namespace.path, {})}
        namespace.requests = {**namespace.requests, **self._requests.get(namespace.path, {})}

    def register(self, module: str) -> BaseException | None:
        """Imports it and has it register. Returns what it raised, which is one of `faults` then."""
        self._module = module
        try:
            register = getattr(importlib.import_module(module), "register", None)
            if not callable(register) or inspect.iscoroutinefunction(register):
                self._fault("it has no function register(atrium)")
            else:
                register(self)
        except (Exception, SystemExit) as error:
            self._fault(_told(error))
            return error
        finally:
            self._module = None
        return None

    @property
    def _who(self) -> str:
        if self._module is None:
            raise RuntimeError("an extension registers in register(atrium), not later")
        return f"extension {self._module}"

    def _fault(self, text: str) -> None:
        self.faults.append(f"{self._who}: {text}")

    def _usable(self, what: str, name: object, build: object) -> bool:
        """Whether the name can stand in a setting or a file, and the other be called."""
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            self._fault(f"{what}: a name is lower-case letters, digits, - and _")
        elif not callable(build):
            self._fault(f"{what}: {build!r} builds nothing")
        else:
            return True
        return False

    def _claim(self, what: str, *, ours: bool = False) -> bool:
        """Whether it was nobody's, and is this extension's now."""
        owner = "Atrium" if ours else self._owners.get(what)
        if owner is None:
            self._owners[what] = self._who
        else:
            self._fault(f"{what} is there already, by {owner}")
        return owner is None

    def _guarded(self, what: str, build: Callable[[_Given], _Made], *needs: str) -> Callable[[_Given], _Made]:
        """`build`, whose faults name the extension too."""
        where = f"{self._who}: {what}"

        def guarded(given: _Given) -> _Made:
            try:
                made = build(given)
            except Exception as error:
                raise ConfigError(f"{where}: {_told(error)}") from error
            if missing := [each for each in needs if not hasattr(made, each)]:
                raise ConfigError(f"{where}: what it builds has no {', '.join(missing)}")
            return made

        return guarded


def load(modules: Iterable[str]) -> Extensions:
    """May import and read much: not for a running loop. Raises ConfigError with every fault of every extension."""
    extensions = Extensions()
    raised = [extensions.register(each) for each in dict.fromkeys(modules)]
    if extensions.faults:
        raise ConfigError("\n".join(extensions.faults)) from next(filter(None, raised), None)
    return extensions


def _is(value: object, kind: type) -> bool:
    """Of what comes from outside, where nobody need have checked its type."""
    return isinstance(value, kind)


def _is_kind(value: object, kind: type) -> bool:
    return isinstance(value, type) and issubclass(value, kind)


def _is_sendable(name: object) -> bool:
    return isinstance(name, str) and name not in RESERVED and name.isprintable() and len(name) <= LONGEST_NAME


def _event_fault(namespace: str, name: object, payload: object, handler: object, rate: object) -> str | None:
    if namespace not in _NAMESPACES:
        return f"there are {', '.join(_NAMESPACES)}"
    if not _is_sendable(name):
        return "no client can send that"
    if not _is_kind(payload, Payload):
        return f"{payload!r} is no Payload"
    if not inspect.iscoroutinefunction(handler):
        return f"{handler!r} is no `async def`"
    if rate is not None and rate not in RATES:
        return f"there is no rate {rate!r}, but {', '.join(sorted(RATES))}"
    try:
        inspect.signature(handler).bind(object(), object(), **dict.fromkeys(cast("type[Payload]", payload)().fields))
    except TypeError as error:
        return f"its handler is not for namespace, connection and the payload's fields: {error}"
    return None


def _declared(namespace: type[Namespace]) -> set[str]:
    methods = (method for _, method in inspect.getmembers(namespace, inspect.isfunction))
    return {method.__dict__["event"][0] for method in methods if "event" in method.__dict__}


def _told(error: BaseException) -> str:
    """What was raised, and the last line of theirs that it passed."""
    if isinstance(error, ConfigError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, importlib.__file__)
    theirs = [each for each in frames if each.filename not in ours and not each.filename.startswith("<")]
    text = f"{type(error).__name__}: {error}"
    return f"{text} ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else text
