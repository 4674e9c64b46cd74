"""What clients may send to /chat, as schemas; what they are sent is shaped in `models` and `replies`."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from marshmallow import ValidationError, fields, validate

from server.realtime.schema import Count, Flag, Identifier, Payload, Text

MAX_CONTENT_CHARS = 65_536  # WS_MESSAGE_SIZE_LIMIT is the tighter bound at its default
MAX_METADATA_BYTES = 8_192
MAX_QUERY_CHARS = 200
MAX_HITS = 50


def _storable(metadata: Mapping[str, object]) -> None:
    try:
        encoded = orjson.dumps(metadata)
    except TypeError:
        raise ValidationError("Must be JSON.") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise ValidationError(f"Longer than {MAX_METADATA_BYTES} bytes.")
    if b"\\u0000" in encoded and _holds_nul(metadata):
        raise ValidationError("May not contain NUL.")


def _holds_nul(value: object) -> bool:
    """PostgreSQL's JSONB stores no NUL."""
    if isinstance(value, Mapping):
        return any(_holds_nul(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return any(_holds_nul(each) for each in value)
    return isinstance(value, str) and "\0" in value


class Session(Payload):
    session_id = Identifier(required=True)


class Join(Session):
    after_seq = Count(load_default=None)


class Leave(Session):
    pass


class Message(Session):
    content = Text(most=MAX_CONTENT_CHARS, required=True)
    client_message_id = Identifier(load_default=None)
    message_type = fields.String(validate=validate.OneOf(["text"]), load_default="text")
    metadata = fields.Dict(keys=fields.String(), load_default=None, validate=_storable)


class Typing(Session):
    is_typing = Flag(required=True)


class Said(Session):
    """A message that was said before."""

    message_id = Identifier(required=True)


class Edit(Said):
    content = Text(most=MAX_CONTENT_CHARS, required=True)


class Read(Session):
    seq = Count(required=True)


class File(Session):
    file_id = Identifier(required=True)
    message = Text(least=0, most=MAX_CONTENT_CHARS, load_default="")
    client_message_id = Identifier(load_default=None)


class Search(Payload):
    query = Text(most=MAX_QUERY_CHARS, required=True)
    session_id = Identifier(load_default=None)
    limit = Count(least=1, most=MAX_HITS, load_default=20)


class StreamCancel(Payload):
    message_id = Identifier(required=True)
    session_id = Identifier(load_default=None)


class HandoverRequest(Session):
    reason = Text(least=0, most=1000, load_default="")


class UploadStart(Session):
    name = Text(most=255, required=True)
    size = Count(least=1, required=True)
    type = Text(least=0, most=100, load_default="")


class Upload(Payload):
    upload_id = Identifier(required=True)


class UploadChunk(Upload):
    offset = Count(required=True)
