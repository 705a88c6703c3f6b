"""Whether an address lies in one of several CIDRs, quickly."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network


class Ranges:
    """A set of CIDRs. An IPv4 address that is written as IPv6 (`::ffff:…`) counts as IPv4."""

    __slots__ = ("_four", "_six")

    def __init__(self, cidrs: Iterable[str]) -> None:
        """Errors: ValueError for what is no CIDR. Host bits may be set, as Kubernetes allows."""
        self._four: list[tuple[int, int]] = []
        self._six: list[tuple[int, int]] = []
        for text in cidrs:
            network = ip_network(text.strip(), strict=False)
            entry = (int(network.network_address), int(network.netmask))
            (self._four if network.version == 4 else self._six).append(entry)

    def __contains__(self, ip: str) -> bool:
        address = ip_address(ip)
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number = int(address)
        ranges = self._four if address.version == 4 else self._six
        return any(number & mask == network for network, mask in ranges)

    def __bool__(self) -> bool:
        return bool(self._four or self._six)
