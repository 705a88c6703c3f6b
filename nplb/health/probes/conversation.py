"""The words of a conversation, and how one ends."""

from dataclasses import dataclass
from typing import Protocol

from nplb.model.reasons import Cause

MAX_BYTES = 65536
"""More of an answer than this is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a conversation ended. `answer` is an HTTP status, `weight` a number of endpoints."""

    cause: Cause
    detail: str = ""
    answer: int | None = None
    weight: int | None = None


CONNECTED = Result(cause=Cause.CONNECTED)


def unexpected(detail: str, *, answer: int | None = None) -> Result:
    """It answered, but not as expected."""
    return Result(cause=Cause.UNEXPECTED_ANSWER, detail=detail, answer=answer)


class Conversation(Protocol):
    """One probe's conversation. `result` is None until it is over; what is left to be sent then
    is its goodbye."""

    result: Result | None

    def begin(self) -> bytes:
        """The connection stands: what to send first."""

    def receive(self, data: bytes) -> bytes:
        """This arrived: what to send now. Not called once there is a result."""

    def end(self) -> None:
        """The other side sends no more: there must be a result now."""
