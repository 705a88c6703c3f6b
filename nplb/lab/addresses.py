"""The lab's addresses: nodes on loopback, pods and ClusterIPs as the API has them.

A real API server takes no loopback address in an EndpointSlice, and neither does the lab's. So
pods and ClusterIPs have ordinary addresses in the API, and are served on loopback at their twin:
the same address with 127 as its first octet (10.244.1.2 -> 127.244.1.2).
"""

from ipaddress import IPv4Network

from nplb.model.errors import ConfigurationError, HostError

LOOPBACK = IPv4Network("127.0.0.0/8")
USUAL_NODES = "127.0.1.0/24"
PODS_PER_NODE = 24  # prefix length of a node's pod CIDR, as kube-controller-manager's default


def twin(ip: str) -> str:
    """Where an address of the API is served on loopback."""
    return "127." + ip.partition(".")[2]


def parse_network(text: str, what: str, *, loopback: bool) -> IPv4Network:
    """An IPv4 network from text like 127.0.1.0/24. Raises ConfigurationError."""
    example = "127.0.1.0/24" if loopback else "10.244.0.0/16"
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{what}: {error}; write an IPv4 network such as {example}"
        ) from None
    if loopback and not network.subnet_of(LOOPBACK):
        raise ConfigurationError(
            f"{what}: {text} is not in 127.0.0.0/8, and the lab stays on loopback; "
            f"write a network such as {example}"
        )
    if not loopback and network.is_loopback:
        raise ConfigurationError(
            f"{what}: {text} is a loopback network, which the API takes for no endpoint, and "
            f"which leads nowhere from a network namespace; write a network such as {example} "
            "(on loopback, pods and ClusterIPs are served at their 127.* twin)"
        )
    if network.prefixlen > 29:
        raise ConfigurationError(f"{what}: {text} is too small; write one such as {example}")
    return network


def usual_networks(nodes: IPv4Network, usual: str = USUAL_NODES) -> tuple[str, str]:
    """Networks for pods and for ClusterIPs that go with a nodes' network: what most clusters
    have with the usual one, others with others, so that labs side by side do not meet."""
    if nodes == IPv4Network(usual):
        return "10.244.0.0/16", "10.96.0.0/16"
    _, second, third, _ = nodes.network_address.packed
    number = second * 3 + third
    return f"10.{128 + number % 96}.0.0/16", f"10.{64 + number % 32}.0.0/16"


class PodPool:
    """The pod network: a range for every node (a /24 where there is room), an address per pod."""

    def __init__(self, network: IPv4Network) -> None:
        self._network = network
        self._used: set[str] = set()
        self._last: dict[IPv4Network, int] = {}

    def range_of(self, node_index: int) -> IPv4Network:
        """The pod CIDR of the node with this index, from 1. Nodes share it in a small network."""
        prefix = max(self._network.prefixlen, PODS_PER_NODE)
        count = 1 << (prefix - self._network.prefixlen)
        first = int(self._network.network_address) + (node_index % count << (32 - prefix))
        return IPv4Network((first, prefix))

    def take(self, node_index: int) -> str:
        """A free address for a pod on a node, the next one after the last that was given, so
        that a dead pod's address is not soon another's.

        The first address of a range is the node's own bridge in a real cluster: left out.
        """
        network = self.range_of(node_index)
        size = network.num_addresses - 3
        last = self._last.get(network, size - 1)
        for step in range(1, size + 1):
            offset = (last + step) % size
            ip = str(network[2 + offset])
            if ip not in self._used:
                self._used.add(ip)
                self._last[network] = offset
                return ip
        raise HostError(f"the pod network {network} has no free address for another pod")

    def release(self, ip: str) -> None:
        """Give an address back."""
        self._used.discard(ip)
