from __future__ import annotations

from clients.python.track import Track, Update


def update(seq: int, conflated: int = 0) -> Update:
    return Update("alerts", "message", seq, None, conflated=conflated)


def seqs(updates: list[Update]) -> list[int]:
    return [each.seq for each in updates]


def at(seq: int) -> Track:
    track = Track()
    assert track.caught_up("e", seq, (), recovered=False) == []
    return track


def test_in_order_and_a_gap_waits() -> None:
    track = at(3)
    assert seqs(track.hear(update(4))) == [4]
    assert seqs(track.hear(update(6))) == []
    assert track.gap
    track.pause()
    assert seqs(track.hear(update(7))) == []
    assert track.seq == 4
    assert seqs(track.caught_up("e", 6, [update(5), update(6)], recovered=True)) == [5, 6, 7]
    assert (track.gap, track.missed) == (False, 0)


def test_nothing_comes_twice() -> None:
    track = at(3)
    track.hear(update(4))
    assert track.hear(update(4)) == []
    track.pause()
    assert seqs(track.caught_up("e", 5, [update(3), update(4), update(5)], recovered=True)) == [5]


def test_what_the_server_forgot_is_counted() -> None:
    track = at(3)
    track.pause()
    assert seqs(track.caught_up("e", 20, [update(19), update(20)], recovered=False)) == [19, 20]
    assert track.missed == 15


def test_numbers_that_begin_anew_are_all_new() -> None:
    track = at(100)
    track.pause()
    assert track.hear(update(3)) == []
    assert seqs(track.caught_up("another", 2, [update(1), update(2)], recovered=False)) == [1, 2, 3]
    assert (track.missed, track.epoch, track.seq) == (0, "another", 3)


def test_a_channel_that_conflates_waits_for_nothing() -> None:
    track = at(3)
    assert seqs(track.hear(update(6))) == []
    assert seqs(track.hear(update(9, conflated=4))) == [6, 9]
    assert not track.gap
    assert seqs(track.hear(update(8))) == [8], "of another key"
    assert track.hear(update(8)) == []
    assert (track.conflated, track.seq) == (4, 9)


def test_since_before_the_first_subscription() -> None:
    track = Track("e", 7)
    assert track.seq == 7
    assert seqs(track.caught_up("e", 9, [update(8), update(9)], recovered=True)) == [8, 9]


def test_an_update_of_the_wire() -> None:
    tick = Update.from_wire(
        {"channel": "ticks:A", "seq": 4, "timestamp": "t", "data": {"price": 1}, "conflated": 2}, "tick"
    )
    assert (tick.type, tick.data, tick.conflated) == ("tick", {"price": 1}, 2)
    said = {"channel": "general", "seq": 1, "message": "hi", "user_id": "bob"}
    assert Update.from_wire(said, "chat_message").data == said
