"""Lists of address prefixes: reading them, and which clients they admit.

Of the prefixes that hold a client the longest decides. If the same one is in both lists, the
client is denied. A client that none holds is admitted if there is no list of admitted ones.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_network

from nplb.model.prefixes import Prefix, PrefixFile
from nplb.model.relay import RelayOptions
from nplb.policy.addressset import AddressSet

_MAPPED_FIRST = 0xFFFF << 32
_HEX = frozenset("0123456789abcdefABCDEF")
_BITS = {4: 32, 6: 128}


def read_prefix(text: str, *, strict: bool = True) -> Prefix:
    """A prefix (`10.0.0.0/8`), or a single address. Errors: ValueError with what is wrong; bits
    behind the prefix are wrong if `strict`."""
    found = _quick_four(text)
    if found is not None:
        first, length = found
        if not strict or not first & ((1 << (32 - length)) - 1):
            return 4, first >> (32 - length) << (32 - length), length
    quick = _quick_six(text)
    if quick is not None:
        first, length = quick
        if not first & ((1 << (128 - length)) - 1) and first >> 32 != 0xFFFF:
            return 6, first, length
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text[:60]}" is not a CIDR such as 10.0.0.0/8') from None
    if strict:
        try:
            ip_network(text)
        except ValueError:
            raise ValueError(f'"{text}" has bits behind its prefix, write {network}') from None
    first, length = int(network.network_address), network.prefixlen
    if network.version == 6 and length >= 96 and first >> 32 == 0xFFFF:
        return 4, first - _MAPPED_FIRST, length - 96  # its clients are IPv4's
    return network.version, first, length


def _quick_four(text: str) -> tuple[int, int] | None:
    """What most lines of long lists are, read without a detour."""
    address, slash, length_text = text.partition("/")
    parts = address.split(".")
    if len(parts) != 4 or not text.isascii():
        return None
    number = 0
    for part in parts:
        if not part.isdigit() or len(part) > 3 or (part[0] == "0" and part != "0"):
            return None
        value = int(part)
        if value > 255:
            return None
        number = number << 8 | value
    if not slash:
        return number, 32
    if not length_text.isdigit() or len(length_text) > 2 or int(length_text) > 32:
        return None
    return number, int(length_text)


def _quick_six(text: str) -> tuple[int, int] | None:
    """The same for IPv6: no zone, no IPv4 at its end, and at most one `::`."""
    address, slash, length_text = text.partition("/")
    head, gap, tail = address.partition("::")
    before = head.split(":") if head else []
    after = tail.split(":") if tail else []
    missing = 8 - len(before) - len(after)
    if (missing < 1 if gap else missing) or not text.isascii():
        return None
    number = 0
    for group in (*before, *["0"] * missing, *after):
        if not 0 < len(group) <= 4 or not _HEX.issuperset(group):
            return None
        number = number << 16 | int(group, 16)
    if not slash:
        return number, 128
    if not length_text.isdigit() or len(length_text) > 3 or int(length_text) > 128:
        return None
    return number, int(length_text)


def read_lines(lines: Iterable[str]) -> Iterator[tuple[int, Prefix | str]]:
    """The prefixes of a file's lines, each with the line's number; a text is what is wrong with
    the line. `#` and `;` begin comments."""
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].partition(";")[0].strip()
        if text:
            try:
                yield number, read_prefix(text)
            except ValueError as error:
                yield number, str(error)


@lru_cache(maxsize=4096)
def admitted_sources(options: RelayOptions) -> AddressSet | None:
    """The clients that a frontend with these options takes; None if that is everybody.

    What the configuration says goes before what the Service says: its ranges can only narrow it
    down.
    """
    admitted = _all(options.source_ranges, options.source_ranges_file)
    denied = _all(options.denied_ranges, options.denied_ranges_file)
    own = _all(options.service_ranges, None)
    if not (admitted or denied or own):
        return None
    bounds: dict[int, list[int]] = {}
    for family in _BITS:
        bounds[family] = _bounds(family, admitted, denied)
        if own:
            bounds[family] = _both(bounds[family], _bounds(family, own, ()))
    return AddressSet(bounds[4], bounds[6])


def _all(texts: Sequence[str], file: PrefixFile | None) -> tuple[Prefix, ...]:
    prefixes = tuple(read_prefix(text.strip(), strict=False) for text in texts)
    return prefixes + file.prefixes if file is not None else prefixes


def _bounds(family: int, admitted: Sequence[Prefix], denied: Sequence[Prefix]) -> list[int]:
    """Where the admitted addresses of a family begin and end, by turns."""
    bits = _BITS[family]
    # Prefixes either hold each other or have nothing in common. So sorted, each comes after
    # those that hold it, and a denied one after the same one admitted.
    rules = sorted(
        (first, length, verdict)
        for verdict, prefixes in ((1, admitted), (2, denied))
        for kind, first, length in prefixes
        if kind == family
    )
    found: list[tuple[int, bool]] = [(0, not admitted)]
    within: list[tuple[int, bool]] = []  # the end and the verdict of those that hold this place

    def turn(at: int, verdict: bool) -> None:
        if found[-1][0] == at:
            found[-1] = at, verdict
        else:
            found.append((at, verdict))

    def leave(before: int) -> None:
        while within and within[-1][0] <= before:
            end, _ = within.pop()
            turn(end, within[-1][1] if within else not admitted)

    for first, length, verdict in rules:
        leave(first)
        within.append((first + (1 << (bits - length)), verdict == 1))
        turn(first, verdict == 1)
    leave(1 << bits)
    bounds: list[int] = []
    inside = False
    for at, verdict in found:
        if verdict is not inside and at < 1 << bits:
            bounds.append(at)
            inside = verdict
    return bounds


def _both(one: list[int], other: list[int]) -> list[int]:
    """The bounds of what is in both."""
    turns = sorted([(at, 0) for at in one] + [(at, 1) for at in other])
    inside = [False, False]
    bounds: list[int] = []
    for index, (at, which) in enumerate(turns):
        inside[which] = not inside[which]
        if index + 1 < len(turns) and turns[index + 1][0] == at:
            continue
        if all(inside) is (len(bounds) % 2 == 0):
            bounds.append(at)
    return bounds
