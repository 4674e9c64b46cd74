"""What a language model says to us and not to the customer: `[[HANDOVER]]` and `[[INTENT:X]]` in its answer.

They are taken out of the text as it streams; what they lead to is the verdict's business.
"""

from __future__ import annotations

import re

INSTRUCTIONS = """\
End your answer with a line [[INTENT:X]], where X is INFO_REQ, COMPLAINT, HUMAN_REQ or GREETING.
Add a line [[HANDOVER]] when a person should take over: the customer asks for one, complains, reports a loss or fraud, \
or you cannot help."""

_MARKER = re.compile(r"\s{0,8}\[\[(?:HANDOVER|INTENT:([A-Z_]{1,40}))\]\]")
# At the end of what came so far: what may yet become one.
_BEGINNING = re.compile(r"\s{0,8}(?:\[(?:\[[A-Z_:]{0,47}\]?)?)?\Z")


class Markers:
    def __init__(self) -> None:
        self.handover = False
        self.intent: str | None = None
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown now; at most a marker's length is held back."""
        text = self._held + piece
        shown: list[str] = []
        end = 0
        for marker in _MARKER.finditer(text):
            shown.append(text[end : marker.start()])
            end = marker.end()
            if marker[1]:
                self.intent = marker[1]
            else:
                self.handover = True
        beginning = next(_BEGINNING.finditer(text, end))  # nothing is one too
        self._held = beginning[0]
        return "".join(shown) + text[end : beginning.start()]

    def finish(self) -> str:
        """What was held back and became nothing; blanks at the end of an answer are dropped."""
        return self._held.rstrip()
