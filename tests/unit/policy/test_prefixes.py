"""Lists of clients: how they are read, and whom they admit."""

import ipaddress
import random
import socket

import pytest

from nplb.model.prefixes import PrefixFile
from nplb.model.relay import RelayOptions
from nplb.policy.addressset import AddressSet
from nplb.policy.prefixes import admitted_sources, read_lines, read_prefix


def packed(ip: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def admits(options: RelayOptions, ip: str) -> bool:
    found = admitted_sources(options)
    return found is None or found.admits(packed(ip))


def by_hand(admitted: list[str], denied: list[str], ip: str) -> bool:
    """The longest prefix decides, looked up in the plainest way."""
    address = ipaddress.ip_address(ip)
    hits = [
        (network.prefixlen, verdict)
        for verdict, texts in ((True, admitted), (False, denied))
        for text in texts
        if address in (network := ipaddress.ip_network(text))
    ]
    longest = max((length for length, _ in hits), default=-1)
    verdicts = {verdict for length, verdict in hits if length == longest}
    return min(verdicts) if verdicts else not admitted


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("10.0.0.0/8", (4, 10 << 24, 8)),
        ("192.0.2.7", (4, 0xC0000207, 32)),
        ("0.0.0.0/0", (4, 0, 0)),
        ("255.255.255.255/32", (4, 2**32 - 1, 32)),
        ("::/0", (6, 0, 0)),
        ("2001:db8::/32", (6, 0x20010DB8 << 96, 32)),
        ("::1", (6, 1, 128)),
        ("::", (6, 0, 128)),
        ("1:2:3:4:5:6:7:8", (6, 0x0001_0002_0003_0004_0005_0006_0007_0008, 128)),
        ("1::8/128", (6, (1 << 112) + 8, 128)),
        ("FE80::/10", (6, 0xFE80 << 112, 10)),
        ("64:ff9b::192.0.2.0/120", (6, (0x0064_FF9B << 96) + 0xC0000200, 120)),
        ("::ffff:10.0.0.0/104", (4, 10 << 24, 8)),
    ],
)
def test_prefixes(text: str, prefix: tuple[int, int, int]) -> None:
    assert read_prefix(text) == prefix


WRONG = """
edge 10.0.0.0/33 10.0.0/8 10.0.0.256 010.0.0.0/8 10.0.0.0/ 1.2.3.4/8/9 10.0.0.0-10.0.0.9
٣.0.0.0/8 10.0.0.0/٨ ::/129 1:2:3:4:5:6:7:8:9 1::2::3 :1:: 1:2:3:4:5:6:7 g:: ::00000 ::/+1
"""


@pytest.mark.parametrize("text", ["", *WRONG.split(), "x" * 5000])
def test_what_is_no_prefix_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is not a CIDR") as caught:
        read_prefix(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("text", "write"), [("10.0.0.1/8", "10.0.0.0/8"), ("2001:db8::1/64", "2001:db8::/64")]
)
def test_bits_behind_the_prefix_are_refused_where_they_are_a_slip(text: str, write: str) -> None:
    with pytest.raises(ValueError, match=f"write {write}"):
        read_prefix(text)
    assert read_prefix(text, strict=False) == read_prefix(write)


def test_lines_with_comments_and_mistakes() -> None:
    lines = ["# head", "", " 10.0.0.0/8  # ours", "192.0.2.1;old", "nonsense", "\t"]
    read = dict(read_lines(lines))
    assert read[3] == (4, 10 << 24, 8)
    assert read[4] == (4, 0xC0000201, 32)
    assert read[5] == '"nonsense" is not a CIDR such as 10.0.0.0/8'
    assert set(read) == {3, 4, 5}


def test_without_lists_everybody_is_admitted() -> None:
    assert admitted_sources(RelayOptions()) is None


def test_the_longer_prefix_decides() -> None:
    options = RelayOptions(
        source_ranges=("10.0.0.0/8", "10.1.1.0/24"), denied_ranges=("10.1.0.0/16", "10.1.1.7/32")
    )
    for ip, is_admitted in (
        ("10.2.0.1", True),
        ("10.1.2.3", False),
        ("10.1.1.6", True),
        ("10.1.1.7", False),
        ("10.1.1.8", True),
        ("11.0.0.1", False),
        ("::ffff:10.2.0.1", True),
        ("::ffff:10.1.2.3", False),
        ("2001:db8::1", False),  # no list of theirs, and one of the others
    ):
        assert admits(options, ip) is is_admitted, ip


