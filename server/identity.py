"""Who a connection is: the value that tokens turn into and that every rule reads. It decides nothing itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

TOKEN_LEEWAY_SECONDS = 30  # SPEC §2: clocks differ; a token still opens a connection this long after it expired


@dataclass(frozen=True, slots=True)
class Identity:
    """`expires_at` is in seconds since the epoch; None never expires. `tenant` is None for tokens without one."""

    user_id: str
    tenant: str | None = None
    roles: frozenset[str] = frozenset()
    username: str | None = None
    name: str | None = None
    email: str | None = None
    expires_at: float | None = None
    anonymous: bool = False

    @property
    def scope(self) -> tuple[str | None, str]:
        """What tells users apart: the same user_id in two tenants is two users (SPEC §2)."""
        return (self.tenant, self.user_id)

    def has_role(self, *roles: str) -> bool:
        return not self.roles.isdisjoint(roles)


def anonymous() -> Identity:
    """A visitor without a token, where tokens are optional; no two are the same user."""
    return Identity(user_id=f"anonymous-{secrets.token_hex(6)}", anonymous=True)
