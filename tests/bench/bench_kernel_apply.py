"""How long the kernel plane takes: 2,000 frontends of 100 backends, in a namespace of its own, by
the table alone and with the fast path before it.

python -m tests.bench.bench_kernel_apply [FRONTENDS] [BACKENDS]. As root. Prints; judges nothing.
"""

import asyncio
import os
import statistics
import sys
import time
from dataclasses import replace

from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table
from nplb.model.kernel import KernelOptions
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState
from tests.support.kernelplans import a_frontend, a_plan, with_state, without
from tests.support.netns import namespaces

# Seconds that a change of one node may take, whatever it is, and the first plan.
BOUND, FIRST_BOUND = 0.25, 5.0


async def measure(frontends: int, backends: int, *, fast_path: bool) -> None:
    """Apply, apply again, and change a node of every frontend in each way that there is."""
    ips = [f"10.72.{n // 250}.{n % 250 + 1}" for n in range(backends)]
    kernel = KernelOptions(fast_path=fast_path)
    whole = [
        a_frontend(f"web-{n}", ips=ips, edge_port=10000 + n, node_port=30000 + n, kernel=kernel)
        for n in range(frontends)
    ]
    place = backends // 2
    down = [with_state(frontend, place, BackendState.DOWN) for frontend in whole]
    second = [with_state(frontend, 1, BackendState.DOWN) for frontend in down]
    draining = [with_state(frontend, place, BackendState.DRAINING) for frontend in whole]
    gone = [without(frontend, place) for frontend in whole]
    down_gone = [without(frontend, backends) for frontend in down]
    heavy = [weighed(frontend, place) for frontend in whole]
    single = [with_state(whole[0], 1, BackendState.DOWN), *whole[1:]]
    plane = KernelPlane(now=lambda: 0.0)
    how = ", with the fast path" if fast_path else ""
    print(f"{frontends} frontends of {backends} backends{how}; cpu is nplb's and nft's together")
    show("first apply", [await cost(plane, whole)], bound=FIRST_BOUND)
    show("the same plan again", [await cost(plane, whole)])
    for name, before, after in (
        ("one node goes down, comes up", whole, down),
        ("a second one, while it is", down, second),
        ("one node drains, comes back", whole, draining),
        ("one node leaves, joins", whole, gone),
        ("the same, one being down", down, down_gone),
        ("one node's weight changes", whole, heavy),
        ("one backend", whole, single),
    ):
        await plane.apply(a_plan(*before))
        costs = []
        for _ in range(5):
            costs += [await cost(plane, after), await cost(plane, before)]
        show(name, costs, bound=BOUND)
    await plane.apply(a_plan(*whole))
    show("taken over by a new process", [await cost(KernelPlane(now=lambda: 0.0), whole)])
    await plane.stop()
    await delete_table(Nft())


async def cost(plane: KernelPlane, frontends: list[Frontend]) -> tuple[float, float]:
    """Seconds that one plan takes, and seconds of CPU."""
    plan = a_plan(*frontends)
    before, began = sum(os.times()[:4]), time.perf_counter()
    await plane.apply(plan)
    return time.perf_counter() - began, sum(os.times()[:4]) - before


def weighed(frontend: Frontend, node: int) -> Frontend:
    """The same frontend with one node, counted from 1, of twice the weight."""
    backends = list(frontend.backends)
    backends[node - 1] = replace(backends[node - 1], weight=2)
    return replace(frontend, backends=tuple(backends))


def show(name: str, costs: list[tuple[float, float]], *, bound: float = 0) -> None:
    """One line: medians, the quickest and slowest, and what the median may be."""
    times, cpu = [wall for wall, _ in costs], [used for _, used in costs]
    line = f"  {name:<30} {statistics.median(times):7.3f} s, {statistics.median(cpu):6.3f} s cpu"
    if len(costs) > 1:
        line += f"  ({min(times):.3f} to {max(times):.3f} s)"
    print(f"{line}, bound {bound:g} s" if bound else line)


def main() -> None:
    """Run in a namespace of its own."""
    numbers = [int(argument) for argument in sys.argv[1:3]]
    frontends, backends = numbers if len(numbers) == 2 else (2000, 100)
    with namespaces("edge") as made, made["edge"].entered():
        made["edge"].run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "nowhere")
        made["edge"].run("ip", "addr", "add", "10.72.255.1/16", "dev", "uplink")
        made["edge"].run("ip", "link", "set", "uplink", "up")
        for fast_path in (False, True):
            asyncio.run(measure(frontends, backends, fast_path=fast_path))


if __name__ == "__main__":
    main()
