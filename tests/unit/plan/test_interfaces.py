"""Interfaces in place of addresses."""

from dataclasses import replace

import pytest

from nplb.config.values import read_listen_address, read_listen_ip
from nplb.control.interfaces import Interfaces
from nplb.model.keys import Address
from nplb.model.settings import FrontendSettings, ListenSettings, Settings
from nplb.plan.interfaces import with_addresses
from tests.support.builders import a_cluster

KNOWN = {"eth0": ("192.0.2.1", "2001:db8::1"), "lo": ("127.0.0.1", "::1")}
PLAIN = Settings(clusters=(a_cluster(),))
NAMED = replace(
    PLAIN,
    listen=ListenSettings(addresses=("%eth0", "192.0.2.1", "%gone0")),
    frontends=(
        FrontendSettings(service="a/b", listen=(Address("%lo", 443), Address("192.0.2.7", 80))),
        FrontendSettings(service="a/c"),
    ),
)


def test_every_address_of_an_interface_and_what_is_not_there_as_it_was_written() -> None:
    found = with_addresses(NAMED, KNOWN)
    assert found.listen.addresses == ("192.0.2.1", "2001:db8::1", "%gone0")
    assert found.frontends[0].listen == (
        Address("127.0.0.1", 443),
        Address("::1", 443),
        Address("192.0.2.7", 80),
    )
    assert found.frontends[1] is NAMED.frontends[1]


def test_the_same_is_the_same_object_and_addresses_that_come_are_seen() -> None:
    known: dict[str, tuple[str, ...]] = dict(KNOWN)
    asked = []

    def read() -> dict[str, tuple[str, ...]]:
        asked.append(1)
        return dict(known)

    interfaces = Interfaces(read)
    assert interfaces.resolved(PLAIN) is PLAIN
    assert not asked, "nobody is asked where no interface is named"
    first = interfaces.resolved(NAMED)
    assert interfaces.resolved(NAMED) is first
    known["gone0"] = ("198.51.100.1",)
    assert interfaces.resolved(NAMED).listen.addresses[-1] == "198.51.100.1"


def test_what_can_not_be_read_now_is_as_it_was() -> None:
    asked = []

    def read() -> dict[str, tuple[str, ...]]:
        asked.append(1)
        if len(asked) > 1:
            raise OSError("no sockets")
        return dict(KNOWN)

    interfaces = Interfaces(read)
    first = interfaces.resolved(NAMED)
    assert interfaces.resolved(NAMED) is first


@pytest.mark.parametrize("name", ["%eth0", "%br-1a2b", "%wg0.100", "%vlan@x", "%a"])
def test_names(name: str) -> None:
    assert read_listen_ip(name) == name
    assert read_listen_address(f"{name}:443") == Address(name, 443)


@pytest.mark.parametrize("name", ["%", "%-a", "%a b", "%../x", "%" + "a" * 16, "%eth0:1", "%é"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match='is written "%eth0"'):
        read_listen_ip(name)
