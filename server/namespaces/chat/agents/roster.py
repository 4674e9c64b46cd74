"""The agents there are, from `config/agents.toml`; what a backend does with its options is the backend's."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from server.errors import ConfigError
from server.namespaces.chat.agents import faq
from server.namespaces.chat.agents.backend import Backend, Factory

FILE = "agents.toml"
PEOPLE_ONLY = "none"
BACKENDS: Mapping[str, Factory] = {"faq": faq.build}


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


def load(config: Path) -> dict[int, Agent]:
    """By id. Raises ConfigError."""
    path = config / FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    entries = document.get("agents")
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: no [[agents]] in it")
    agents: dict[int, Agent] = {}
    for number, entry in enumerate(entries, start=1):
        agent = _agent(config, entry, f"{path}: agent {number}")
        if agent.id in agents:
            raise ConfigError(f"{path}: agent {number}: id {agent.id} is taken")
        agents[agent.id] = agent
    return agents


def _agent(config: Path, entry: object, where: str) -> Agent:
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
            backend = _factory(name)(config, options)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return Agent(known["id"], known["name"], known["avatar"], backend)


def _factory(name: str) -> Factory:
    """One of ours by its name, or anyone's by its dotted path."""
    if name in BACKENDS:
        return BACKENDS[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ConfigError(f"no backend {name!r}; there are {', '.join(sorted([*BACKENDS, PEOPLE_ONLY]))}")
    try:
        factory: Factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"backend {name!r}: {error}") from None
    return factory
