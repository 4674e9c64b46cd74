"""Who may do what, as pure rules over identities; where the facts they ask for come from is their callers'."""

from __future__ import annotations

from collections.abc import Collection

from server.identity import Identity

STAFF_ROLES = ("operator", "admin")


def is_staff(identity: Identity) -> bool:
    return identity.has_role(*STAFF_ROLES)


def may_use_session(identity: Identity, *, tenant: str | None, participant: bool) -> bool:
    """A chat session of `tenant`: its participants, of whom the owner is one, and staff; never another tenant's."""
    return identity.tenant == tenant and (participant or is_staff(identity))


#: The words in which `config/channels.toml` says who may subscribe, publish and chat; a role is `role:<name>`.
ANY = "any"
OWNER = "owner"
MEMBERS = "members"
ROLE = "role:"


def is_grant(text: str) -> bool:
    return text in {ANY, OWNER, MEMBERS} or (text.startswith(ROLE) and len(text) > len(ROLE))


def granted(identity: Identity, grants: Collection[str], *, channel: str, owner: str | None = None) -> bool:
    """A channel of the identity's own tenant. Members are those who have the channel's whole name, `group:desk-1`, as
    a role."""
    return (
        ANY in grants
        or (OWNER in grants and owner is not None and identity.user_id == owner)
        or (MEMBERS in grants and identity.has_role(channel))
        or identity.has_role(*(grant.removeprefix(ROLE) for grant in grants if grant.startswith(ROLE)))
    )
