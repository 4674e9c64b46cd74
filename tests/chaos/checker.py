"""Whether a recorded run kept what is promised. Pure: no clock, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from tests.chaos.history import STRAYS, Recorded, Said, Stored


def violations(recorded: Recorded, stored: Stored) -> Iterator[str]:
    """One line for each; none when all is well."""
    for session, said in stored.items():
        yield from _record_in_order(session, said)
    for session, acked in recorded.acked.items():
        yield from _acked_once(session, acked, stored.get(session, []))
        for member, given in recorded.given[session].items():
            yield from _received(session, member, given, acked)
    for session, members in recorded.given.items():
        for member, given in members.items():
            where = f"{session}: {member}"
            yield from _not_twice(where, given)
            yield from _in_order(where, given)
            yield from _same(where, given, "a fresh join", recorded.fetched.get(session, []))
        yield from _same(session, recorded.fetched.get(session, []), "the database", stored.get(session, []))
    if strays := recorded.counts[STRAYS]:
        yield f"{strays} messages reached members of other sessions"
    for what, count in recorded.counts.items():
        if what.endswith("INTERNAL"):
            yield f"{count} {what}"
    if recorded.repairs_after_healing:
        yield f"after healing, {recorded.repairs_after_healing} gaps on the wire had to be repaired"


def _record_in_order(session: str, stored: Sequence[Said]) -> Iterator[str]:
    """`seq` has no gap, and nothing is stored twice."""
    if [said.seq for said in stored] != list(range(1, len(stored) + 1)):
        yield f"{session}: stored seqs are not 1 to {len(stored)}"
    yield from _not_twice(f"{session}: the database", stored)
    yield from _in_order(f"{session}: the database", stored)


def _acked_once(session: str, acked: Sequence[Said], stored: Sequence[Said]) -> Iterator[str]:
    kept = set(stored)
    for said in acked:
        if said not in kept:
            yield f"{session}: acked and not stored so: {_brief(said)}"


def _received(session: str, member: str, given: Sequence[Said], acked: Sequence[Said]) -> Iterator[str]:
    for said in sorted(set(acked) - set(given)):
        yield f"{session}: {member} never received {_brief(said)}"


def _not_twice(where: str, said: Sequence[Said]) -> Iterator[str]:
    for what in ((each.message_id for each in said), ((each.sender, each.number) for each in said)):
        for each in _repeated(what):
            yield f"{where} has {each} twice"


def _in_order(where: str, said: Sequence[Said]) -> Iterator[str]:
    """By `seq`, and each sender's in the order in which they were sent."""
    for before, after in pairwise(said):
        if after.seq <= before.seq:
            yield f"{where} has {_brief(after)} after {_brief(before)}"
    newest: dict[str, Said] = {}
    for each in said:
        before_it = newest.get(each.sender)
        if before_it is not None and each.number < before_it.number:
            yield f"{where} has {_brief(each)} after what its sender sent later, {_brief(before_it)}"
        newest[each.sender] = each


def _same(whose: str, said: Sequence[Said], others: str, expected: Sequence[Said]) -> Iterator[str]:
    if list(said) != list(expected):
        differing = sorted(set(said) ^ set(expected))
        first = _brief(differing[0]) if differing else "the order"
        yield f"{whose} has {len(said)} messages, {others} {len(expected)}; they first differ in {first}"


def _repeated(items: Iterable[object]) -> list[object]:
    return [item for item, count in Counter(items).items() if count > 1]


def _brief(said: Said) -> str:
    return f"#{said.seq} ({said.sender}'s {said.number}, {said.message_id})"
