"""Network namespaces for tests: made, joined and removed again, whatever happens.

A `Namespace` is entered by the thread that calls: sockets made inside belong to it wherever
they are used later, and commands run inside see nothing else. Needs root.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from nplb.model.keys import Address

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

requires_namespaces = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nft") is None,
        reason="needs root, iproute2 and nftables: network namespaces",
    ),
]


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@dataclass(frozen=True)
class Namespace:
    """One network namespace, by its name in `ip netns`."""

    name: str

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let the calling thread live in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(there)
            os.close(home)

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a command in it; returns its output."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def sysctl(self, key: str, value: str) -> None:
        """Set a sysctl of this namespace."""
        self.run("sysctl", "-qw", f"{key}={value}")


@contextlib.contextmanager
def namespaces(*roles: str) -> Iterator[dict[str, Namespace]]:
    """New namespaces with unique names, loopback up; removed at the end."""
    unique = uuid.uuid4().hex[:8]
    made: dict[str, Namespace] = {}
    try:
        for role in roles:
            name = f"nplb-{unique}-{role}"
            subprocess.run(["ip", "netns", "add", name], check=True)
            made[role] = Namespace(name)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield made
    finally:
        for namespace in made.values():
            subprocess.run(["ip", "netns", "del", namespace.name], check=False)


def join(
    one: Namespace, other: Namespace, label: str, ips: tuple[str, str], six: tuple[str, str]
) -> None:
    """A virtual cable between two namespaces: an interface named after the other side's label
    in each, with an IPv4 address (/24) and an IPv6 address (/64)."""
    near, far = f"to-{label}", "to-edge"
    batch = [
        f"link add {near} netns {one.name} type veth peer name {far} netns {other.name}",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(batch), text=True, check=True)
    for namespace, device, ip, ip6 in (
        (one, near, ips[0], six[0]),
        (other, far, ips[1], six[1]),
    ):
        lines = [
            f"addr add {ip}/24 dev {device}",
            f"addr add {ip6}/64 dev {device} nodad",
            f"link set {device} up",
        ]
        subprocess.run(
            ["ip", "-n", namespace.name, "-batch", "-"],
            input="\n".join(lines),
            text=True,
            check=True,
        )


@dataclass
class Site:
    """A client, an edge and nodes: the client and each node have a cable to the edge, and
    reach everything else through it. Node n is 10.72.n.2 and fd72:n::2; the client is
    10.71.0.2 and fd71::2; the edge is .1 on every cable."""

    client: Namespace
    edge: Namespace
    nodes: list[Namespace]
    stack: contextlib.ExitStack = field(repr=False, default_factory=contextlib.ExitStack)

    edge_ip = "10.71.0.1"
    edge_ip6 = "fd71::1"
    client_ip = "10.71.0.2"

    def node_ip(self, number: int, *, six: bool = False) -> str:
        """The address of a node, counted from 1."""
        return f"fd72:{number}::2" if six else f"10.72.{number}.2"


@contextlib.contextmanager
def site(nodes: int = 2, *, forwarding: bool = True) -> Iterator[Site]:
    """A `Site` of its own."""
    roles = [f"node{n}" for n in range(1, nodes + 1)]
    with namespaces("client", "edge", *roles) as made, contextlib.ExitStack() as stack:
        found = Site(made["client"], made["edge"], [made[role] for role in roles], stack)
        edge = made["edge"]
        join(edge, made["client"], "client", ("10.71.0.1", "10.71.0.2"), ("fd71::1", "fd71::2"))
        _default_route(made["client"], "10.71.0.1", "fd71::1")
        for number, role in enumerate(roles, 1):
            here, there = f"10.72.{number}.1", f"10.72.{number}.2"
            join(edge, made[role], role, (here, there), (f"fd72:{number}::1", f"fd72:{number}::2"))
            _default_route(made[role], here, f"fd72:{number}::1")
        if forwarding:
            edge.sysctl("net.ipv4.ip_forward", "1")
            edge.sysctl("net.ipv6.conf.all.forwarding", "1")
        yield found


@contextlib.contextmanager
def greeting_site() -> Iterator[Site]:
    """A `Site` of its own whose two nodes greet, as `one` and `two`, on NodePort 30080."""
    with (
        site() as here,
        Greeter(here.nodes[0], 30080, "one"),
        Greeter(here.nodes[1], 30080, "two"),
    ):
        yield here


def _default_route(namespace: Namespace, via: str, via6: str) -> None:
    lines = f"route add default via {via}\nroute add ::/0 via {via6}\n"
    subprocess.run(["ip", "-n", namespace.name, "-batch", "-"], input=lines, text=True, check=True)


class Greeter:
    """A server in a namespace, on one port of both families: TCP clients are told its name and
    the address it sees them at, then get back what they send; each UDP datagram is answered
    with the same greeting. `accepted` counts TCP clients."""

    def __init__(self, namespace: Namespace, port: int, name: str) -> None:
        self.name = name
        self.accepted = 0
        self.seen: list[str] = []
        self._sockets: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        with namespace.entered():
            self._stream = socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256
            )
            self._datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            self._datagram.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self._datagram.bind(("::", port))
        self._closing = False
        self._threads = [
            threading.Thread(target=self._accept, daemon=True),
            threading.Thread(target=self._answer, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing = True
        for each in (self._stream, self._datagram, *self._clients):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _greeting(self, peer: tuple[str, int]) -> bytes:
        ip = peer[0].removeprefix("::ffff:")
        self.seen.append(ip)
        return f"{self.name} {ip}\n".encode()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, peer = self._stream.accept()
            except OSError:
                return
            self.accepted += 1
            self._clients.append(client)
            thread = threading.Thread(target=self._echo, args=(client, peer[:2]), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _echo(self, client: socket.socket, peer: tuple[str, int]) -> None:
        with client, contextlib.suppress(OSError):
            client.sendall(self._greeting(peer))
            while data := client.recv(65536):
                client.sendall(data)

    def _answer(self) -> None:
        while not self._closing:
            try:
                _, peer = self._datagram.recvfrom(2048)
                if not self._closing:
                    self._datagram.sendto(self._greeting(peer[:2]), peer)
            except OSError:
                return


def dial(
    namespace: Namespace, to: Address, *, timeout: float = 5.0, source: str = ""
) -> socket.socket:
    """A TCP connection from a namespace, its greeting not read yet."""
    with namespace.entered():
        return socket.create_connection(
            (to.ip, to.port), timeout, source_address=(source, 0) if source else None
        )


def greeting(sock: socket.socket) -> tuple[str, str]:
    """The server's name, and the address at which it sees the client."""
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(256)
        assert piece, "closed before a greeting"
        data += piece
    name, ip = data.decode().split()
    return name, ip