def test_the_same_prefix_in_both_lists_is_denied() -> None:
    options = RelayOptions(source_ranges=("0.0.0.0/0",), denied_ranges=("0.0.0.0/0",))
    assert not admits(options, "192.0.2.1")


def test_denied_alone_leaves_everybody_else() -> None:
    options = RelayOptions(denied_ranges=("192.0.2.0/24", "2001:db8::/32"))
    assert admits(options, "192.0.3.0")
    assert admits(options, "255.255.255.255")
    assert not admits(options, "192.0.2.255")
    assert not admits(options, "2001:db8:ffff::1")
    assert admits(options, "2001:db9::")


def test_the_service_can_only_narrow_down_what_the_file_says() -> None:
    options = RelayOptions(
        denied_ranges=("192.0.2.0/24",), service_ranges=("192.0.2.7/32", "198.51.100.0/24")
    )
    assert not admits(options, "192.0.2.7")  # although the Service's prefix is the longer one
    assert admits(options, "198.51.100.1")
    assert not admits(options, "203.0.113.1")


def test_files_count_like_lists() -> None:
    file = PrefixFile(path="/a", digest="x", count=1, prefixes=((4, 10 << 24, 8),))
    assert admits(RelayOptions(source_ranges_file=file), "10.0.0.1")
    assert not admits(RelayOptions(source_ranges_file=file), "11.0.0.1")
    assert not admits(RelayOptions(denied_ranges_file=file), "10.0.0.1")
    assert "prefixes" not in repr(file)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_as_when_looked_up_by_hand(seed: int) -> None:
    rng = random.Random(seed)

    def some(count: int) -> list[str]:
        made = []
        for _ in range(count):
            if rng.random() < 0.5:
                length = rng.choice((0, 1, 8, 15, 16, 23, 24, 31, 32))
                value = rng.choice((0, 10 << 24, (10 << 24) + 65536, 2**32 - 1))
                made.append(f"{ipaddress.IPv4Address(value)}/{length}")
            else:
                length = rng.choice((0, 1, 32, 64, 127, 128))
                value = rng.choice((1 << 127, 2**128 - 1, 0x20010DB8 << 96))
                made.append(f"{ipaddress.IPv6Address(value)}/{length}")
        return [str(ipaddress.ip_network(text, strict=False)) for text in made]

    admitted, denied = some(rng.randrange(6)), some(rng.randrange(6))
    options = RelayOptions(source_ranges=tuple(admitted), denied_ranges=tuple(denied))
    edges = {0, 1, 2**32 - 1, 2**31, 10 << 24, (10 << 24) + 65535, (10 << 24) + 65536}
    for number in edges:
        ip = str(ipaddress.IPv4Address(number))
        assert admits(options, ip) is by_hand(admitted, denied, ip), (admitted, denied, ip)
    for number in (1, 1 << 127, 2**128 - 1, 0x20010DB8 << 96, (0x20010DB9 << 96) - 1):
        ip = str(ipaddress.IPv6Address(number))
        if not ip.startswith("::ffff:"):
            assert admits(options, ip) is by_hand(admitted, denied, ip), (admitted, denied, ip)


def test_a_set_travels_as_bytes() -> None:
    made = admitted_sources(RelayOptions(source_ranges=("10.0.0.0/8", "2001:db8::/32", "::/128")))
    assert made is not None
    again = AddressSet.from_bytes(made.to_bytes())
    assert again == made
    assert hash(again) == hash(made)
    assert list(again.ranges(4)) == [(10 << 24, (11 << 24) - 1)]
    assert [a for a, _ in again.ranges(6)] == [0, 0x20010DB8 << 96]
    assert list(AddressSet([5], [7]).ranges(6)) == [(7, 2**128 - 1)]


@pytest.mark.parametrize("cut", [1, 3, 5, 9, 15])
def test_bytes_that_are_no_set_are_refused(cut: int) -> None:
    made = AddressSet([1, 2], [3, 4]).to_bytes()
    with pytest.raises(ValueError, match="are no set of addresses"):
        AddressSet.from_bytes(made[:-cut] if cut != 5 else made[:5])
