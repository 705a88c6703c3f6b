"""An annotation of a Service that is not honoured, and why."""

from dataclasses import dataclass

from nplb.model.keys import ServiceKey

PREFIX = "nplb.io/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One annotation that is not honoured. `name` is without the prefix; `why` says what is wrong
    and what is allowed; `instead` is what holds in its place, for a person."""

    service: ServiceKey
    name: str
    value: str
    why: str
    instead: str

    @property
    def text(self) -> str:
        """One line that names the Service, the annotation and its value."""
        value = self.value if len(self.value) <= 60 else f"{self.value[:57]}..."
        return (
            f"Service {self.service.short}: {PREFIX}{self.name}: {value!r} is refused: {self.why}; "
            f"{self.instead}"
        )
