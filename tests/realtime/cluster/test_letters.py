from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.cluster.letters import Letter, decode

text = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.integers(0, 10**15),
    st.lists(text),
    st.lists(text),
    text,
    st.lists(st.binary()),
    st.none() | text,
)
def test_what_is_encoded_is_decoded(
    number: int, rooms: list[str], skip: list[str], head: str, attachments: list[bytes], key: str | None
) -> None:
    letter = Letter("a" * 10, number, "/x", rooms, skip, (head, *attachments), key)
    assert decode(letter.encode()) == letter


@pytest.mark.parametrize(
    "message", [b"", b"\n", b"{}\n", b"[]\n", b"no json\nx", b'["a",1]\nx', b'["a",1,"/x",[],[],null,[1]]\n\xff']
)
def test_what_no_node_wrote(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(message)
