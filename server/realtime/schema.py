"""The schema every payload passes, and the fields they share; what an event's fields are is its namespace's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from server.errors import InvalidMessage


class Payload(Schema):
    """Unknown fields are errors: a misspelt option that is silently ignored is worse."""


class Text(fields.String):
    """Text of `least` to `most` characters. NUL is refused: PostgreSQL cannot store it."""

    def __init__(self, *, most: int, least: int = 1, **options: Any) -> None:
        validators: list[Callable[[Any], Any]] = [
            validate.Length(min=least, max=most),
            validate.ContainsNoneOf("\0", error="May not contain NUL."),
        ]
        super().__init__(validate=validators, **options)


class Identifier(fields.String):
    """A name that goes into room names, logs and URLs: printable, without spaces at its ends."""

    def __init__(self, *, most: int = 100, **options: Any) -> None:
        super().__init__(validate=[validate.Length(min=1, max=most), _printable], **options)


class Count(fields.Integer):
    """A whole number; `"5"`, `5.5` and `true` are not."""

    def __init__(self, *, least: int = 0, most: int = 2**53 - 1, **options: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=least, max=most), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """`true` or `false`, nothing that merely looks like one."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Ping(Payload):
    timestamp = fields.Raw(allow_none=True, load_default=None)


class Authenticate(Payload):
    token = Text(most=8192, required=True)


def load(schema: Schema, payload: object) -> dict[str, Any]:
    """The validated fields. Raises InvalidMessage with `details` per field (SPEC §3)."""
    if not isinstance(payload, Mapping):
        raise InvalidMessage("The payload must be an object")
    if _holds_binary(payload):
        raise InvalidMessage("The payload may not hold binary data")
    try:
        loaded: dict[str, Any] = schema.load(payload)
    except ValidationError as error:
        raise InvalidMessage(details=_text_keys(error.normalized_messages())) from None  # type: ignore[no-untyped-call]
    return loaded


def _printable(value: str) -> None:
    if not value.isprintable() or value != value.strip():
        raise ValidationError("Must be printable text without spaces at its ends.")


def _text_keys(messages: Mapping[object, object]) -> dict[str, object]:
    """Marshmallow names the items of a list by number; JSON has no such keys."""
    return {str(key): _text_keys(each) if isinstance(each, Mapping) else each for key, each in messages.items()}


def _holds_binary(value: object) -> bool:
    """Marshmallow would take bytes for text."""
    if isinstance(value, Mapping):
        return any(_holds_binary(each) for each in value.values())
    if isinstance(value, list):
        return any(_holds_binary(each) for each in value)
    return isinstance(value, bytes | bytearray)
