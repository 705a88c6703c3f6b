"""What the allocator twin costs: filling a range, following a cluster, predicting.

    python tests/bench/bench_alloc.py

Prints the best of several runs of: 2,768 allocations into the default range until it is full;
the ledger's look at a cluster of 2,500 Services, the first and one after a single change; one
prediction on that cluster.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.ledger import Ledger
from nplb.alloc.portrange import DEFAULT_PORT_RANGE
from nplb.alloc.predict import predict
from nplb.lab.rehearsal import Rehearsal
from nplb.model.cluster import Service, ServicePort, Snapshot
from nplb.model.keys import ServiceKey

SERVICES = 2500
RUNS = 15


def best(what: str, target_ms: float, run: Callable[[], object]) -> None:
    """Print the best time of several runs, and the target."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(f"{what:58} {min(times) * 1000:8.2f} ms (target {target_ms:g} ms)")


def service(number: int, node_port: int, **changes: object) -> Service:
    return Service(
        key=ServiceKey("prod", f"team-{number % 40:02}", f"service-{number:04}"),
        ports=(ServicePort(name="http", port=80, node_port=node_port),),
        **changes,  # type: ignore[arg-type]
    )


def raw(of: Service) -> dict[str, Any]:
    """A Service as its manifest has it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": of.key.name, "namespace": of.key.namespace},
        "spec": {
            "type": "NodePort",
            "ports": [
                {"name": p.name, "port": p.port, **({"nodePort": n} if (n := p.node_port) else {})}
                for p in of.ports
            ],
        },
    }


def fill() -> None:
    allocator = PortAllocator(DEFAULT_PORT_RANGE, random.Random(1))
    for _ in range(DEFAULT_PORT_RANGE.size):
        allocator.allocate_next()
    assert allocator.free == 0


def main() -> None:
    best("2,768 allocations into a full range", 50, fill)
    services = sorted((service(n, 30000 + n) for n in range(SERVICES)), key=lambda s: s.key)
    snapshot = Snapshot(cluster="prod", taken_at=0.0, services=tuple(services))
    best(
        "the first look at 2,500 Services",
        100,
        lambda: Ledger("prod", DEFAULT_PORT_RANGE).observe(snapshot, 0.0),
    )
    ledger = Ledger("prod", DEFAULT_PORT_RANGE)
    ledger.observe(snapshot, 0.0)
    changed = tuple(
        service(7, 30007, labels={"x": "1"}) if s.key.name == "service-0007" else s
        for s in services
    )
    snapshots = [snapshot, Snapshot(cluster="prod", taken_at=1.0, services=changed)]

    def look() -> None:
        snapshots.reverse()
        ledger.observe(snapshots[0], 1.0)

    best("a look after one of them changed", 20, look)
    best("a prediction: a number is drawn", 10, lambda: predict(ledger, [service(9000, 0)]))
    best("a prediction: a number is asked for", 10, lambda: predict(ledger, [service(9000, 32700)]))
    best("a prediction: a number is taken", 10, lambda: predict(ledger, [service(9000, 30080)]))
    raws = [raw(s) for s in services]
    ask = raw(service(9000, 0))
    best(
        "the same with all of the API server's validation",
        10,
        lambda: Rehearsal(ledger, raws).send(ask, "team-00"),
    )
    hundred = [service(9000 + n, 0 if n % 2 else 32500 + n) for n in range(100)]
    best("a prediction of 100 Services", 100, lambda: predict(ledger, hundred))


if __name__ == "__main__":
    main()
