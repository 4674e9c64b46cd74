"""What requests to trading's HTTP API carry, as schemas: bodies, queries, a header. Events' are in `schemas`."""

from __future__ import annotations

from collections.abc import Mapping

from marshmallow import ValidationError, fields, validate, validates_schema

from server.namespaces.trading import schemas
from server.realtime.schema import Identifier, Payload

MAX_BATCH = 1000
MAX_CHANNELS = 100
MAX_MEMBERS = 1000


class Publish(schemas.Message):
    """One message, or a batch of them, each of which is looked at by itself."""

    data = fields.Raw(allow_none=True, load_default=None)
    messages = fields.List(
        fields.Raw(allow_none=True), validate=validate.Length(min=1, max=MAX_BATCH), load_default=None, allow_none=False
    )

    @validates_schema(pass_original=True)
    def _one_or_many(self, _: object, sent: Mapping[str, object], **__: object) -> None:
        if "messages" not in sent:
            if "data" not in sent:
                raise ValidationError({"data": ["Missing data for required field."]})
        elif sent.keys() - {"messages", "idempotency_key"}:
            raise ValidationError({"messages": ["A batch has no message beside it."]})


class ChannelsQuery(Payload):
    """Channels whose name begins with `prefix`, those behind `after`."""

    prefix = Identifier(load_default="")
    after = Identifier(load_default="")
    limit = fields.Integer(validate=validate.Range(1, MAX_CHANNELS), load_default=MAX_CHANNELS)


class MembersQuery(Payload):
    """Members behind the user `after`, by id."""

    after = Identifier(load_default="")
    limit = fields.Integer(validate=validate.Range(1, MAX_MEMBERS), load_default=MAX_MEMBERS)
