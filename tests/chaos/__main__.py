"""Replays the faults until the time is over. Exit code 1 if a request failed that should not."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from nplb.demo.show import hold_free_network, hold_free_port
from nplb.demo.stage import HTTP_SERVICES, Stage
from nplb.model.errors import NplbError
from nplb.model.keys import Address
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.report import is_good, line, summary
from tests.chaos.scene import Record, Scene

RECOVERY_SECONDS = 60.0


async def main(minutes: float, rounds: int, faults: list[Fault], directory: Path) -> int:
    """Play faults in turn, at least each so often, until so many minutes are over."""
    with hold_free_port() as held, hold_free_network() as network:
        return await _run(minutes, rounds, faults, directory, network, held.getsockname()[1])


async def _run(
    minutes: float,
    rounds: int,
    faults: list[Fault],
    directory: Path,
    network: str,
    admin_port: int,
) -> int:
    stage = Stage(
        directory=directory,
        nodes=3,
        network=network,
        edge=f"{network.rpartition('.')[0]}.200",
        admin=Address("127.0.0.1", admin_port),
    )
    end = time.monotonic() + minutes * 60
    records: list[Record] = []
    async with stage:
        for service in HTTP_SERVICES:
            stage.traffic.start(service, stage.edge_address(service), kept=2, fresh=2, lifelong=1)
        scene = Scene(stage)
        while time.monotonic() < end or len(records) < rounds * len(faults):
            fault = faults[len(records) % len(faults)]
            records.append(await play(scene, fault))
            print(f"{len(records):3}  {line(records[-1])}", flush=True)
            if records[-1].broken and not stage.balancer.running:
                break
        await stage.traffic.stop()
        code = await stage.close()
    print(summary(records))
    if code != 0:
        print(f"nplb run ended with exit code {code}; its log is {stage.balancer.log_path}")
    return 0 if is_good(records) and code == 0 else 1


async def play(scene: Scene, fault: Fault) -> Record:
    """One fault, and until everything is as it was."""
    record = scene.record = Record(name=fault.name)
    tally = scene.stage.traffic.tally
    requests, failed, apart = tally.requests, tally.failed, tally.apart
    reasons = tally.reasons.copy()
    tally.slowest_fresh_seconds = 0.0
    try:
        await fault.play(scene)
        if fault.cuts:
            scene.cut()  # what is opened through a machine that boots may end with its boot
        await scene.whole(seconds=RECOVERY_SECONDS)
    except NplbError as error:
        record.broken.append(str(error))
    record.requests = tally.requests - requests
    record.failed = tally.failed - failed
    record.apart = tally.apart - apart
    record.reasons = tally.reasons - reasons
    record.slowest_seconds = tally.slowest_fresh_seconds
    return record


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long [10]")
    parser.add_argument("--rounds", type=int, default=1, help="at least each so often [1]")
    parser.add_argument("--only", default="", help="only the faults whose name has this word")
    parser.add_argument("--list", action="store_true", help="name the faults, and end")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    wanted = [fault for fault in FAULTS if given.only in fault.name]
    if given.list or not wanted:
        print("\n".join(fault.name for fault in FAULTS))
        sys.exit(0 if given.list else 2)
    place = Path(tempfile.mkdtemp(prefix="nplb-chaos-"))
    exit_code = asyncio.run(main(given.minutes, given.rounds, wanted, place))
    if exit_code == 0:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(exit_code)
