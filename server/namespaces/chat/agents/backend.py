"""What an agent's backend is: one async generator from a question to the parts of an answer.

How parts reach a client, are paced and stored is `replies`' business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

CONTINUE = "CONTINUE"
HANDOVER = "HANDOVER"

INFO_REQ = "INFO_REQ"
COMPLAINT = "COMPLAINT"
HUMAN_REQ = "HUMAN_REQ"
GREETING = "GREETING"
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Turn:
    """What someone said in the session before."""

    role: Literal["user", "agent", "operator"]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """`history`: oldest first, this question not in it."""

    session_id: str
    user_id: str
    text: str
    history: Sequence[Turn] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a backend thinks of the question, and what its answer rests on and cost; values as in the bank seed."""

    intent: str | None = None
    suggested_action: str = CONTINUE
    source_documents: Sequence[Mapping[str, object]] = ()
    tokens_used: int | None = None


class Backend(Protocol):
    """One that holds something open also has `async def close(self) -> None`, called once at shutdown."""

    def answer(self, question: Question) -> AsyncGenerator[str | Verdict, None]:
        """Pieces of text as they come, of any length, and a Verdict; the last one counts.

        What it raises ends the answer; it is closed when nobody wants the rest.
        """


#: Makes a backend from the folder of `agents.toml` and the agent's own options there. Raises ConfigError.
Factory = Callable[[Path, Mapping[str, object]], Backend]
