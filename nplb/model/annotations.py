"""What the annotations `nplb.io/…` of Services ask of their frontends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nplb.model.keys import FrontendKey, ServiceKey
from nplb.model.refusal import Refusal
from nplb.model.settings import FrontendSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one Service asks for: options for all its ports, as an entry of the file would give
    them (None: none), and ports on the edge for single ones."""

    options: FrontendSettings | None = None
    ports: Mapping[FrontendKey, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What all Services ask for, and what of it is refused."""

    by_service: Mapping[ServiceKey, Wish] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
