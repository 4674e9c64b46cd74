"""The tools that a model may call, one for each request to a client, and what holds of their arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from server.namespaces.copilot.planner.llm_replies import Call
from server.namespaces.copilot.planner.periods import Period

AVAILABLE_DATA = "request_available_data"
API = "request_api"
CLARIFICATION = "clarification_request"

MAX_ARGUMENTS = 4000  # characters
MAX_TEXT = 500
MAX_OPTIONS = 10
MAX_OPTION = 100
MAX_LISTED = 20  # columns of a request, filters, values of one


@dataclass(frozen=True, slots=True)
class AvailableData:
    pass


@dataclass(frozen=True, slots=True)
class Rows:
    """`question` is what to compute from them, if anything but the query itself."""

    dataset: str
    period: Period | None = None
    filters: Mapping[str, tuple[str, ...]] | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Clarification:
    question: str
    options: tuple[str, ...] = ()


Request = AvailableData | Rows | Clarification


class Refused(Exception):
    """A call that is not made; the reason is for the model."""


def _function(name: str, description: str, properties: Mapping[str, object], required: list[str]) -> dict[str, object]:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_DAY = {"type": "string", "format": "date"}
TOOLS: tuple[Mapping[str, object], ...] = (
    _function(AVAILABLE_DATA, "The datasets that the user offers for this question. Call it first.", {}, []),
    _function(
        API,
        "Reads one offered dataset, and computes from its rows. It tells you how many rows there are; the rows and the "
        "figures are shown to you once you have called for all that you need.",
        {
            "dataset": {"type": "string", "description": "Its name, exactly as offered."},
            "from": {**_DAY, "description": "The first day, if the question is about certain days."},
            "to": {**_DAY, "description": "The last day; it belongs to the period."},
            "filters": {
                "type": "object",
                "description": "By column, the values to keep.",
                "additionalProperties": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_LISTED},
            },
            "question": {
                "type": "string",
                "description": "What to compute, such as 'total cost by service, top 5' or 'monthly average cost'.",
                "maxLength": MAX_TEXT,
            },
        },
        ["dataset"],
    ),
    _function(
        CLARIFICATION,
        "Asks the user what is meant, where the question leaves open what you need to know. Use it rarely.",
        {
            "question": {"type": "string", "maxLength": MAX_TEXT},
            "options": {
                "type": "array",
                "items": {"type": "string", "maxLength": MAX_OPTION},
                "maxItems": MAX_OPTIONS,
            },
        },
        ["question"],
    ),
)


def read(call: Call) -> Request:
    """Raises Refused for an unknown tool and for arguments that are not what it takes."""
    schema = _SCHEMAS.get(call.name)
    if schema is None:
        raise Refused(f"There is no such tool; there are {', '.join(_SCHEMAS)}.")
    try:
        request: Request = schema.load(arguments(call))
    except ValidationError as error:
        raise Refused(f"Wrong arguments: {json.dumps(error.normalized_messages())[:MAX_TEXT]}") from None
    return request


def arguments(call: Call) -> dict[str, object]:
    """Raises Refused where they are no JSON object."""
    if len(call.arguments) > MAX_ARGUMENTS:
        raise Refused("The arguments are too long.")
    try:
        found = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        raise Refused("The arguments are not JSON.") from None
    if not isinstance(found, dict):
        raise Refused("The arguments are not an object.")
    return found


def line(text: str) -> str:
    """One line, nothing invisible, nothing that cannot be encoded."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


class _Line(fields.String):
    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        return line(super()._deserialize(value, attr, data, **kwargs))


def _up_to(most: int) -> validate.Length:
    return validate.Length(min=1, max=most)


class _AvailableData(Schema):
    @post_load
    def _made(self, data: dict[str, Any], **_: object) -> AvailableData:
        return AvailableData()


class _Rows(Schema):
    dataset = fields.String(required=True, validate=_up_to(200))
    first = fields.Date(data_key="from", allow_none=True, load_default=None)
    last = fields.Date(data_key="to", allow_none=True, load_default=None)
    filters = fields.Dict(
        keys=fields.String(validate=_up_to(200)),
        values=fields.List(_Line(validate=_up_to(200)), validate=_up_to(MAX_LISTED)),
        validate=validate.Length(max=MAX_LISTED),
        allow_none=True,
        load_default=None,
    )
    question = _Line(validate=validate.Length(max=MAX_TEXT), allow_none=True, load_default=None)

    @validates_schema
    def _is_period(self, data: Mapping[str, Any], **_: object) -> None:
        first, last = data.get("first"), data.get("last")
        if (first is None) != (last is None) or (first is not None and first > last):
            raise ValidationError("Two days, the later one second.", "to")

    @post_load
    def _made(self, data: dict[str, Any], **_: object) -> Rows:
        first: date | None = data["first"]
        period = None if first is None else Period(first, data["last"])
        filters = {name: tuple(values) for name, values in (data["filters"] or {}).items()}
        return Rows(data["dataset"], period, filters or None, data["question"] or None)


class _Clarification(Schema):
    question = _Line(required=True, validate=_up_to(MAX_TEXT))
    options = fields.List(
        _Line(validate=_up_to(MAX_OPTION)),
        validate=validate.Length(max=MAX_OPTIONS),
        allow_none=True,
        load_default=None,
    )

    @post_load
    def _made(self, data: dict[str, Any], **_: object) -> Clarification:
        return Clarification(data["question"], tuple(dict.fromkeys(data["options"] or ())))


_SCHEMAS: Mapping[str, Schema] = {AVAILABLE_DATA: _AvailableData(), API: _Rows(), CLARIFICATION: _Clarification()}
