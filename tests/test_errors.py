from __future__ import annotations

import re

import pytest

from server import errors
from server.errors import AtriumError, ConnectionClosed


def _subclasses(base: type) -> list[type]:
    return [each for child in base.__subclasses__() for each in (child, *_subclasses(child))]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +([A-Z_]+)", errors.__doc__ or ""))
    for error in _subclasses(AtriumError):
        if error.__subclasses__():
            continue
        assert drawn.get(error.__name__) == error.code, error.__name__


def test_close_codes_are_drawn_too() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +[A-Z_]+ +(\d{4})", errors.__doc__ or ""))
    assert drawn == {error.__name__: str(error.close_code) for error in _subclasses(ConnectionClosed)}


@pytest.mark.parametrize(
    ("error", "wire"),
    [
        (errors.Forbidden(), {"code": "FORBIDDEN", "message": "You may not do this"}),
        (
            errors.InvalidMessage(details={"text": ["Too long."]}),
            {"code": "INVALID_MESSAGE", "message": "The message is not valid", "details": {"text": ["Too long."]}},
        ),
        (
            errors.RateLimited(retry_after=1500, limit=10),
            {
                "code": "RATE_LIMITED",
                "message": "Too many requests",
                "retry_after": 1500,
                "limit": 10,
                "remaining": 0,
            },
        ),
    ],
)
def test_on_the_wire(error: AtriumError, wire: dict[str, object]) -> None:
    assert error.to_wire() == wire


def test_a_refusal_has_the_close_code_and_a_reason_says_whether_to_reconnect() -> None:
    assert errors.TokenExpired().to_refusal() == {
        "code": "TOKEN_EXPIRED",
        "close_code": 4001,
        "message": "The token has expired",
    }
    assert errors.GoingAway().to_reason()["reconnect"] is True
    assert errors.SessionReplaced().to_reason()["reconnect"] is False


def test_an_unexpected_exception_shows_an_id_and_nothing_else() -> None:
    assert set(errors.InternalError("abc").to_wire()) == {"code", "message", "error_id"}
