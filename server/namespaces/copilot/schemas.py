"""Wire shapes of `/copilot` (SPEC §7): queries, and clients' answers to the server's three questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, validates

from server.realtime.schema import Identifier, Payload, Text

MAX_QUERY = 2000
MAX_DATASETS = 100
MAX_ROWS = 10_000
MAX_FIELDS = 200


class _Rows(fields.Field[list[Mapping[str, object]]]):
    """Objects of any fields; one check for each row, because there may be ten thousand."""

    def json_schema(self) -> dict[str, object]:
        row = {"type": "object", "maxProperties": MAX_FIELDS}
        return {"type": "array", "maxItems": MAX_ROWS, "items": row}

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[Mapping[str, object]]:
        if not isinstance(value, list):
            raise ValidationError("Not a list of rows.")
        if len(value) > MAX_ROWS:
            raise ValidationError(f"More than {MAX_ROWS} rows.")
        for at, row in enumerate(value):
            if not isinstance(row, Mapping) or len(row) > MAX_FIELDS:
                raise ValidationError({at: [f"Not an object of at most {MAX_FIELDS} fields."]})
        return value


class _Datasets(fields.List[Any]):
    """Counted before it is looked at: what is wrong with each of ten thousand is more than what they say."""

    def json_schema(self) -> dict[str, object]:
        return {"maxItems": MAX_DATASETS}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > MAX_DATASETS:
            raise ValidationError(f"More than {MAX_DATASETS} datasets.")
        return super()._deserialize(value, attr, data, **kwargs)


class Query(Payload):
    text = Text(most=MAX_QUERY, required=True)
    query_id = Identifier(load_default=None, allow_none=True)

    @validates("text")
    def _not_blank(self, text: str, **_: Any) -> None:
        if not text.strip():
            raise ValidationError("May not be blank.")


class Cancel(Payload):
    query_id = Identifier(required=True)


class Dataset(Schema):
    """What else a client knows of a dataset may help to choose it, so it is kept."""

    class Meta:
        unknown = INCLUDE

    name = Text(most=200, required=True)
    description = Text(most=2000, least=0, load_default="", allow_none=True)


class Datasets(Payload):
    datasets = _Datasets(fields.Nested(Dataset), required=True)


class Data(Payload):
    data = _Rows(required=True)


class Clarification(Payload):
    answer = Text(most=MAX_QUERY, required=True)


class _Answering(Payload):
    """An answer as an event of its own names the question."""

    request_id = Text(most=200, required=True, data_key="requestId")


class AvailableData(_Answering, Datasets):
    pass


class ApiResult(_Answering, Data):
    pass


class HumanResponse(_Answering, Clarification):
    pass
