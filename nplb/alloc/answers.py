"""What is answered to a whole manifest that was asked about."""

from dataclasses import dataclass

from nplb.alloc.predict import Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer for one Service. `place` is where it stands: file:line:column."""

    place: str
    prediction: Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers for all Services of a manifest, in its order. `apply`: they would be sent as
    updates where they exist. `notes` tell what could not be known."""

    cluster: str
    port_range: str
    apply: bool
    transaction: bool
    services: tuple[Answer, ...]
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the API server would take all of them."""
        return all(one.prediction.accepted for one in self.services)
