from __future__ import annotations

from server.realtime.insight.ledger import AND_MORE, MAX_NAMES, MAX_OF_ROOM, SENT, VOLATILE, Ledger


def said(seq: int) -> str:
    return f'42/x,["said",{{"seq":{seq}}}]'


def test_what_was_said_to_a_room_the_oldest_first() -> None:
    ledger = Ledger()
    ledger.put("/x", ["r:a"], SENT, said(1), "", ())
    ledger.put("/x", ["r:a", "r:b"], VOLATILE, said(2), '42/x,["said",{"seq":2},"77"]', ["me"])
    first, second = ledger.of("/x", "r:a")
    assert (first.seq, first.offset, first.event, first.kind, first.skip) == (1, None, "said", SENT, ())
    assert (second.seq, second.offset, second.rooms, second.skip) == (2, "77", ("r:a", "r:b"), ("me",))
    assert list(ledger.of("/x", "r:b")) == [second]
    assert list(ledger.of("/y", "r:a")) == []
    assert sorted(ledger.rooms("/x")) == ["r:a", "r:b"]


def test_it_keeps_no_long_text() -> None:
    ledger = Ledger()
    ledger.put("/x", ["r:a"], SENT, "x" * 100_000, "y" * 100_000, ())
    [entry] = ledger.of("/x", "r:a")
    assert len(entry.head) + len(entry.tail) < 500


def test_it_keeps_few_of_many_names_and_nothing_of_the_callers() -> None:
    ledger, skip = Ledger(), {f"c{number}" for number in range(1000)}
    ledger.put("/x", [f"r:{number}" for number in range(1000)], SENT, said(1), "", skip)
    few = ["me"]
    ledger.put("/x", ["r:a"], SENT, said(2), "", few)
    few.append("you")
    [many], [one] = ledger.of("/x", "r:0"), ledger.of("/x", "r:a")
    for names in (many.rooms, many.skip):
        assert (len(names), names[-1]) == (MAX_NAMES, AND_MORE)
    assert (one.rooms, one.skip) == (("r:a",), ("me",))


def test_a_busy_room_forgets_its_own() -> None:
    ledger = Ledger(most=10_000)
    ledger.put("/x", ["r:quiet"], SENT, said(0), "", ())
    for seq in range(MAX_OF_ROOM * 2):
        ledger.put("/x", ["r:busy"], SENT, said(seq), "", ())
    assert len(list(ledger.of("/x", "r:quiet"))) == 1
    assert next(ledger.of("/x", "r:busy")).seq == MAX_OF_ROOM
    assert len(ledger) == MAX_OF_ROOM + 1


def test_the_room_that_was_silent_longest_is_forgotten_first() -> None:
    ledger = Ledger(most=100)
    for number in range(1000):
        ledger.put("/x", [f"r:{number}"], SENT, said(number), "", ())
        assert len(ledger) <= 100
    assert list(ledger.of("/x", "r:0")) == []
    assert len(list(ledger.of("/x", "r:999"))) == 1


def test_what_makes_others_be_forgotten_is_kept_itself() -> None:
    ledger = Ledger(most=10)
    for number in range(100):
        ledger.put("/x", [f"r:{number}"], SENT, said(number), "", ())
        assert len(list(ledger.of("/x", f"r:{number}"))) == 1
        assert len(ledger) == len(ledger.rooms("/x"))


def test_one_room_alone_is_bounded_too() -> None:
    ledger = Ledger(most=10)
    for number in range(100):
        ledger.put("/x", ["r:a"], SENT, said(number), "", ())
    assert len(ledger) == len(list(ledger.of("/x", "r:a"))) <= 10
    assert list(ledger.of("/x", "r:a"))[-1].seq == 99


def test_without_room_for_any_it_keeps_none() -> None:
    ledger = Ledger(most=0)
    ledger.put("/x", ["r:a"], SENT, said(1), "", ())
    assert len(ledger) == 0


def test_what_was_for_one_connection_or_has_no_text_is_not_kept() -> None:
    ledger = Ledger()
    ledger.put("/x", ["AbC-connection"], SENT, said(1), "", ())
    ledger.put("/x", ["r:a"], SENT, b"binary", "", ())
    assert len(ledger) == 0
    ledger.put("/x", ["everyone"], SENT, said(1), "", ())
    assert len(ledger) == 1
