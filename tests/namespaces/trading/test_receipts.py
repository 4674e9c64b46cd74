from __future__ import annotations

from server.namespaces.trading.receipts import LIFETIME_SECONDS, Receipts

KEY = (None, "feed", "alerts", "k1")


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_receipt_is_kept_for_five_minutes() -> None:
    clock = Clock()
    receipts = Receipts(clock=clock)
    receipts.put(KEY, {"seq": 1})
    clock.now += LIFETIME_SECONDS - 1
    assert receipts.get(KEY) == {"seq": 1}
    clock.now += 1
    assert LIFETIME_SECONDS == 300
    assert receipts.get(KEY) is None
    assert len(receipts) == 0


def test_every_part_of_the_key_counts() -> None:
    receipts = Receipts()
    receipts.put(KEY, {"seq": 1})
    for place, other in enumerate(("tenant", "someone", "general", "k2")):
        assert receipts.get((*KEY[:place], other, *KEY[place + 1 :])) is None


def test_receipts_are_bounded_and_the_oldest_goes_first() -> None:
    receipts = Receipts(most=3)
    for number in range(10):
        receipts.put((None, "feed", "alerts", str(number)), {"seq": number})
        assert len(receipts) <= 3
    assert [receipts.get((None, "feed", "alerts", str(number))) for number in (6, 7, 9)] == [
        None,
        {"seq": 7},
        {"seq": 9},
    ]
