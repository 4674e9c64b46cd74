from __future__ import annotations

from structlog.testing import CapturingLogger

from server.realtime.cluster.complaints import SILENT_SECONDS, Complaints


def test_of_many_one_is_said_in_a_while_with_how_many_were_not() -> None:
    log, now = CapturingLogger(), 0.0
    complaints = Complaints(log, clock=lambda: now)
    for number in range(1000):
        complaints.say("refused", reason=number)
    now = SILENT_SECONDS - 0.001
    complaints.say("refused", reason="too soon")
    now = SILENT_SECONDS
    for word in ("late", "again"):
        complaints.say("refused", reason=word)
    now = 10 * SILENT_SECONDS
    complaints.say("something else")
    said = [(call.method_name, *call.args, call.kwargs) for call in log.calls]
    assert said == [
        ("warning", "refused", {"reason": 0, "unsaid": 0}),
        ("warning", "refused", {"reason": "late", "unsaid": 1000}),
        ("warning", "something else", {"unsaid": 1}),
    ]
