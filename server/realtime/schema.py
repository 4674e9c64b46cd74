"""The schema every payload passes, and the fields they share; what an event's fields are is its namespace's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, validate

from server.errors import InvalidMessage

MOST_FAULTS = 20  # that are told of one thing
MOST_NAMED = 100  # characters of a field


class Payload(Schema):
    """Unknown fields are errors: a misspelt option that is silently ignored is worse."""


class Text(fields.String):
    """Text of `least` to `most` characters. NUL is refused: PostgreSQL cannot store it."""

    def __init__(self, *, most: int, least: int = 1, **options: Any) -> None:
        self._least, self._most = least, most
        validators: list[Callable[[Any], Any]] = [
            validate.Length(min=least, max=most),
            validate.ContainsNoneOf("\0", error="May not contain NUL."),
        ]
        super().__init__(validate=validators, **options)

    def json_schema(self) -> dict[str, object]:
        return {"pattern": "^[^\\u0000]*$"}

    def takes(self, value: object) -> bool:
        return type(value) is str and self._least <= len(value) <= self._most and "\0" not in value


class Identifier(fields.String):
    """A name that goes into room names, logs and URLs: printable, without spaces at its ends."""

    def __init__(self, *, most: int = 100, **options: Any) -> None:
        self._most = most
        super().__init__(validate=[validate.Length(min=1, max=most), _printable], **options)

    def json_schema(self) -> dict[str, object]:
        """Which characters are printable is not all that can be said there."""
        return {"pattern": r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"}

    def takes(self, value: object) -> bool:
        return type(value) is str and 0 < len(value) <= self._most and value.isprintable() and value == value.strip()


class Count(fields.Integer):
    """A whole number; `"5"`, `5.5` and `true` are not."""

    def __init__(self, *, least: int = 0, most: int = 2**53 - 1, **options: Any) -> None:
        self._least, self._most = least, most
        super().__init__(strict=True, validate=validate.Range(min=least, max=most), **options)

    def takes(self, value: object) -> bool:
        return type(value) is int and self._least <= value <= self._most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """`true` or `false`, nothing that merely looks like one."""

    def takes(self, value: object) -> bool:
        return type(value) is bool

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Ping(Payload):
    timestamp = fields.Raw(allow_none=True, load_default=None)


class Authenticate(Payload):
    token = Text(most=8192, required=True)


class Shape:
    """A schema as handlers need it. Payloads whose fields are all right as they stand pass at once; everything else is
    marshmallow's to load or to refuse. It takes as long as all else that an event costs (6 of 12 µs), and most events
    are what their clients have sent a thousand times."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._plain = not any(schema._hooks.values())  # `test_schema.py` says if it moved
        self._fields = [(name, _takes(field), field.load_default) for name, field in schema.fields.items()]

    def load(self, payload: object) -> dict[str, Any]:
        """The validated fields. Raises InvalidMessage with `details` per field (SPEC §3)."""
        taken = self._taken(payload) if self._plain and type(payload) is dict else None
        return load(self.schema, payload) if taken is None else taken

    def _taken(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        taken: dict[str, Any] = {}
        left = len(payload)
        for name, takes, default in self._fields:
            if name in payload:
                value = payload[name]
                if takes is None or not takes(value):
                    return None
                taken[name] = value
                left -= 1
            elif default is missing or callable(default):
                return None
            else:
                taken[name] = default
        return None if left else taken


def _takes(field: fields.Field[Any]) -> Callable[[object], bool] | None:
    """What says that a value is right as it stands: of a class that says so itself, not of one that inherits it."""
    if "takes" not in type(field).__dict__ or field.data_key is not None or field.attribute is not None:
        return None
    takes: Callable[[object], bool] = field.takes  # type: ignore[attr-defined]
    return takes


def load(schema: Schema, payload: object) -> dict[str, Any]:
    """The validated fields. Raises InvalidMessage with `details` per field (SPEC §3)."""
    if not isinstance(payload, Mapping):
        raise InvalidMessage("The payload must be an object")
    if _holds_binary(payload):
        raise InvalidMessage("The payload may not hold binary data")
    try:
        loaded: dict[str, Any] = schema.load(payload)
    except ValidationError as error:
        raise InvalidMessage(details=_text_keys(error.normalized_messages())) from None
    return loaded


def _printable(value: str) -> None:
    if not value.isprintable() or value != value.strip():
        raise ValidationError("Must be printable text without spaces at its ends.")


def _text_keys(messages: Mapping[object, object]) -> dict[str, object]:
    """Marshmallow names the items of a list by number; JSON has no such keys. The first few are enough to mend them:
    all would be many times as long as what was sent."""
    few = itertools.islice(messages.items(), MOST_FAULTS)
    return {str(key)[:MOST_NAMED]: _text_keys(each) if isinstance(each, Mapping) else each for key, each in few}


def _holds_binary(value: object) -> bool:
    """Marshmallow would take bytes for text."""
    if isinstance(value, Mapping):
        return any(_holds_binary(each) for each in value.values())
    if isinstance(value, list):
        return any(_holds_binary(each) for each in value)
    return isinstance(value, bytes | bytearray)
