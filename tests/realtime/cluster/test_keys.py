from __future__ import annotations

import re

from redis.crc import key_slot

from server.realtime.cluster.keys import Keys, session_users, user_connection

KEYS = Keys("atrium")


def test_keys_of_a_namespace_share_a_slot_and_those_of_two_are_apart() -> None:
    def names(namespace: str) -> list[str]:
        made = [KEYS.offset(namespace), KEYS.epoch(namespace), KEYS.gap(namespace), KEYS.origin(namespace, "n")]
        for name in ("r", "a{b}c", "{}", "}{", ""):
            made += [KEYS.log(namespace, name), KEYS.lost(namespace, name), KEYS.session(namespace, name)]
            made += [KEYS.home(namespace, name), KEYS.sole(namespace, name), KEYS.asks(namespace, name)]
            made.append(KEYS.presence(namespace, "room", name))
        return made

    chat, trading = names("/chat"), names("/trading")
    for found in (chat, trading):
        assert len({key_slot(name.encode()) for name in found}) == 1
        assert len(set(found)) == len(found)
        assert all(re.match(r"atrium:\{/\w+\}:", name) for name in found)
    assert not set(chat) & set(trading)


def test_prefixes_keep_deployments_apart() -> None:
    other = Keys("other")
    assert KEYS.offset("/x") != other.offset("/x")
    assert KEYS.channel("/x", "r") != other.channel("/x", "r")


def test_no_room_of_a_namespace_is_a_nodes_channel_or_an_outsiders() -> None:
    """From outside comes `PUBLISH {prefix}:general`: what follows the prefix begins with no slash there."""
    assert KEYS.channel("/chat", "general") == "atrium:/chat:general"
    assert KEYS.node("abc") == "atrium:/node/abc"
    assert KEYS.channel("/node", "abc") != KEYS.node("abc")


def test_names_of_the_seed_are_as_they_were() -> None:
    assert session_users("s1") == "ws:sessions:s1"
    assert user_connection(None, "alice") == "ws:connections:alice"
    assert user_connection("t", "alice") == "ws:connections:t:alice"
