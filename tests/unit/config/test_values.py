"""Durations, sizes, addresses and names as operators write them."""

import pytest

from nplb.config.values import (
    read_address,
    read_duration,
    read_ip,
    read_service,
    show_duration,
)
from nplb.model.keys import Address


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("200ms", 0.2),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1d12h", 129600.0),
        ("1.5s", 1.5),
        ("0s", 0.0),
        ("1h1ms", 3600.001),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "5 has no unit, write 5s or 5ms"),
        (0, "0 has no unit, write 0s"),
        (1.5, "1.5 has no unit, write 1.5s"),
        ("5", "5 has no unit, write 5s"),
        ("5 s", '"5 s" is not a duration, write it as 5s'),
        ("5sec", '"5sec" is not a duration'),
        ("-5s", '"-5s" is not a duration'),
        ("s", '"s" is not a duration'),
        ("", '"" is not a duration'),
        ("\u0665s", "is not a duration"),
        ("30s1m", "names its units out of order"),
        ("1s1s", "names its units out of order"),
        (True, "must be a duration such as 5s or 200ms, not true"),
        ([], "must be a duration such as 5s or 200ms, not a list"),
    ],
)
def test_what_is_no_duration_says_how_to_write_one(value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_duration(value)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["200ms", "5s", "90s", "1m", "1h", "1.5s", "0s", "2d"])
def test_durations_are_shown_as_they_are_read(text: str) -> None:
    assert read_duration(show_duration(read_duration(text))) == pytest.approx(read_duration(text))
    assert show_duration(90.0) == "1m30s"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:443", Address("0.0.0.0", 443)),
        ("[::]:443", Address("::", 443)),
        ("[2001:0db8::0001]:1", Address("2001:db8::1", 1)),
        ("127.0.0.1:65535", Address("127.0.0.1", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (443, '443 has no address, write "0.0.0.0:443" for all addresses'),
        (":443", '":443" has no address, write "0.0.0.0:443" or "[::]:443" for all'),
        ("*:443", 'write "0.0.0.0:443" or "[::]:443" for all'),
        ("10.0.0.1", '"10.0.0.1" has no port, write it as "10.0.0.1:443"'),
        ("::1:443", '"::1:443" is not address:port, write IPv6 as "[::1]:443"'),
        ("[::1]", '"[::1]" is not address:port, write IPv6 as'),
        ("10.0.0.1:", '"" is not a port'),
        ("10.0.0.1:https", '"https" is not a port, which is a number from 1 to 65535'),
        ("10.0.0.1:65536", '"65536" is not a port'),
        ("10.0.0.1:0", "port 0 is no port that clients could know"),
        ("10.0.0.1:-1", '"-1" is not a port'),
        ("10.0.0:80", '"10.0.0" is not an IP address'),
        ("010.0.0.1:80", '"010.0.0.1" is not an IP address'),
        ("edge.example.com:80", '"edge.example.com" is not an IP address'),
        ("[10.0.0.1]:80", "brackets are for IPv6 alone"),
        ("[fe80::1%eth0]:80", "names a zone (%...), which is not supported"),
        (None, 'must be an address such as "0.0.0.0:443", not nothing'),
        ({}, "not a mapping"),
    ],
)
def test_what_is_no_address_says_how_to_write_one(value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_address(value)
    assert message in str(caught.value)


def test_port_0_where_the_system_may_choose() -> None:
    assert read_address("127.0.0.1:0", any_port=True) == Address("127.0.0.1", 0)


def test_ip_addresses() -> None:
    assert read_ip("0.0.0.0") == "0.0.0.0"
    assert read_ip("2001:DB8:0::1") == "2001:db8::1"
    assert read_ip("[::]") == "::"
    for value, message in [
        ("*", 'write "0.0.0.0", "::", or both'),
        ("0.0.0.0:80", "has a port, write the address alone"),
        ("[::]:80", "has a port, write the address alone"),
        ("eth0", "is not an IP address"),
        (1, "must be an IP address, not the number 1"),
    ]:
        with pytest.raises(ValueError) as caught:
            read_ip(value)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("shop/web", (None, "shop/web", None)),
        ("shop/web:https", (None, "shop/web", "https")),
        ("shop/web:443", (None, "shop/web", "443")),
        ("prod/shop/web", ("prod", "shop/web", None)),
        ("prod/shop/web:8080", ("prod", "shop/web", "8080")),
    ],
)
def test_services(text: str, parts: tuple[str | None, str, str | None]) -> None:
    assert read_service(text) == parts


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("web", '"web" has no namespace, write it as default/web'),
        ("a/b/c/d", "has too many parts"),
        ("shop/", '"" in "shop/" is not a name'),
        ("Shop/web", '"Shop" in "Shop/web" is not a name'),
        ("shop/web:", '"" in "shop/web:" is not a port'),
        ("shop/web:0", '"0" in "shop/web:0" is not a port'),
        ("shop/web:70000", "is not a port"),
        ("shop/web:ht tps", "is not a port"),
        (5, "must be a service, written [cluster/]namespace/name[:port], not the number 5"),
    ],
)
def test_what_is_no_service(value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_service(value)
    assert message in str(caught.value)
