"""What a large cluster costs: `python -m tests.bench.bench_discovery [SERVICES NODES]`.

The lab's API server runs in this process; the Kubernetes source, the reconcile loop and the relay
with one worker in a child, which listens for every Service. Nothing is probed (the nodes do not
exist), but all targets are planned. Prints the time to the first snapshot, to the first plan and
until that is served, memory, processor time, how long a change takes to be published and to be
served, and what a burst costs. The changes that are timed are of what a frontend does: a Service's
annotation.
"""

import asyncio
import itertools
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.reconciler import Reconciler
from nplb.daemon.collector import collect_rarely
from nplb.dataplane.relay.plane import RelayPlane
from nplb.lab.api.server import ApiServer
from nplb.model.applied import Applied, Traffic
from nplb.model.cluster import Snapshot, SourceStatus
from nplb.model.plan import Plan
from nplb.model.settings import (
    AnnotationSettings,
    ClusterSettings,
    HealthSettings,
    InitialState,
    KubernetesSource,
    ListenSettings,
    Settings,
)
from nplb.model.verdict import ProbeTarget
from nplb.observe.journal import Journal
from nplb.sources.factory import make_source
from tests.support.reading import kubeconfig

TOKEN = "bench"
CHANGES = 100
BURST = 10_000
PORT_RANGE = "20000-32767"
EDGE = "127.66.66.66"
NUMBERS = itertools.count(1)
MARKED = "s00000"


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class NoProber:
    """Where nothing can be probed."""

    def retarget(self, targets: tuple[ProbeTarget, ...]) -> None:
        pass


