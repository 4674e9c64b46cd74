"""What requests to chat's HTTP API carry, as schemas: bodies and queries. What events carry is in `schemas`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from server.http.fields import Digits, moment
from server.namespaces.chat import schemas
from server.realtime.schema import Count, Identifier, Payload, Text

MAX_LIMIT = 200
MAX_OFFSET = 100_000


class Place(fields.String):
    """A place in a session: a seq, a message's id, or an ISO-8601 time, which is UTC where it names no zone."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if re.fullmatch("[0-9]{1,15}|msg_[A-Za-z0-9_]{1,96}", value):
            return str(value)
        try:
            return moment(value).isoformat()
        except ValueError:
            raise ValidationError("Not a seq, a message's id or an ISO-8601 time.") from None


# -- queries ------------------------------------------------------------------------------------------------------


class SessionsQuery(Payload):
    status = fields.String(validate=validate.OneOf(["active", "archived"]), load_default=None)
    agent_id = Digits(most=2**31 - 1, load_default=None)
    limit = Digits(least=1, most=MAX_LIMIT, load_default=50)
    offset = Digits(most=MAX_OFFSET, load_default=0)
    cursor = Text(most=200, load_default=None)
    everyone = fields.Boolean(truthy={"true", "1"}, falsy={"false", "0"}, load_default=False)
    handover = fields.Boolean(truthy={"true", "1"}, falsy={"false", "0"}, load_default=False)

    @validates_schema
    def _one_way(self, query: Mapping[str, object], **_: object) -> None:
        if query["cursor"] is not None and query["offset"]:
            raise ValidationError({"offset": ["Not together with a cursor."]})


class MessagesQuery(Payload):
    limit = Digits(least=1, most=MAX_LIMIT, load_default=50)
    before = Place(load_default=None)
    after = Place(load_default=None)


class SearchQuery(Payload):
    query = Text(most=schemas.MAX_QUERY_CHARS, required=True)
    session_id = Identifier(load_default=None)
    limit = Digits(least=1, most=schemas.MAX_HITS, load_default=20)


# -- bodies -------------------------------------------------------------------------------------------------------


class Message(schemas.Message):
    class Meta:
        exclude = ("session_id",)


class StreamedMessage(schemas.Message):
    stream = fields.Boolean(truthy={True}, falsy=set(), load_default=True)  # without: POST .../messages

    class Meta:
        fields = ("content", "metadata", "stream")


class NewSession(schemas.Message):
    """`metadata` as a message's."""

    agent_id = Count(most=2**31 - 1, load_default=None)
    title = Text(most=200, load_default=None)

    class Meta:
        fields = ("agent_id", "title", "metadata")


class Edit(schemas.Edit):
    class Meta:
        exclude = ("session_id", "message_id")


class Read(schemas.Read):
    class Meta:
        exclude = ("session_id",)


class Invitation(Payload):
    user_id = Identifier(required=True)


class HandoverRequest(schemas.HandoverRequest):
    class Meta:
        exclude = ("session_id",)


class BankMessage(schemas.Session):
    user_message = Text(most=schemas.MAX_CONTENT_CHARS, required=True)


class Analyze(schemas.Session):
    pass
