"""The names of the annotations `nplb.io/…` that a Service may have: keys of `frontends`."""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import BaseModel

from nplb.config.connections import FrontendSection
from nplb.config.keys import section_of

EDGE_PORT: Final = "edge-port"

# Keys of an entry that say something of this host, and not of the Service.
_HOSTS_OWN: Final = frozenset(
    {
        "service",
        "listen",
        "plane",
        "kernel",
        "source_addresses",
        "source_ranges_file",
        "denied_ranges_file",
    }
)
Path = tuple[str, ...]


def _keys(model: type[BaseModel], prefix: Path = ()) -> Iterator[Path]:
    for name, info in model.model_fields.items():
        path = (*prefix, name)
        if path[0] in _HOSTS_OWN or path[-1] == "ca_file":
            continue
        inner = section_of(info.annotation)
        if inner is None:
            yield path
        else:
            yield from _keys(inner, path)


PATHS: Final[Mapping[str, Path]] = {
    ".".join(path).replace("_", "-"): path for path in _keys(FrontendSection)
}
NAMES: Final = (EDGE_PORT, *PATHS)
"""The names of annotations that there are, without their prefix."""
GROUPS: Final = tuple(
    dict.fromkeys(
        name[:place] for name in NAMES for place, letter in enumerate(name) if letter == "."
    )
)
"""Names that allow every annotation that begins with them and a dot."""
