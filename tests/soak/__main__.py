"""Runs the soak, prints the table, and judges it. Exit code 1 if something grows or a request
failed that should not have."""

import argparse
import asyncio
import platform
import shutil
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

from nplb.aio.tasks import TaskOwner
from nplb.demo.show import hold_free_network, hold_free_port
from nplb.demo.stage import HTTP_SERVICES, Stage
from nplb.model.errors import NplbError
from nplb.model.keys import Address
from tests.chaos.__main__ import play
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.report import faults_of
from tests.chaos.scene import Record, Scene
from tests.soak.samples import HEAD, Sample, descriptors, resident, row, trends, verdict

INTERVAL_SECONDS = 10.0
# The beginning is not judged: caches fill, and control and workers are replaced.
WARM_SHARE = 0.2
# What replaces a process would hide its growth, so it comes only in the beginning.
REPLACING = ("upgraded", "upgrade fails", "is killed", "workers join")
# What comes again and again to the end.
STEADY = (
    "reloaded five times",
    "stands still",
    "can't write a byte",
    "control runs out of descriptors",
    "the API hangs",
    "the API restarts",
)
PAUSE_SECONDS = 5.0
CLIENT_PAUSE_SECONDS = 0.1


def _named(words: tuple[str, ...]) -> list[Fault]:
    return [fault for fault in FAULTS if any(word in fault.name for word in words)]


class Soak:
    """One run. `records` are the faults that were played, `samples` the measures."""

    def __init__(self, stage: Stage, minutes: float) -> None:
        self._stage = stage
        self._begun = time.monotonic()
        self._end = self._begun + minutes * 60
        self._warm_until = self._begun + minutes * 60 * WARM_SHARE
        self.samples: list[Sample] = []
        self.records: list[Record] = []

    async def run(self) -> None:
        """Play faults under load until the time is over."""
        for service in HTTP_SERVICES:
            self._stage.traffic.start(
                service, self._stage.edge_address(service), kept=2, fresh=1, lifelong=1
            )
        self._stage.traffic.pause_seconds = CLIENT_PAUSE_SECONDS
        scene = Scene(self._stage)
        print(HEAD, flush=True)
        async with TaskOwner("soak") as tasks:
            tasks.spawn(self._measure(), "measure")
            replacing, steady = cycle(_named(REPLACING)), cycle(_named(STEADY))
            while time.monotonic() < self._end:
                fault = next(replacing if time.monotonic() < self._warm_until else steady)
                self.records.append(await play(scene, fault))
                await asyncio.sleep(min(PAUSE_SECONDS, max(self._end - time.monotonic(), 0)))
            await self._sample()
        await self._stage.traffic.stop()

    async def _measure(self) -> None:
        while True:
            await self._sample()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _sample(self) -> None:
        balancer = self._stage.balancer
        try:
            status = await balancer.status()
        except (OSError, TimeoutError, NplbError):
            return
        pids = [w["pid"] for w in status["traffic"]["workers"] if w["alive"]]
        tally = self._stage.traffic.tally
        sample = Sample(
            at=time.monotonic() - self._begun,
            control_bytes=resident(balancer.pid),
            control_descriptors=descriptors(balancer.pid),
            workers=len(pids),
            worker_bytes=sum(resident(pid) for pid in pids),
            worker_descriptors=sum(descriptors(pid) for pid in pids),
            connections=sum(w["open_connections"] for w in status["traffic"]["workers"]),
            requests=tally.requests,
            failed=tally.failed,
        )
        self.samples.append(sample)
        print(row(sample), flush=True)

    @property
    def judged(self) -> list[Sample]:
        """The samples after the beginning, of moments with the usual number of workers."""
        warm = self._warm_until - self._begun
        return [s for s in self.samples if s.at > warm and s.workers == 2]


def report(soak: Soak, minutes: float) -> tuple[str, bool]:
    """The result as a page, and whether it is good."""
    found = trends(soak.judged)
    wrong = [f"{r.name}: {what}" for r in soak.records for what in faults_of(r)]
    failed = sum(record.failed for record in soak.records)
    apart = sum(record.apart for record in soak.records)
    good = all(trend.flat for trend in found) and not failed and not wrong
    every = max(len(soak.samples) // 20, 1)
    text = (
        f"Written by `make soak MINUTES={minutes:g}`: **{minutes:g} minutes** of steady load with "
        f"{len(soak.records)} faults, on {platform.machine()}, Linux {platform.release()}, Python "
        f"{platform.python_version()}. Three nodes, {len(HTTP_SERVICES)} services, two workers; "
        "the lab, the clients and nplb share the machine. In the first fifth nplb is upgraded and "
        "its processes are killed; after that one control process and its workers live to the "
        "end, through reloads, pauses, shortages and an API that fails. What is judged is the "
        "median of the first third of that time against the last third; control's journal (20,000 "
        "decisions at most) and its hour of history are still filling."
    )
    requests = soak.samples[-1].requests if soak.samples else 0
    total = f"- {requests} requests, {failed} failed, {apart} ended with a process that was killed"
    lines = [
        "# Soak",
        "",
        text,
        "",
        *(f"- {verdict(trend)}" for trend in found),
        total,
        *(f"- went wrong: {what}" for what in wrong),
        "",
        HEAD,
        *(row(sample) for sample in soak.samples[::every]),
        "",
    ]
    return "\n".join(lines), good


async def main(minutes: float, directory: Path) -> tuple[str, bool]:
    """The whole run: its page, and whether it is good."""
    with hold_free_port() as held, hold_free_network() as network:
        stage = Stage(
            directory=directory,
            nodes=3,
            network=network,
            edge=f"{network.rpartition('.')[0]}.200",
            admin=Address("127.0.0.1", held.getsockname()[1]),
        )
        async with stage:
            soak = Soak(stage, minutes)
            await soak.run()
            await stage.close()
    return report(soak, minutes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="for how long [60]")
    parser.add_argument("--docs", type=Path, help="write the page there")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="nplb-soak-"))
    page, is_good = asyncio.run(main(given.minutes, place))
    print(page)
    if given.docs is not None:
        given.docs.write_text(page)
    if is_good:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(0 if is_good else 1)
