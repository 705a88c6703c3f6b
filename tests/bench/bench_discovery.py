"""What reading a large cluster costs: `python -m tests.bench.bench_discovery [SERVICES NODES]`.

The lab's API server runs in this process, the Kubernetes source in a child. Prints the time to
the first snapshot, memory, processor time, the latency of changes and what a burst makes.
"""

import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nplb.lab.api.server import ApiServer
from nplb.model.cluster import Snapshot, SourceStatus
from nplb.model.settings import ClusterSettings, KubernetesSource
from nplb.sources.factory import make_source
from tests.support.reading import kubeconfig

TOKEN = "bench"
CHANGES = 200
BURST = 10_000
MARKED = "s00000"


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Child:
    """Runs in the child: reads, and prints one line of JSON when it is told to."""

    def __init__(self, config: str) -> None:
        self.started = time.time()
        self.first: float | None = None
        self.seen = ""
        self.latencies: list[float] = []
        self.snapshots = 0
        self.newest: Snapshot | None = None
        source = KubernetesSource(kubeconfig=Path(config))
        self.settings = ClusterSettings(name="bench", source=source)

    def publish(self, snapshot: Snapshot) -> None:
        now = time.time()
        self.snapshots += 1
        self.newest = snapshot
        if self.first is None:
            self.first = now - self.started
        marked = next((s for s in snapshot.services if s.key.name == MARKED), None)
        stamp = marked.annotations.get("bench/at", "") if marked is not None else ""
        if stamp and stamp != self.seen:
            self.seen = stamp
            self.latencies.append(now - float(stamp))

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
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(source.run(), name="source")
            lines = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
            )
            while await lines.readline():
                print(json.dumps(self.numbers()), flush=True)
                self.latencies.clear()
            reading.cancel()

    def numbers(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        newest = self.newest
        return {
            "first": self.first,
            "latencies": self.latencies,
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
    api.patch("services", MARKED, {"metadata": {"annotations": {"bench/at": now}}})
    return now


async def main(services: int = 5000, nodes: int = 1000) -> None:
    api = ApiServer(
        rng=random.Random(1), token=TOKEN, node_port_range="20000-32767", cache_size=2 * BURST
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

    while (first := await ask())["first"] is None:  # noqa: ASYNC110 - it answers when asked
        await asyncio.sleep(0.1)
    held = ", ".join(f"{first[what]} {what}" for what in ("services", "nodes", "slices"))
    print(f"  first snapshot after {first['first']:.2f} s, the library's import within ({held})")
    print(f"  until then {first['cpu']:.2f} s of processor time; {first['megabytes']:.0f} MB")

    await asyncio.sleep(1)
    before, began = await ask(), time.time()
    await asyncio.sleep(5)
    after = await ask()
    share = (after["cpu"] - before["cpu"]) / (time.time() - began)
    print(f"  idle: {share:.1%} of a core")

    latencies: list[float] = []
    for _ in range(CHANGES):
        stamp(api)
        await asyncio.sleep(0.05)
    latencies = (await ask())["latencies"]
    shown = ", ".join(
        f"p{share * 100:g} {percentile(latencies, share) * 1e3:.1f} ms" for share in (0.5, 0.99)
    )
    print(f"  {len(latencies)} of {CHANGES} single changes, written to published: {shown}")

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
        f"{after['cpu'] - before['cpu']:.2f} s of processor time; {after['megabytes']:.0f} MB"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(Child(sys.argv[2]).run())
    else:
        asyncio.run(main(*(int(argument) for argument in sys.argv[1:3])))
