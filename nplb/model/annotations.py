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
    """What all Services ask for, and what of it is refused. `held` are the edge's ports that
    frontends have had by annotations, also those of clusters that are not known yet."""

    by_service: Mapping[ServiceKey, Wish] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    held: Mapping[FrontendKey, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one Service has by its annotations, for as long as it is the same (`uid`): `good` are
    the texts in force by their names, `ports` where on the edge its frontends are. It outlives a
    restart, which so changes nothing of what is served."""

    service: ServiceKey
    uid: str
    good: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[FrontendKey, int] = field(default_factory=dict)
