from __future__ import annotations

from server.identity import Identity, anonymous


def test_the_same_id_in_two_tenants_is_two_users() -> None:
    assert Identity("alice", tenant="a").scope != Identity("alice", tenant="b").scope
    assert Identity("alice", tenant="a").scope != Identity("alice").scope


def test_any_of_the_roles_is_enough() -> None:
    identity = Identity("alice", roles=frozenset({"operator"}))
    assert identity.has_role("admin", "operator")
    assert not identity.has_role("admin")


def test_no_two_visitors_are_the_same_user() -> None:
    assert anonymous().scope != anonymous().scope
    assert anonymous().anonymous