class Child:
    """Runs in the child: reads, plans, serves, and prints one line of JSON when it is told to."""

    def __init__(self, config: str) -> None:
        self.planned: float | None = None
        self.served: float | None = None
        self.sent: dict[int, float] = {}
        self.served_latencies: list[float] = []
        self.number = 0
        self.passes = 0
        self.backends = 0
        self.started = time.time()
        self.first: float | None = None
        self.seen = ""
        self.latencies: list[float] = []
        self.snapshots = 0
        self.newest: Snapshot | None = None
        source = KubernetesSource(kubeconfig=Path(config))
        self.settings = ClusterSettings(name="bench", source=source, port_range=PORT_RANGE)
        edge = Settings(
            clusters=(self.settings,),
            listen=ListenSettings(addresses=(EDGE,)),
            annotations=AnnotationSettings(allow=("limits.connections",)),
            health=HealthSettings(initial=InitialState.UP),
        )
        self.inputs = Inputs(edge)
        self.plane = RelayPlane(workers=1)
        self.reconciler = Reconciler(
            inputs=self.inputs,
            plane=self,
            prober=NoProber(),
            journal=Journal(),
            books=Books(own_pids=lambda: {os.getpid()}),
            findings=FindingBook(),
            now=time.time,
        )

    async def apply(self, plan: Plan) -> Applied:
        """The relay's, timed."""
        if self.planned is None:
            self.planned = time.time() - self.started
        applied = await self.plane.apply(plan)
        now = time.time()
        if self.served is None:
            self.served = now - self.started
            self.backends = sum(len(frontend.backends) for frontend in plan.frontends)
        self.passes += 1
        marked = next((f for f in plan.frontends if f.key.service.name == MARKED), None)
        if marked is not None and marked.relay.max_connections != self.number:
            self.number = marked.relay.max_connections
            self.served_latencies.append(now - self.sent[self.number])
        return applied

    def traffic(self) -> Traffic:
        """The relay's."""
        return self.plane.traffic()

    def publish(self, snapshot: Snapshot) -> None:
        now = time.time()
        self.snapshots += 1
        self.newest = snapshot
        if self.first is None:
            self.first = now - self.started
        marked = next((s for s in snapshot.services if s.key.name == MARKED), None)
        stamp = marked.annotations.get("bench/at", "") if marked is not None else ""
        if marked is not None and stamp and stamp != self.seen:
            self.seen = stamp
            self.latencies.append(now - float(stamp))
            self.sent[int(marked.annotations["nplb.io/limits.connections"])] = float(stamp)
        self.inputs.publish(snapshot)

    def report(self, status: SourceStatus) -> None:
        if status.error:
            print(status.error, file=sys.stderr)

    async def run(self) -> None:
        source = make_source(
            self.settings,
            publish=self.publish,
            report=self.report,
            now=time.time,
            rng=random.Random(1),
        )
        self.plane.start_workers()
        await self.plane.start()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(source.run(), name="source")
            looping = tasks.create_task(self.reconciler.run(), name="reconciler")
            lines = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
            )
            while await lines.readline():
                print(json.dumps(self.numbers()), flush=True)
                self.latencies.clear()
                self.served_latencies.clear()
            reading.cancel()
            looping.cancel()
        await self.plane.stop()

    def numbers(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        newest = self.newest
        return {
            "first": self.first,
            "planned": self.planned,
            "served": self.served,
            "backends": self.backends,
            "latencies": self.latencies,
            "served_latencies": self.served_latencies,
            "passes": self.passes,
            "error": self.reconciler.last_error,
            "snapshots": self.snapshots,
            "last": self.seen,
            "cpu": usage.ru_utime + usage.ru_stime,
            "megabytes": _resident_megabytes(),
            "services": len(newest.services) if newest else 0,
            "nodes": len(newest.nodes) if newest else 0,
            "slices": len(newest.slices) if newest else 0,
        }


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fill(api: ApiServer, services: int, nodes: int) -> None:
    for number in range(nodes):
        address = f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}"
        status = {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }
        labels = {"kubernetes.io/hostname": f"n{number:05}", "topology.kubernetes.io/zone": "z1"}
        metadata = {"name": f"n{number:05}", "labels": labels}
        api.create("nodes", {"metadata": metadata, "status": status})
    for number in range(services):
        name = f"s{number:05}"
        spec = {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80}]}
        api.create("services", {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
        endpoints = [
            {
                "addresses": [f"10.244.{number % 250}.{1 + number // 250 + pod * 50}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"n{(number + pod) % nodes:05}",
            }
            for pod in range(3)
        ]
        api.create(
            "endpointslices",
            {
                "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
            },
        )


def stamp(api: ApiServer) -> str:
    now = repr(time.time())
    number = str(next(NUMBERS))
    annotations = {"bench/at": now, "nplb.io/limits.connections": number}
    api.patch("services", MARKED, {"metadata": {"annotations": annotations}})
    return now


async def main(services: int = 5000, nodes: int = 1000) -> None:
    api = ApiServer(
        rng=random.Random(1), token=TOKEN, node_port_range=PORT_RANGE, cache_size=2 * BURST
    )
    begun = time.time()
    fill(api, services, nodes)
    await api.start()
    print(f"{services} services, {nodes} nodes, made in {time.time() - begun:.1f} s")
    with tempfile.TemporaryDirectory() as directory:
        config = kubeconfig(Path(directory) / "config", api.url, {"token": TOKEN})
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.bench_discovery", "--child", str(config)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await measure(api, child, services)
        finally:
            assert child.stdin is not None
            child.stdin.close()
            await child.wait()
    await api.stop()


async def measure(api: ApiServer, child: asyncio.subprocess.Process, services: int) -> None:
    async def ask() -> dict[str, Any]:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\n")
        numbers: dict[str, Any] = json.loads(await child.stdout.readline())
        return numbers

    async def ask_until_seen(last: str) -> dict[str, Any]:
        while (numbers := await ask())["last"] != last:  # noqa: ASYNC110 - it answers when asked
            await asyncio.sleep(0.02)
        return numbers

    while (first := await ask())["served"] is None:  # noqa: ASYNC110 - it answers when asked
        await asyncio.sleep(0.1)
    held = ", ".join(f"{first[what]} {what}" for what in ("services", "nodes", "slices"))
    print(f"  first snapshot after {first['first']:.2f} s, the library's import within ({held})")
    print(
        f"  first plan after {first['planned']:.2f} s ({first['backends']} backends), served after "
        f"{first['served']:.2f} s"
    )
    print(f"  until then {first['cpu']:.2f} s of processor time; {first['megabytes']:.0f} MB")

    await asyncio.sleep(1)
    before, began = await ask(), time.time()
    await asyncio.sleep(5)
    after = await ask()
    share = (after["cpu"] - before["cpu"]) / (time.time() - began)
    print(f"  idle: {share:.1%} of a core")

    await ask_until_seen(stamp(api))
    before = await ask()
    for _ in range(CHANGES):
        stamp(api)
        await asyncio.sleep(0.3)
    after = await ask()
    for what, until in (("latencies", "published"), ("served_latencies", "served")):
        found = after[what]
        shown = ", ".join(
            f"p{share * 100:g} {percentile(found, share) * 1e3:.1f} ms" for share in (0.5, 0.99)
        )
        print(f"  {len(found)} of {CHANGES} single changes, written to {until}: {shown}")
    each = (after["cpu"] - before["cpu"]) / max(1, after["passes"] - before["passes"])
    print(f"  {each * 1e3:.1f} ms of processor time for each of them")

    before, began = await ask(), time.time()
    for number in range(BURST):
        name = f"s{1 + number % (services - 1):05}"
        api.patch("services", name, {"metadata": {"annotations": {"bench/n": str(number)}}})
        if number % 20 == 0:
            await asyncio.sleep(0)
    written = time.time() - began
    after = await ask_until_seen(stamp(api))
    print(
        f"  {BURST} changes, written in {written:.1f} s, seen after {time.time() - began:.1f} s: "
        f"{after['snapshots'] - before['snapshots']} snapshots, "
        f"{after['passes'] - before['passes']} passes, "
        f"{after['cpu'] - before['cpu']:.2f} s of processor time; {after['megabytes']:.0f} MB"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        collect_rarely()
        asyncio.run(Child(sys.argv[2]).run())
    else:
        asyncio.run(main(*(int(argument) for argument in sys.argv[1:3])))