def greet(namespace: Namespace, to: Address, **options: str) -> tuple[str, str]:
    """Connect, read the greeting, close."""
    with dial(namespace, to, source=options.get("source", "")) as sock:
        return greeting(sock)


async def served(
    namespace: Namespace, times: int, to: Address = Address("10.71.0.1", 443), **options: str
) -> Counter[str]:
    """How often each node greeted."""

    def run() -> Counter[str]:
        return Counter(greet(namespace, to, **options)[0] for _ in range(times))

    return await asyncio.to_thread(run)


def _bind(sock: socket.socket, port: int) -> None:
    """A port that a closed socket had is taken for as long as a fork of this process, which has
    not executed its program yet, holds that socket too."""
    deadline = time.monotonic() + 20
    while True:
        try:
            sock.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def ask(namespace: Namespace, to: Address, timeout: float = 2.0, port: int = 0) -> tuple[str, str]:
    """One UDP question from a namespace; `port` is the client's own."""
    family = socket.AF_INET6 if ":" in to.ip else socket.AF_INET
    with namespace.entered():
        sock = socket.socket(family, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(timeout)
        if port:
            _bind(sock, port)
        sock.connect((to.ip, to.port))
        sock.send(b"?")
        name, ip = sock.recv(2048).decode().split()
    return name, ip
