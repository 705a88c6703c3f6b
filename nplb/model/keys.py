"""Identities: small immutable keys that sort, hash and print the same everywhere.

They are tuples, because a plan has hundreds of thousands of them in dictionaries, and a
tuple is hashed and compared without a call into Python.
"""

from enum import StrEnum
from typing import NamedTuple


class Protocol(StrEnum):
    """Transport protocols of a Service port."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


POOL = "pool"
"""What stands in a key in place of a cluster where a frontend has backends of several."""


class ServiceKey(NamedTuple):
    """One Service of one cluster. Prints as `cluster/namespace/name`."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.name}"

    @property
    def short(self) -> str:
        """`namespace/name`, as kubectl users write it."""
        return f"{self.namespace}/{self.name}"


class FrontendKey(NamedTuple):
    """One port of one Service, which is what a frontend serves.

    `port` is the Service's own port number: with the protocol it is unique within a Service
    (port names may be empty). Prints as `cluster/namespace/name:80/TCP`.
    """

    service: ServiceKey
    port: int
    protocol: Protocol = Protocol.TCP

    def __str__(self) -> str:
        return f"{self.service}:{self.port}/{self.protocol}"


class Address(NamedTuple):
    """An IP address and a port. Prints as `192.0.2.1:80` or `[2001:db8::1]:80`."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class BackendKey(NamedTuple):
    """One node's NodePort behind one frontend."""

    frontend: FrontendKey
    node: str
    address: Address

    def __str__(self) -> str:
        return f"{self.frontend} via {self.node} ({self.address})"
