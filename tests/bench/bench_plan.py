"""What a pass costs: `python -m tests.bench.bench_plan [SERVICES NODES]`.

Prints the processor time of planning and of the journal's difference, with the memory that the
reconcile loop has of the pass before: for the first plan, a pass without news, one verdict, a
Service that changes, comes or goes, and a node that goes silent, leaves or joins.
"""

import sys
import time
from dataclasses import replace

from nplb.model.keys import Address
from nplb.model.plan import Plan
from nplb.model.reasons import Cause
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict
from nplb.plan.diff import plan_decisions
from nplb.plan.make import make_plan
from nplb.plan.memo import Memo
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
    all_nodes = snapshot.nodes
    verdicts: dict[Address, Verdict] = {}
    memo, previous, plan = Memo(), Plan(), Plan()
    print(f"{services} services x {nodes} nodes, processor time")
    for what in (
        "first plan",
        "first verdicts",
        "nothing changed",
        "one verdict",
        "a service changes",
        "a service comes",
        "a service goes",
        "a node is silent",
        "a node leaves",
        "a node joins",
    ):
        if what == "first verdicts":
            addresses = [target.address for target in plan.probes]
            verdicts = {address: a_verdict(*address) for address in addresses}
        if what == "one verdict":
            address = plan.probes[0].address
            bad = a_verdict(*address, healthy=False, cause=Cause.TIMEOUT)
            verdicts = {**verdicts, address: bad}
        if what == "a service changes":
            changed = replace(snapshot.services[0], labels={"a": "b"}, affinity_seconds=60)
            snapshot = replace(snapshot, services=(changed, *snapshot.services[1:]))
        if what == "a service comes":
            new = a_service("z", a_port(30000 + services))
            snapshot = replace(snapshot, services=(*snapshot.services, new))
        if what == "a service goes":
            snapshot = replace(snapshot, services=snapshot.services[:-1])
        if what == "a node is silent":
            ip = plan.probes[-1].address.ip
            silent = [address for address in verdicts if address.ip == ip]
            verdicts = verdicts | {
                address: a_verdict(*address, healthy=False, cause=Cause.TIMEOUT)
                for address in silent
            }
        if what == "a node leaves":
            snapshot = replace(snapshot, nodes=all_nodes[1:])
        if what == "a node joins":
            snapshot = replace(snapshot, nodes=all_nodes)
        begun = time.process_time()
        snapshots = {"prod": snapshot}
        previous, plan = plan, make_plan(settings, snapshots, verdicts, plan, 1.0, memo=memo)
        planned = time.process_time()
        decisions = plan_decisions(previous, plan, 1.0)
        ended = time.process_time()
        print(
            f"  {what:18} plan {(planned - begun) * 1e3:8.1f} ms"
            f"  difference {(ended - planned) * 1e3:8.1f} ms  ({len(decisions)} entries)"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
