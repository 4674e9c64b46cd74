"""The agents there are, from `config/agents.toml`; what a backend does with its options is the backend's."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from server.errors import ConfigError
from server.namespaces.chat.agents import faq, openai_backend
from server.namespaces.chat.agents.backend import Backend, Factory

FILE = "agents.toml"
PEOPLE_ONLY = "none"
BACKENDS: Mapping[str, Factory] = {"faq": faq.build, "openai": openai_backend.build}
CLOSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class _Entry(Schema):
    class Meta:
        unknown = EXCLUDE  # the rest is for the backend

    id = fields.Integer(required=True, strict=True, validate=validate.Range(min=1, max=2**31 - 1))
    name = fields.String(required=True, validate=validate.Length(min=1, max=100))
    avatar = fields.String(load_default=None)
    backend = fields.String(required=True)


@dataclass(frozen=True, slots=True)
class Agent:
    """`backend` is None where people answer."""

    id: int
    name: str
    avatar_url: str | None
    backend: Backend | None

    def to_wire(self) -> dict[str, object]:
        return {"id": self.id, "name": self.name, "avatar_url": self.avatar_url}


def load(
    config: Path,
    defaults: Mapping[str, Mapping[str, object]] | None = None,
    more: Iterable[tuple[str, Mapping[str, object]]] = (),
) -> dict[int, Agent]:
    """By id. `defaults`: options by the backend's name, for what the file leaves out; empty ones do not count.
    `more`: who else brings an agent, and its table.

    May import and read much: not for a running loop. Raises ConfigError.
    """
    path = config / FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    entries = document.get("agents")
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: no [[agents]] in it")
    agents: dict[int, Agent] = {}
    tables = [(f"{path}: agent {number}", entry) for number, entry in enumerate(entries, start=1)]
    for where, entry in (*tables, *more):
        agent = _agent(config, entry, defaults or {}, where)
        if agent.id in agents:
            raise ConfigError(f"{where}: id {agent.id} is taken")
        agents[agent.id] = agent
    return agents


async def close(agents: Iterable[Agent]) -> None:
    """Closes what the backends hold open, all at once and not for long."""
    await asyncio.gather(*(_close(agent) for agent in agents))


async def _close(agent: Agent) -> None:
    if (end := getattr(agent.backend, "close", None)) is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await end()
    except Exception:
        log.exception("agent did not close", agent=agent.id)


def _agent(config: Path, entry: object, defaults: Mapping[str, Mapping[str, object]], where: str) -> Agent:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: not a table")
    try:
        known: dict[str, Any] = _Entry().load(entry)
    except ValidationError as error:
        raise ConfigError(f"{where}: {error.normalized_messages()}") from None
    options = {key: value for key, value in entry.items() if key not in known}
    name: str = known["backend"]
    backend: Backend | None = None
    if name != PEOPLE_ONLY:
        try:
            backend = _backend(name, config, options, defaults.get(name, {}))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error.__cause__
    return Agent(known["id"], known["name"], known["avatar"], backend)


def _backend(name: str, config: Path, options: Mapping[str, object], defaults: Mapping[str, object]) -> Backend:
    """One of ours by its name, or anyone's by its dotted path."""
    if name in BACKENDS:
        if "api_key" in options:
            raise ConfigError("an api_key belongs in the environment, not in a file")
        given = {key: value for key, value in defaults.items() if value not in (None, "")}
        return BACKENDS[name](config, {**given, **options})
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ConfigError(f"no backend {name!r}; there are {', '.join(sorted([*BACKENDS, PEOPLE_ONLY]))}")
    try:
        factory: Factory = getattr(importlib.import_module(module), attribute)
        backend = factory(config, options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"backend {name!r}: {type(error).__name__}: {error}") from error
    answer = getattr(backend, "answer", None)
    if not callable(answer) or inspect.iscoroutinefunction(answer):
        raise ConfigError(f"backend {name!r}: it has no async generator answer(question)")
    return backend
