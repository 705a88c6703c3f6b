"""CIDRs as `loadBalancerSourceRanges` has them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nplb.policy.ranges import Ranges


def test_addresses_in_and_out() -> None:
    ranges = Ranges(["10.0.0.0/8", " 192.0.2.7/32", "192.0.2.130/25", "2001:db8::/32"])
    for ip in ("10.1.2.3", "192.0.2.7", "192.0.2.200", "2001:db8::1", "::ffff:10.1.2.3"):
        assert ip in ranges, ip
    for ip in ("11.0.0.1", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1", "::1"):
        assert ip not in ranges, ip


def test_no_ranges_are_none() -> None:
    assert not Ranges([])
    assert Ranges(["0.0.0.0/0"])


def test_what_is_no_cidr_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        Ranges(["10.0.0/8"])


@given(
    st.lists(st.ip_addresses(v=4), min_size=1, max_size=5), st.integers(0, 32), st.ip_addresses(v=4)
)
def test_it_agrees_with_the_standard_library(
    bases: list[ipaddress.IPv4Address], prefix: int, ip: ipaddress.IPv4Address
) -> None:
    cidrs = [f"{base}/{prefix}" for base in bases]
    expected = any(ip in ipaddress.ip_network(cidr, strict=False) for cidr in cidrs)
    assert (str(ip) in Ranges(cidrs)) == expected
