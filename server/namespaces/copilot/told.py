"""What /copilot tells and asks its clients, as schemas (SPEC §7). What they send, and answer, is in `schemas`."""

from __future__ import annotations

from marshmallow import INCLUDE, fields

from server.namespaces.copilot import schemas
from server.realtime.schema import Count, Flag
from server.realtime.told import TELLS as BASE
from server.realtime.told import Ack, Counted, ErrorEvent, OneOf, Question, Request, Tells, Told

# -- acks -----------------------------------------------------------------------------------------------------------


class Started(Counted):
    """The query runs."""

    query_id = fields.String()


class Cancelled(Ack):
    query_id = fields.String()


# -- events ---------------------------------------------------------------------------------------------------------


class Processing(Told):
    """How far the query is."""

    query_id = fields.String()
    stage = OneOf("started", "requesting_data", "clarifying", "fetching", "answering")


class Source(Told):
    """A dataset, and how many of its rows were read; `complete` is there, and false, where it has more."""

    optional = ("complete",)

    dataset = fields.String()
    rows = Count()
    complete = Flag()


class Period(Told):
    """Dates, both included."""

    begin = fields.String(data_key="from", metadata={"format": "date"})
    end = fields.String(data_key="to", metadata={"format": "date"})


class Figure(Told):
    """`previous` and what changed are there where two periods are compared."""

    optional = ("previous", "change", "change_percent")

    label = fields.String(allow_none=True)
    value = fields.Float()
    previous = fields.Float(allow_none=True)
    change = fields.Float(allow_none=True)
    change_percent = fields.Float(allow_none=True)


class Figures(Told):
    """What the answer was computed from: of so many `rows`, `skipped` ones held no usable number. With a language model
    there may be several, in `results`."""

    class Meta:
        unknown = INCLUDE

    optional = (
        "operation",
        "measure",
        "group_by",
        "period",
        "filters",
        "rows",
        "skipped",
        "groups",
        "figures",
        "overall",
        "per",
        "unknown_names",
        "compared_with",
        "overall_previous",
        "dataset",
        "results",
    )

    operation = OneOf("sum", "average", "count", "max", "min")
    measure = fields.String(allow_none=True)
    group_by = fields.String(allow_none=True)
    period = fields.Nested(Period, allow_none=True)
    filters = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))
    rows = Count()
    skipped = Count()
    groups = Count()
    figures = fields.List(fields.Nested(Figure))
    overall = fields.Float(allow_none=True)
    per = OneOf("day", "month", "year")
    unknown_names = fields.List(fields.String(), data_key="unknown")
    compared_with = fields.Nested(Period)
    overall_previous = fields.Float(allow_none=True)
    dataset = fields.String()
    results = fields.List(fields.Dict(keys=fields.String()))


class Response(Told):
    """The answer to the query."""

    query_id = fields.String()
    text = fields.String()
    data = fields.Nested(Figures)
    sources = fields.List(fields.Nested(Source))
    latency_ms = Count()


class QueryError(ErrorEvent):
    """There is no answer to the query `query_id`; without one, as in every namespace."""

    optional = ("query_id",)

    query_id = fields.String()


# -- questions ------------------------------------------------------------------------------------------------------


class AvailableDataRequest(Request):
    """Which datasets has the client for this query?"""

    query = fields.String()


class ApiRequest(Request):
    """Rows of a dataset."""

    dataset = fields.String()
    params = fields.Dict(keys=fields.String())


class ClarificationRequest(Request):
    """To the person: `options` may be none."""

    question = fields.String()
    options = fields.List(fields.String())


TELLS: Tells = {**BASE, "processing": Processing, "response": Response, "error": QueryError}
REQUESTS = {
    "request_available_data": Question(AvailableDataRequest, schemas.Datasets),
    "request_api": Question(ApiRequest, schemas.Data),
    "clarification_request": Question(ClarificationRequest, schemas.Clarification),
}
