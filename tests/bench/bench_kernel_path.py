"""What the kernel plane adds to a packet's way: CPU of one thread that is both of its ends.

    python -m tests.bench.bench_kernel_path [ROUNDS]

As root. The thread's own sockets are in a client's and a node's namespace, with the edge between
them. What it sends is forwarded within its own system call, so that the thread's CPU is the cost
of the whole way, and other work on the machine disturbs it little. Variants take turns. Prints;
judges nothing.

direct        the edge is a plain router
tracked       the same with connection tracking on, and no rule
least         the fewest rules that do the job: one dnat, one masquerade, nothing counted
plane         nplb's rules
plane-2000    and 2,000 other frontends of 100 backends
fast          nplb's fast path before its rules
fast-2000     the same with the 2,000
"""

import asyncio
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterable

from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table
from nplb.model.kernel import KernelOptions
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from tests.support.kernelplans import a_frontend, a_plan
from tests.support.netns import Namespace, Site, site

EDGE = Address("10.71.0.1", 443)
NODE = Address("10.72.1.2", 30080)
REQUEST, ANSWER = b"x" * 60, b"y" * 150
KEPT, NEW = 1500, 250

TRACKED = """\
table inet bench {
    chain look {
        type filter hook prerouting priority 0; policy accept;
        ct state invalid counter
    }
}
"""
LEAST = f"""\
table inet bench {{
    chain there {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr {EDGE.ip} tcp dport {EDGE.port} dnat ip to {NODE}
    }}
    chain back {{
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat masquerade
    }}
}}
"""


class Pair:
    """Both ends of connections: a client's through `to`, and the node's server."""

    def __init__(self, client: Namespace, server: socket.socket, to: Address) -> None:
        self._client = client
        self._server = server
        self._to = (to.ip, to.port)

    def kept(self) -> float:
        """Microseconds of CPU for a request and its answer on one connection."""
        near, far = self._open()
        with near, far:
            self._exchange(near, far, 50)
            return self._timed(KEPT, lambda: self._exchange(near, far, KEPT))

    def new(self) -> float:
        """The same with a connection for each."""

        def each() -> None:
            for _ in range(NEW):
                near, far = self._open()
                with near, far:
                    self._exchange(near, far, 1)

        with self._client.entered():
            return self._timed(NEW, each)

    def _open(self) -> tuple[socket.socket, socket.socket]:
        with self._client.entered():
            near = socket.create_connection(self._to, 5)
        far, _ = self._server.accept()
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return near, far

    @staticmethod
    def _exchange(near: socket.socket, far: socket.socket, count: int) -> None:
        for _ in range(count):
            near.send(REQUEST)
            far.recv(512)
            far.send(ANSWER)
            near.recv(512)

    @staticmethod
    def _timed(count: int, work: Callable[[], None]) -> float:
        before = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)
        work()
        return (time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) - before) / count * 1e6


def rules(here: Site, text: str) -> Callable[[], Address]:
    """Write these rules; clients connect straight to the node unless they rewrite."""

    def write() -> Address:
        here.edge.run("nft", "-f", "-", stdin=text)
        return EDGE if "dnat" in text else NODE

    return write


def plane(here: Site, others: int, *, fast_path: bool = False) -> Callable[[], Address]:
    """Let a plane write its rules."""
    idle = [f"198.18.0.{n}" for n in range(1, 101)]
    kernel = KernelOptions(fast_path=fast_path)
    frontends: Iterable[Frontend] = [
        a_frontend(ips=(NODE.ip,), node_port=NODE.port, kernel=kernel),
        *(
            a_frontend(f"idle-{n}", ips=idle, edge_port=20000 + n, kernel=kernel)
            for n in range(others)
        ),
    ]

    def write() -> Address:
        with here.edge.entered():
            asyncio.run(_apply(frontends))
        return EDGE

    return write


async def _apply(frontends: Iterable[Frontend]) -> None:
    await KernelPlane().apply(a_plan(*frontends))


def main(rounds: int) -> None:
    """Measure every variant in every round."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found: dict[str, dict[str, list[float]]] = {}
    with site(1) as here:
        here.client.sysctl("net.ipv4.ip_local_port_range", "1024 65000")
        here.client.sysctl("net.ipv4.tcp_max_tw_buckets", "500")
        # What one variant leaves in TIME_WAIT keeps the next one's SYNs waiting for a second.
        here.nodes[0].sysctl("net.ipv4.tcp_max_tw_buckets", "0")
        here.edge.run("ip", "route", "add", "198.18.0.0/15", "via", NODE.ip)
        with here.nodes[0].entered():
            server = socket.create_server(("0.0.0.0", NODE.port))
        variants = {
            "direct": lambda: NODE,
            "tracked": rules(here, TRACKED),
            "least": rules(here, LEAST),
            "plane": plane(here, 0),
            "plane-2000": plane(here, 2000),
            "fast": plane(here, 0, fast_path=True),
            "fast-2000": plane(here, 2000, fast_path=True),
        }
        with server:
            for _ in range(rounds):
                for name, prepare in variants.items():
                    pair = Pair(here.client, server, prepare())
                    figures = found.setdefault(name, {"kept": [], "new": []})
                    for _ in range(3):
                        figures["kept"].append(pair.kept())
                        figures["new"].append(pair.new())
                    here.edge.run("nft", "flush", "ruleset")
                    with here.edge.entered():
                        asyncio.run(delete_table(Nft()))
    print(f"{'':12} {'request on a kept connection':>30} {'new connection':>30}")
    for name, figures in found.items():
        cells = []
        for load, values in figures.items():
            quick = statistics.quantiles(values, n=4)[0]
            least = statistics.quantiles(found["direct"][load], n=4)[0]
            cells.append(f"{quick:8.1f} µs ({quick - least:+6.1f})")
        print(f"{name:12} {cells[0]:>30} {cells[1]:>30}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
