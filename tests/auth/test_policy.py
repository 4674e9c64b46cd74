from __future__ import annotations

import pytest

from server.auth.policy import may_use_session
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
