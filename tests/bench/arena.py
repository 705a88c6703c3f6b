"""Four network namespaces on one machine: client, edge, and two nodes, joined by veth pairs.

    client 10.99.0.2 ── 10.99.0.1 edge 10.99.1.1 ── 10.99.1.2 node1
                                       10.99.2.1 ── 10.99.2.2 node2

Both nodes also have 10.99.9.9, over which the edge spreads connections by a route alone: what
reaches it has gone straight to a node, and to as many of them as through a balancer.

Needs root. Everything is removed at the end, also after an error.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

EDGE_IP = "10.99.0.1"
CLIENT_IP = "10.99.0.2"
NODE_IPS = ("10.99.1.2", "10.99.2.2")
SHARED_IP = "10.99.9.9"
IDLE_NETWORK = "198.18.0.0/15"  # of backends that nobody is sent to
WEB_PORT = 30080
BULK_PORT = 30081

NGINX_NODE = """\
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events {{ worker_connections 9000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{ listen {port} reuseport backlog=4096; location / {{ return 200 "hello, world!\\n"; }} }}
}}
"""


def run(*command: str, check: bool = True) -> str:
    """A command's output."""
    done = subprocess.run(command, check=check, capture_output=True, text=True)
    return done.stdout


class Arena:
    """The namespaces and the servers in the nodes. `folder` holds their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = f"nb{os.getpid() % 100000}"
        self.congestion_control = ""
        self._processes: list[subprocess.Popen[bytes]] = []

    def name(self, space: str) -> str:
        """The system's name of a namespace."""
        return f"{self.tag}-{space}"

    def spawn(self, space: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in a namespace; it is ended with the arena."""
        with self._log(space, command).open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name(space), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def log(self, space: str, command: Sequence[str]) -> str:
        """The end of what such a command has said."""
        return self._log(space, command).read_text()[-1000:]

    def _log(self, space: str, command: Sequence[str]) -> Path:
        return self.folder / f"{space}-{Path(command[0]).name}.log"

    def client(self, *command: str, timeout: float = 120.0) -> str:
        """Run a command in the client's namespace; its output."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name("client"), *command],
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return done.stdout

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End one process that `spawn` started."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self._processes:
            self._processes.remove(process)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._remove()

    def _build(self) -> None:
        for space in ("client", "edge", "node1", "node2"):
            run("ip", "netns", "add", self.name(space))
            self._in(space, "ip", "link", "set", "lo", "up")
            for key, value in (
                # Contenders take turns, and their clocks' timestamps differ: what one leaves in
                # TIME_WAIT on a node keeps the next one's SYN from the same port waiting for a
                # second (RFC 6191).
                ("net.ipv4.tcp_max_tw_buckets", "0" if space.startswith("node") else "500"),
                # The edge leaves some to the kernel plane's fast path.
                ("net.ipv4.ip_local_port_range", f"{12000 if space == 'edge' else 1024} 65000"),
                ("net.ipv4.ip_forward", "1"),
            ):
                self._in(space, "sysctl", "-q", "-w", f"{key}={value}")
            self._set_congestion_control(space)
        for number, (other, edge_ip, other_ip) in enumerate(
            (
                ("client", EDGE_IP, CLIENT_IP),
                ("node1", "10.99.1.1", NODE_IPS[0]),
                ("node2", "10.99.2.1", NODE_IPS[1]),
            )
        ):
            near, far = f"{self.tag}e{number}", f"{self.tag}o{number}"
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
            for link, space, address in ((near, "edge", edge_ip), (far, other, other_ip)):
                run("ip", "link", "set", link, "netns", self.name(space))
                self._in(space, "ip", "addr", "add", f"{address}/24", "dev", link)
                self._in(space, "ip", "link", "set", link, "up")
            self._in(other, "ip", "route", "add", "default", "via", edge_ip)
        hops = [part for ip in NODE_IPS for part in ("nexthop", "via", ip)]
        self._in("edge", "ip", "route", "add", f"{SHARED_IP}/32", *hops)
        self._in("edge", "ip", "route", "add", IDLE_NETWORK, "via", NODE_IPS[0])
        self._in("edge", "sysctl", "-q", "-w", "net.ipv4.fib_multipath_hash_policy=1")
        for node in ("node1", "node2"):
            self._in(node, "ip", "addr", "add", f"{SHARED_IP}/32", "dev", "lo")
            folder = self.folder / node
            folder.mkdir()
            conf = folder / "nginx.conf"
            conf.write_text(NGINX_NODE.format(dir=folder, port=WEB_PORT))
            self.spawn(node, ["nginx", "-c", str(conf), "-e", "/dev/null", "-p", str(folder)])
            self.spawn(node, ["iperf3", "-s", "-p", str(BULK_PORT)])
        for ip in NODE_IPS:
            self.wait_for(ip, WEB_PORT)
            self.wait_for(ip, BULK_PORT)

    def wait_for(self, ip: str, port: int) -> None:
        """Wait until something listens there, seen from the client."""
        script = f"import socket; socket.create_connection(('{ip}', {port}), 1)"
        for _ in range(100):
            done = subprocess.run(
                ["ip", "netns", "exec", self.name("client"), "python3", "-c", script],
                check=False,
                capture_output=True,
            )
            if done.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"nobody listens on {ip}:{port}")

    def _set_congestion_control(self, space: str) -> None:
        """The same for all, and one that does not pace: a namespace may not have cubic."""
        for name in ("cubic", "reno"):
            done = subprocess.run(
                [
                    "ip",
                    "netns",
                    "exec",
                    self.name(space),
                    "sysctl",
                    "-q",
                    "-w",
                    f"net.ipv4.tcp_congestion_control={name}",
                ],
                check=False,
                capture_output=True,
            )
            if done.returncode == 0:
                self.congestion_control = name
                return

    def _in(self, space: str, *command: str) -> None:
        run("ip", "netns", "exec", self.name(space), *command)

    def _remove(self) -> None:
        for process in list(self._processes):
            self.end(process)
        for space in ("client", "edge", "node1", "node2"):
            run("ip", "netns", "del", self.name(space), check=False)
