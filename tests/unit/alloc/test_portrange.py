"""The range's parser takes and refuses what kube-apiserver does, and the bands are its bands."""

import pytest

from nplb.alloc.portrange import InvalidPortRange, PortRange, parse_port_range

ACCEPTED = [
    ("100-200", "100-200", 101),
    (" 100-200 ", "100-200", 101),
    ("0-0", "0-0", 1),
    ("", "", 0),
    ("100", "100-100", 1),
    ("1+0", "1-1", 1),
    ("0+0", "0-0", 1),
    ("100+200", "100-300", 201),
    ("0+65535", "0-65535", 65536),
    ("30000+2767", "30000-32767", 2768),
    # Go's Atoi takes a sign where the first + or - has already been found
    ("1++1", "1-2", 2),
    ("\u00a0100-200\n", "100-200", 101),
]

REFUSED = [
    ("100 - 200", 'strconv.Atoi: parsing "100 ": invalid syntax'),
    ("-100", 'strconv.Atoi: parsing "": invalid syntax'),
    ("100-", 'strconv.Atoi: parsing "": invalid syntax'),
    ("200-100", "end port cannot be less than start port: 200-100"),
    ("60000-70000", "the port range cannot be greater than 65535: 60000-70000"),
    ("70000-80000", "the port range cannot be greater than 65535: 70000-80000"),
    ("70000+80000", "the port range cannot be greater than 65535: 70000+80000"),
    ("1+-1", "unable to parse port range: 1+-1"),
    ("1-+1", "unable to parse port range: 1-+1"),
    ("1+65535", "the port range cannot be greater than 65535: 1+65535"),
    # what Python's int() would take
    ("1_000-2_000", 'strconv.Atoi: parsing "1_000": invalid syntax'),
    ("\u0661-\u0662", 'strconv.Atoi: parsing "\u0661": invalid syntax'),
    ("100--200", "end port cannot be less than start port: 100--200"),
    (
        "99999999999999999999",
        'strconv.Atoi: parsing "99999999999999999999": value out of range',
    ),
    ("http", 'strconv.Atoi: parsing "http": invalid syntax'),
]


@pytest.mark.parametrize(("text", "printed", "size"), ACCEPTED)
def test_accepts_what_the_api_server_accepts(text: str, printed: str, size: int) -> None:
    port_range = parse_port_range(text)
    assert str(port_range) == printed
    assert port_range.size == size == len(port_range.numbers)


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refuses_with_the_api_servers_words(text: str, message: str) -> None:
    with pytest.raises(InvalidPortRange) as caught:
        parse_port_range(text)
    assert str(caught.value) == message


def test_contains_its_ends_and_nothing_beyond() -> None:
    port_range = parse_port_range("30000-32767")
    assert 30000 in port_range
    assert 32767 in port_range
    assert 29999 not in port_range
    assert 32768 not in port_range
    assert 0 not in parse_port_range("")


@pytest.mark.parametrize(
    ("size", "static"),
    [
        (0, 0),
        (10, 0),
        (16, 0),
        (17, 16),
        (128, 16),
        (2048, 64),
        (2768, 86),
        (4096, 128),
        (8192, 128),
        (65536, 128),
    ],
)
def test_static_band_is_a_thirty_second_within_bounds(size: int, static: int) -> None:
    assert PortRange(30000, size).static_size == static


def test_default_bands() -> None:
    port_range = parse_port_range("30000-32767")
    assert str(port_range.static) == "30000-30085"
    assert str(port_range.dynamic) == "30086-32767"


def test_a_range_without_static_band_is_all_dynamic() -> None:
    port_range = parse_port_range("100-115")
    assert str(port_range.static) == ""
    assert str(port_range.dynamic) == "100-115"
