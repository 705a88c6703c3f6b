"""What long lists of clients cost: reading, compiling, and one look-up in a relay worker.

python -m tests.bench.bench_sources
"""

import ipaddress
import random
import time

from nplb.dataplane.relay.worker.admission import Admission
from nplb.model.prefixes import PrefixFile
from nplb.model.relay import RelayOptions
from nplb.policy.addressset import AddressSet
from nplb.policy.prefixes import admitted_sources, read_lines

LOOKUPS = 200_000


def main() -> None:
    rng = random.Random(1)
    for count, family in ((1_000, 4), (100_000, 4), (100_000, 6), (500_000, 4)):
        lines = [_prefix(rng, family) for _ in range(count)]
        start = time.perf_counter()
        prefixes = tuple(p for _, p in read_lines(lines) if not isinstance(p, str))
        read = time.perf_counter() - start
        file = PrefixFile(path="", digest=str(len(lines)), count=count, prefixes=prefixes)
        start = time.perf_counter()
        made = admitted_sources(RelayOptions(denied_ranges_file=file))
        compiled = time.perf_counter() - start
        assert made is not None
        data = made.to_bytes()
        start = time.perf_counter()
        admission = Admission(AddressSet.from_bytes(data), 0, 0.0)
        taken = time.perf_counter() - start
        clients = [_client(rng, family) for _ in range(10_000)]
        start = time.perf_counter()
        for _ in range(LOOKUPS // len(clients)):
            for client in clients:
                admission.admits_source(client)
        each = (time.perf_counter() - start) / LOOKUPS
        print(
            f"{count} prefixes of IPv{family}: read in {read:.2f} s, compiled in {compiled:.2f} s, "
            f"{len(data) / 1e6:.1f} MB to each worker (taken in {taken * 1e3:.1f} ms), "
            f"{each * 1e6:.2f} us a look-up, {1 / each:,.0f} look-ups/s"
        )


def _prefix(rng: random.Random, family: int) -> str:
    if family == 4:
        length = rng.randint(20, 32)
        network = ipaddress.IPv4Network((rng.getrandbits(32), length), strict=False)
        return str(network)
    return str(ipaddress.IPv6Network((rng.getrandbits(128), rng.randint(24, 64)), strict=False))


def _client(rng: random.Random, family: int) -> str:
    if family == 4:
        return str(ipaddress.IPv4Address(rng.getrandbits(32)))
    return str(ipaddress.IPv6Address(rng.getrandbits(128)))


if __name__ == "__main__":
    main()
