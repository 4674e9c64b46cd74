from __future__ import annotations

import pytest

from server.errors import InvalidMessage
from server.namespaces.chat import schemas
from server.realtime.schema import load


def test_a_message_needs_a_session_and_content_only() -> None:
    assert load(schemas.Message(), {"session_id": "s1", "content": "hi"}) == {
        "session_id": "s1",
        "content": "hi",
        "client_message_id": None,
        "message_type": "text",
        "metadata": None,
    }


def test_null_is_as_absent() -> None:
    loaded = load(schemas.Message(), {"session_id": "s1", "content": "hi", "client_message_id": None, "metadata": None})
    assert (loaded["client_message_id"], loaded["metadata"]) == (None, None)
    assert load(schemas.Join(), {"session_id": "s1", "after_seq": None}) == load(schemas.Join(), {"session_id": "s1"})


@pytest.mark.parametrize("metadata", [{}, {"a": "x" * 8000}, {"\\u0000": "\\u0000"}, {"list": [[1], {"b": None}]}])
def test_metadata_that_can_be_stored(metadata: dict[str, object]) -> None:
    assert load(schemas.Message(), {"session_id": "s1", "content": "hi", "metadata": metadata})["metadata"] == metadata


@pytest.mark.parametrize("metadata", [{"a": "x" * 8192}, {"\0": 1}, {"a": ["\0"]}, {"a": {"b": "\0"}}, {"a": 2**70}])
def test_metadata_that_cannot(metadata: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage) as refused:
        load(schemas.Message(), {"session_id": "s1", "content": "hi", "metadata": metadata})
    assert list(refused.value.details or {}) == ["metadata"]


@pytest.mark.parametrize(("length", "fits"), [(65_536, True), (65_537, False)])
def test_the_length_of_content(length: int, fits: bool) -> None:
    payload = {"session_id": "s1", "content": "x" * length}
    if fits:
        load(schemas.Message(), payload)
    else:
        with pytest.raises(InvalidMessage):
            load(schemas.Message(), payload)
