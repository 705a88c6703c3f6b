"""Networks of the lab: what is taken, what is refused and why, and who gets which address."""

from ipaddress import IPv4Network

import pytest

from nplb.lab.addresses import USUAL_NODES, PodPool, parse_network, twin, usual_networks
from nplb.model.errors import ConfigurationError, HostError


def test_the_twin_is_the_same_address_on_loopback() -> None:
    assert twin("10.244.1.2") == "127.244.1.2"


@pytest.mark.parametrize(
    ("text", "loopback", "says"),
    [
        ("127.0.1.0/33", True, "127.0.1.0/24"),
        ("127.0.1.5/24", True, "host bits"),
        ("10.0.0.0/24", True, "stays on loopback"),
        ("127.0.0.0/16", False, "loopback"),
        ("10.0.0.0/30", False, "too small"),
        ("nodes", True, "nodes"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(text: str, loopback: bool, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_network(text, "the nodes' network", loopback=loopback)


def test_every_node_has_a_range_of_its_own_where_there_is_room() -> None:
    pool = PodPool(IPv4Network("10.244.0.0/16"))
    assert str(pool.range_of(1)) == "10.244.1.0/24"
    assert pool.take(1) == "10.244.1.2"
    assert pool.take(2) == "10.244.2.2"


def test_an_address_is_not_given_again_soon() -> None:
    pool = PodPool(IPv4Network("10.244.0.0/16"))
    first = pool.take(1)
    pool.release(first)
    assert pool.take(1) != first


def test_a_full_network_says_so_and_a_released_address_can_be_had() -> None:
    pool = PodPool(IPv4Network("10.9.0.0/29"))
    taken = [pool.take(1) for _ in range(5)]
    assert len(set(taken)) == 5
    with pytest.raises(HostError, match=r"10\.9\.0\.0/29"):
        pool.take(2)
    pool.release(taken[2])
    assert pool.take(2) == taken[2]


def test_labs_side_by_side_have_networks_of_their_own() -> None:
    assert usual_networks(IPv4Network(USUAL_NODES)) == ("10.244.0.0/16", "10.96.0.0/16")
    seen = [usual_networks(IPv4Network(f"127.0.{third}.0/24")) for third in range(1, 30)]
    pods, services = zip(*seen, strict=True)
    assert len(set(pods) | set(services)) == 2 * len(seen)
