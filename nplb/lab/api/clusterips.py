"""ClusterIPs out of the service CIDR, as the API server hands them out.

Mirrors `pkg/registry/core/service/ipallocator`: the lower band is kept for explicit requests as
long as the upper one has room, the network and broadcast addresses are never given.
"""

import ipaddress
from typing import Protocol

_MIN_BAND, _MAX_BAND = 16, 256


class Dice(Protocol):
    """Where random numbers come from."""

    def randrange(self, stop: int, /) -> int: ...


class AddressError(Exception):
    """An address cannot be had, in the API server's words."""


class ClusterIPs:
    """The addresses of one IPv4 service CIDR, and which are taken."""

    def __init__(self, cidr: str, rng: Dice) -> None:
        self.network = ipaddress.IPv4Network(cidr)
        self._rng = rng
        self._base = int(self.network.network_address)
        # Without the network and the broadcast address.
        self._size = max(0, self.network.num_addresses - 2)
        self._taken: set[int] = set()

    @property
    def first(self) -> str:
        """The address of the `kubernetes` Service."""
        return self._address(0)

    def allocate(self, address: str, *, dry_run: bool = False) -> None:
        """Take this address. Raises AddressError."""
        offset = self._offset(address)
        if offset in self._taken:
            raise AddressError("provided IP is already allocated")
        if not dry_run:
            self._taken.add(offset)

    def allocate_next(self, *, dry_run: bool = False) -> str:
        """Take a free address, from the upper band as long as it has one. A dry run gives the
        network's own address, as the original does. Raises AddressError."""
        if dry_run:
            return str(self.network.network_address)
        reserved = self._reserved
        for low, high in ((reserved, self._size), (0, reserved)):
            if high > low and (offset := self._free(low, high)) is not None:
                self._taken.add(offset)
                return self._address(offset)
        raise AddressError("range is full")

    def release(self, address: str) -> None:
        """Give an address back. One that is not of this range is ignored."""
        try:
            self._taken.discard(self._offset(address))
        except AddressError:
            return

    @property
    def _reserved(self) -> int:
        if self._size <= _MIN_BAND:
            return 0
        return min(max(_MIN_BAND, self._size // 16), _MAX_BAND)

    def _free(self, low: int, high: int) -> int | None:
        span = high - low
        start = self._rng.randrange(span)
        for step in range(span):
            offset = low + (start + step) % span
            if offset not in self._taken:
                return offset
        return None

    def _address(self, offset: int) -> str:
        return str(ipaddress.IPv4Address(self._base + 1 + offset))

    def _offset(self, address: str) -> int:
        try:
            number = ipaddress.IPv4Address(address)
        except ValueError:
            number = None
        if number is None or number not in self.network:
            raise AddressError("the provided network does not match the current range")
        offset = int(number) - self._base - 1
        if not 0 <= offset < self._size:
            raise AddressError(
                "the provided IP is not in the valid range. "
                f"The range of valid IPs is {self.network}"
            )
        return offset
