"""Names of chains, sets and counters: unique by a hash, and readable.

`f4-0a1b2c3d-shop/web/80-tcp` is the chain of the frontend for port 80/TCP of shop/web, for
IPv4. The hash is of the whole key, the cluster's name included.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from nplb.model.keys import FrontendKey
from nplb.policy.hashing import text_hash

# nftables takes names of up to 255 bytes since Linux 4.14, chains up to 127 with older tools.
_MAX_LENGTH = 96
_FOREIGN = re.compile(r"[^A-Za-z0-9/_.-]")


@lru_cache(maxsize=8192)
def identity(key: FrontendKey) -> str:
    """What all names of one frontend end with."""
    service = key.service
    readable = f"{service.namespace}/{service.name}/{key.port}-{key.protocol.lower()}"
    return _unique(str(key), readable)


def of_cluster(what: str, cluster: str) -> str:
    """The name of what frontends of one cluster share."""
    return f"{what}-{_unique(cluster, cluster)}"


def _unique(text: str, readable: str) -> str:
    unique = text_hash(text) & 0xFFFFFFFF
    return f"{unique:08x}-{_FOREIGN.sub('_', readable)}"[:_MAX_LENGTH]


@dataclass(frozen=True, slots=True)
class Names:
    """The names that one frontend has for one address family (4 or 6)."""

    id: str
    family: int

    @property
    def chain(self) -> str:
        """The chain that gives a new connection its backend."""
        return f"f{self.family}-{self.id}"

    @property
    def guard(self) -> str:
        """The chain that turns new connections away."""
        return f"g{self.family}-{self.id}"

    @property
    def remember(self) -> str:
        """The chain that notes which backend a client was given."""
        return f"r{self.family}-{self.id}"

    @property
    def backends(self) -> str:
        """The map from a number to a backend's address."""
        return f"b{self.family}-{self.id}"

    @property
    def affinity(self) -> str:
        """The map from a client's address to its backend's."""
        return f"a{self.family}-{self.id}"

    @property
    def rates(self) -> str:
        """The set of clients with the rate of their new connections."""
        return f"m{self.family}-{self.id}"

    @property
    def clients(self) -> str:
        """The set of clients with the connections that each has open."""
        return f"c{self.family}-{self.id}"

    @property
    def total(self) -> str:
        """The set that counts a frontend's open connections, of both families."""
        return f"l-{self.id}"


def refusal_counter(reason: str, key: FrontendKey) -> str:
    """The counter of connections that were turned away for one reason."""
    return f"{reason}-{identity(key)}"
