from __future__ import annotations

import pytest
from marshmallow import fields

from server.errors import AskWouldDeadlock, AtriumError, ConnectionClosed, InternalError, RateLimited, TokenExpired
from server.realtime import told
from server.realtime.told import Told


class Base(Told):
    optional = ("a",)

    a = fields.String()
    b = fields.String()


class More(Base):
    optional = ("c",)

    c = fields.String()
    d = fields.String(data_key="dee")


def test_every_field_is_there_but_the_optional_ones_inherited_ones_too() -> None:
    assert set(More().validate({})) == {"b", "dee"}
    assert More().validate({"b": "", "dee": ""}) == {}
    assert set(More().validate({"b": "", "dee": "", "e": ""})) == {"e"}


@pytest.mark.parametrize(
    "error", [AtriumError(), RateLimited(retry_after=5, limit=1), InternalError("x"), AtriumError(details={"a": ["b"]})]
)
def test_errors_are_as_they_are_told(error: AtriumError) -> None:
    assert told.Failed().validate({"ok": False, "error": error.to_wire()}) == {}
    assert told.ErrorEvent().validate({**error.to_wire(), "requestId": "r"}) == {}


@pytest.mark.parametrize("kind", [each for each in told.errors(ConnectionClosed) if each.__module__ == "server.errors"])
def test_refusals_and_reasons_are_as_they_are_told(kind: type[ConnectionClosed]) -> None:
    error = kind(retry_after=5, limit=1) if kind.__name__ == "TooManyConnects" else kind()  # type: ignore[call-arg]
    assert told.Refusal().validate(error.to_refusal()) == {}
    assert told.DisconnectingReason().validate(error.to_reason()) == {}


def test_all_errors_are_found() -> None:
    assert {AtriumError, TokenExpired, AskWouldDeadlock} <= set(told.errors())


def test_an_ack_is_ok() -> None:
    assert told.Ack().validate({"ok": True}) == {}
    assert told.Ack().validate({"ok": False})
    assert told.Failed().validate({"ok": True, "error": AtriumError().to_wire()})
    assert told.AnyAck().validate({"ok": True, "whatever": 1}) == {}
