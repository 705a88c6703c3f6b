"""A node taken out by hand."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualDrain:
    """One node that gets no new connection until it is put back: of which cluster, who said so,
    why, and when (epoch seconds)."""

    cluster: str
    node: str
    who: str = ""
    why: str = ""
    at: float = 0.0

    @property
    def text(self) -> str:
        """One line for a person."""
        by = f" by {self.who}" if self.who else ""
        why = f": {self.why}" if self.why else ""
        return f"drained{by}{why}"
