"""What the text of a query can stand for, as fields of schemas. Bodies are JSON, and need none of these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields, validate


class Digits(fields.Integer):
    """A whole number: no sign, no spaces, no `1_000`, and no digits but ASCII's."""

    def __init__(self, *, least: int = 0, most: int, **options: Any) -> None:
        super().__init__(validate=validate.Range(min=least, max=most), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if not re.fullmatch("[0-9]{1,16}", value):
            raise self.make_error("invalid", input=value)
        return int(value)


class Time(fields.Field[datetime]):
    """A moment, in UTC."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> datetime:
        try:
            return moment(value)
        except ValueError:
            raise ValidationError("Not an ISO-8601 time.") from None


def moment(text: str) -> datetime:
    """Of ISO-8601, UTC where it names no zone. A `+` that nobody escaped came as a space. Raises ValueError."""
    for spelled in (text, "+".join(text.rsplit(" ", 1))):
        try:
            found = datetime.fromisoformat(spelled)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise ValueError(text)
