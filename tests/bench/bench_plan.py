"""How long a plan takes: `python -m tests.bench.bench_plan [SERVICES NODES]`. Prints."""

import sys
import time
from dataclasses import replace

from nplb.model.keys import Address
from nplb.model.plan import Plan
from nplb.model.reasons import Cause
from nplb.model.settings import Settings
from nplb.plan.diff import plan_decisions
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot, a_verdict


def main(services: int = 2000, nodes: int = 100) -> None:
    settings = Settings(clusters=(a_cluster(),))
    snapshot = a_snapshot(
        [a_service(f"s{i}", a_port(30000 + i)) for i in range(services)],
        [
            a_node(i, addresses=[("InternalIP", f"10.{i // 65536}.{i // 256 % 256}.{i % 256}")])
            for i in range(nodes)
        ],
    )
    ips = [n.addresses[0].address for n in snapshot.nodes]
    verdicts = {
        Address(ip, 30000 + i): a_verdict(ip, 30000 + i) for ip in ips for i in range(services)
    }
    previous, plan = Plan(), Plan()
    print(f"{services} services x {nodes} nodes")
    for what in ("first plan", "nothing changed", "one verdict", "one node leaves"):
        if what == "one verdict":
            address = Address(ips[0], 30000)
            bad = a_verdict(ips[0], 30000, healthy=False, cause=Cause.TIMEOUT)
            verdicts = {**verdicts, address: bad}
        if what == "one node leaves":
            snapshot = replace(snapshot, nodes=snapshot.nodes[1:])
        begun = time.perf_counter()
        previous, plan = plan, make_plan(settings, {"prod": snapshot}, verdicts, plan, 1.0)
        planned = time.perf_counter()
        decisions = plan_decisions(previous, plan, 1.0)
        ended = time.perf_counter()
        print(
            f"  {what:16} plan {(planned - begun) * 1e3:8.1f} ms"
            f"  difference {(ended - planned) * 1e3:8.1f} ms  ({len(decisions)} entries)"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
