from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.policy import granted, is_grant, may_use_session
from server.identity import Identity


@pytest.mark.parametrize(
    ("tenant", "roles", "participant", "allowed"),
    [
        ("acme", (), True, True),
        ("acme", (), False, False),
        ("acme", ("operator",), False, True),
        ("acme", ("admin",), False, True),
        ("acme", ("publisher", "user"), False, False),
        ("other", (), True, False),
        ("other", ("operator", "admin"), True, False),
        (None, ("admin",), True, False),
        ("", ("admin",), True, False),
    ],
)
def test_a_session_of_acme(tenant: str | None, roles: tuple[str, ...], participant: bool, allowed: bool) -> None:
    identity = Identity("alice", tenant=tenant, roles=frozenset(roles))
    assert may_use_session(identity, tenant="acme", participant=participant) is allowed


def test_without_tenants_all_are_of_one() -> None:
    assert may_use_session(Identity("alice"), tenant=None, participant=True)
    assert not may_use_session(Identity("alice", tenant="acme"), tenant=None, participant=True)


NAME = "group:desk-1"

# -- channels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_id", "roles", "grants"),
    [
        ("alice", (), {"any"}),
        ("bob", (), {"owner"}),
        ("alice", ("group:desk-1",), {"members"}),
        ("alice", ("publisher",), {"role:publisher"}),
        ("alice", ("publisher", "x"), {"role:editor", "role:publisher"}),
        ("bob", (), {"members", "owner"}),
    ],
)
def test_one_grant_that_holds_is_enough(user_id: str, roles: tuple[str, ...], grants: set[str]) -> None:
    assert granted(Identity(user_id, roles=frozenset(roles)), grants, channel=NAME, owner="bob")


@pytest.mark.parametrize(
    ("user_id", "roles", "grants"),
    [
        ("alice", ("admin", "publisher", "group:desk-1"), set[str]()),
        ("alice", ("owner", "any", "members"), {"owner"}),
        ("Bob", (), {"owner"}),
        ("group:desk-1", (), {"members"}),
        ("alice", ("desk-1", "group:desk", "group:desk-10", "members"), {"members"}),
        ("alice", ("admin", "role:publisher"), {"role:publisher"}),
        ("publisher", (), {"role:publisher"}),
    ],
)
def test_what_only_resembles_a_grant_is_none(user_id: str, roles: tuple[str, ...], grants: set[str]) -> None:
    assert not granted(Identity(user_id, roles=frozenset(roles)), grants, channel=NAME, owner="bob")


@given(st.text(), st.frozensets(st.text()))
def test_what_nobody_owns_is_granted_to_no_owner(user_id: str, roles: frozenset[str]) -> None:
    assert not granted(Identity(user_id, roles=roles), {"owner"}, channel=NAME)


@pytest.mark.parametrize(
    ("text", "valid"),
    [("any", True), ("owner", True), ("members", True), ("role:x", True), ("role:", False), ("publisher", False)],
)
def test_the_words_of_grants(text: str, valid: bool) -> None:
    assert is_grant(text) is valid
