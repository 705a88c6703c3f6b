"""Interfaces in place of addresses: `%eth0` in the settings means every address that eth0 has.

An interface that is not there, or has no address now, stays as it is written: a plane then says
that it can't listen there, and the next pass looks again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nplb.model.keys import Address
from nplb.model.settings import Settings


def names_interfaces(settings: Settings) -> bool:
    """Whether anything listens on an interface."""
    return any(ip.startswith("%") for ip in _ips(settings))


def with_addresses(settings: Settings, known: Mapping[str, tuple[str, ...]]) -> Settings:
    """The settings with the interfaces' addresses (`known`) in the place of their names."""

    def ips(named: Iterable[str]) -> tuple[str, ...]:
        found = [ip for one in named for ip in _of(one, known)]
        return tuple(dict.fromkeys(found))

    def addresses(named: tuple[Address, ...]) -> tuple[Address, ...]:
        found = [Address(ip, one.port) for one in named for ip in _of(one.ip, known)]
        return tuple(dict.fromkeys(found))

    return replace(
        settings,
        listen=replace(settings.listen, addresses=ips(settings.listen.addresses)),
        frontends=tuple(
            one if one.listen is None else replace(one, listen=addresses(one.listen))
            for one in settings.frontends
        ),
        pools=tuple(replace(one, listen=addresses(one.listen)) for one in settings.pools),
    )


def _of(ip: str, known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return known.get(ip[1:], (ip,)) if ip.startswith("%") else (ip,)


def _ips(settings: Settings) -> Iterator[str]:
    yield from settings.listen.addresses
    for frontend in settings.frontends:
        yield from (address.ip for address in frontend.listen or ())
    for pool in settings.pools:
        yield from (address.ip for address in pool.listen)
