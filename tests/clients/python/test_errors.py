from __future__ import annotations

from clients.python.errors import ClientError, Lost, NotConnected, OutboxFull, Refused, TimedOut


def test_all_have_a_code() -> None:
    assert [each.code for each in (Lost("A", "b"), NotConnected("B", "c"), TimedOut("d"), OutboxFull(3))] == [
        "A",
        "B",
        "TIMEOUT",
        "LIMIT_EXCEEDED",
    ]
    assert all(issubclass(each, ClientError) for each in (Lost, NotConnected, TimedOut, OutboxFull, Refused))


def test_what_the_server_said() -> None:
    error = Refused({"code": "RATE_LIMITED", "message": "Too many", "retry_after": 1500, "details": {"a": ["b"]}})
    assert (error.code, error.retry_after, error.passing) == ("RATE_LIMITED", 1.5, True)
    assert str(error) == "RATE_LIMITED: Too many {'a': ['b']}"
    assert not Refused({"code": "FORBIDDEN"}).passing
    assert (Refused({}).code, Refused({"retry_after": "soon"}).retry_after) == ("REFUSED", 0.0)
