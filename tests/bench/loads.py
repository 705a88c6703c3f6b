"""The loads: each puts traffic through one contender and says what it cost.

CPU is that of the balancer's processes, children included, from /proc.
"""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.arena import BULK_PORT, WEB_PORT, Arena

TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 64
Figures = dict[str, float]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that these processes have used, to the nanosecond. One that has ended,
    such as a command that control once ran, counts no more."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def settle(pids: list[int]) -> None:
    """Wait until the processes have done what their start brings, half a minute at most, and the
    kernel what the end of others before them has left to it, such as to free a table: five seconds
    at most, since the machine may have more to do than this."""
    start = time.monotonic()
    while (waited := time.monotonic() - start) < 30.0:
        before, machine = cpu_seconds(pids), machine_seconds()
        time.sleep(0.5)
        if cpu_seconds(pids) - before < 0.02 and (
            waited > 5.0 or machine_seconds() - machine < 0.05
        ):
            return


def machine_seconds() -> float:
    """Time that all processors have not been idle, the kernel's own work included."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / TICKS


def memory_bytes(pids: list[int]) -> int:
    """Proportional set size: what these processes would free if they ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def requests(arena: Arena, ip: str, pids: list[int], seconds: int, *, close: bool) -> Figures:
    """wrk: requests on kept connections, or a new connection for each."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}"]
    if close:
        command += ["-H", "Connection: close"]
    before, machine = cpu_seconds(pids), machine_seconds()
    output = arena.client(*command, f"http://{ip}:{WEB_PORT}/")
    used, machine = max(cpu_seconds(pids) - before, 0.0), machine_seconds() - machine
    match = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if match is None or rate is None:
        raise RuntimeError(f"wrk said: {output}")
    errors = re.search(r"Socket errors: (.*)", output)
    if errors and not close:
        raise RuntimeError(f"wrk met errors: {errors.group(1)}")
    count = int(match.group(1))
    return {
        "per_second": float(rate.group(1)),
        "cpu_us": used / count * 1e6,
        "machine_us": machine / count * 1e6,
    }


def bulk(arena: Arena, ip: str, pids: list[int], seconds: int, *, reverse: bool) -> Figures:
    """iperf3: four streams toward the node, or from it."""
    command = ["iperf3", "-c", ip, "-p", str(BULK_PORT), "-t", str(seconds), "-P", "4", "-J"]
    if reverse:
        command.append("-R")
    for _ in range(20):
        before = cpu_seconds(pids)
        with contextlib.suppress(subprocess.CalledProcessError):
            end = json.loads(arena.client(*command))["end"]
            if "sum_received" in end:
                break
        time.sleep(0.5)  # the server still ends its last test
    else:
        raise RuntimeError("the iperf3 server stays busy")
    used = max(cpu_seconds(pids) - before, 0.0)
    size = end["sum_received"]["bytes"]
    return {
        "gbit_per_second": end["sum_received"]["bits_per_second"] / 1e9,
        "cpu_ms_per_gb": used / size * 1e12,
    }


def latency(arena: Arena, ip: str, rate: int, seconds: int, *, close: bool = False) -> Figures:
    """h2load over HTTP/1.1 at a fixed rate: percentiles in microseconds."""
    log = arena.folder / "h2load.log"
    log.unlink(missing_ok=True)
    clients = 32
    command = ["h2load", "--h1", f"-c{clients}", f"-D{seconds}", f"--rps={rate / clients}"]
    arena.client(*command, f"--log-file={log}", f"http://{ip}:{WEB_PORT}/")
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return {
        "p50_us": float(times[len(times) // 2]),
        "p99_us": float(times[len(times) * 99 // 100]),
        "p999_us": float(times[len(times) * 999 // 1000]),
    }


HOLD = """
import socket, sys
held = []
for _ in range(int(sys.argv[3])):
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    sock.recv(4096)
    held.append(sock)
print("held", flush=True)
sys.stdin.read()
"""


def memory(arena: Arena, ip: str, pids: list[int], count: int) -> Figures:
    """Bytes of the balancer's own for each idle connection."""
    before = memory_bytes(pids)
    process = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            arena.name("client"),
            "python3",
            "-c",
            HOLD,
            ip,
            str(WEB_PORT),
            str(count),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != b"held":
            raise RuntimeError("the idle connections could not be made")
        time.sleep(0.5)
        after = memory_bytes(pids)
    finally:
        process.communicate()
    return {"bytes_per_connection": (after - before) / count}


def ratios(mine: Mapping[str, float], other: Mapping[str, float]) -> Figures:
    """Each figure of `mine` over the other's."""
    return {key: mine[key] / other[key] for key in mine if other.get(key)}
