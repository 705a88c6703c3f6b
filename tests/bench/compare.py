"""The benchmark: nplb's relay beside HAProxy and nginx, in one run. Needs root.

    python -m tests.bench.compare [--quick] [--only kept,new] [--out FOLDER] [--docs FILE]

Contenders take turns in every round, in an order that moves on and turns round, so that what the
machine does meanwhile, and who was there before, meets all of them alike. Single measurements
differ by a tenth and more, from one second to the next and whoever is measured, so that there are
many; each ratio comes with its standard error. Prints a table; writes bench.json, bench.png and,
with --docs, the page that tells of this run. Nothing is asserted: a person judges.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import loads
from tests.bench.arena import Arena
from tests.bench.contenders import CONTENDERS, Contender
from tests.bench.report import Run, print_tables, write_chart, write_page

TOOLS = ("ip", "haproxy", "nginx", "wrk", "iperf3", "h2load")
RATE = 4000
IDLE = 3000
# How often in each turn, and for how many seconds.
TURN = {"kept": (1, 2), "new": (1, 4), "up": (3, 1), "down": (3, 1), "latency": (1, 1)}
ROUNDS = {1: 9, 2: 3}  # with one thread, and with one for each core, of which no target speaks


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="about five minutes instead of 25")
    parser.add_argument("--only", default="", help="loads, comma-separated")
    parser.add_argument("--contenders", default="", help="names, comma-separated")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--docs", type=Path, default=None)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the benchmark makes network namespaces: run it as root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (`make bench` installs them on Debian)")
    cores = os.cpu_count() or 1
    run = Run(
        machine=describe_machine(),
        versions=describe_versions(),
        rounds=2 if options.quick else ROUNDS[1],
        figures={},
    )
    names = options.contenders.split(",") if options.contenders else []
    chosen = [c for c in CONTENDERS if not names or c.name in names]
    wanted = options.only.split(",") if options.only else []
    with tempfile.TemporaryDirectory(prefix="nplb-bench-") as folder, Arena(Path(folder)) as arena:
        run.machine["congestion control"] = arena.congestion_control
        for threads in (1,) if options.quick or cores == 1 else (1, cores):
            for number in range(run.rounds if threads == 1 else ROUNDS[2]):
                for place in range(len(chosen))[:: -1 if number % 2 else 1]:
                    contender = chosen[(place + number) % len(chosen)]
                    measure(run, arena, contender, threads, number, wanted)
    print_tables(run)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps(run.as_json(), indent=1) + "\n")
    write_chart(run, options.out / "bench.png")
    if options.docs is not None:
        write_chart(run, options.docs.with_suffix(".png"))
        write_page(run, options.docs)


def measure(
    run: Run, arena: Arena, contender: Contender, threads: int, number: int, wanted: list[str]
) -> None:
    """One contender's turn in one round."""
    if threads > 1 and not contender.has_threads:
        return
    print(f"round {number + 1}, {threads} thread(s): {contender.name}", flush=True)
    process = contender.start(arena, threads)
    try:
        time.sleep(0.3)
        pids = loads.family(process.pid) if process is not None else []
        loads.settle(pids)
        ip, bulk_ip = contender.ip, contender.bulk_ip
        work: dict[str, Callable[[int], loads.Figures]] = {
            "kept": lambda seconds: loads.requests(arena, ip, pids, seconds, close=False),
            "new": lambda seconds: loads.requests(arena, ip, pids, seconds, close=True),
            "up": lambda seconds: loads.bulk(arena, bulk_ip, pids, seconds, reverse=False),
            "down": lambda seconds: loads.bulk(arena, bulk_ip, pids, seconds, reverse=True),
            "latency": lambda seconds: loads.latency(arena, ip, RATE, seconds),
        }
        if number == 0 and threads == 1 and process is not None:
            work["idle"] = lambda _: loads.memory(arena, ip, pids, IDLE)
        for name, call in work.items():
            times, seconds = TURN.get(name, (1, 0))
            for _ in range(times if not wanted or name in wanted else 0):
                run.add(threads, contender.name, name, call(seconds))
    finally:
        if process is not None:
            arena.end(process)


def describe_machine() -> dict[str, str]:
    """What it ran on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def describe_versions() -> dict[str, str]:
    """Whose versions were compared."""

    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]

    return {
        "python": platform.python_version(),
        "haproxy": first_line("haproxy", "-v").split(" ")[2],
        "nginx": first_line("nginx", "-v").rpartition("/")[2],
        "wrk": first_line("wrk", "-v").split(" [")[0],
        "iperf3": first_line("iperf3", "--version").split(" (")[0],
        "h2load": first_line("h2load", "--version"),
    }


if __name__ == "__main__":
    main()
