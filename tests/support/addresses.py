"""Addresses that behave in a certain way, on loopback, for tests of what connects to them."""

import contextlib
import errno
import socket
from collections.abc import Iterator

from nplb.model.keys import Address


def address_of(sock: socket.socket) -> Address:
    """Where a socket is bound."""
    name = sock.getsockname()
    return Address(name[0], name[1])


@contextlib.contextmanager
def listening(ip: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    """A socket that accepts connections into its queue, and that nobody serves."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.create_server((ip, port), family=family, backlog=128) as server:
        server.setblocking(False)
        yield server


@contextlib.contextmanager
def refusing(ip: str = "127.0.0.1") -> Iterator[Address]:
    """An address that refuses: its port is held, so nobody else gets it, but not listened on."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as holder:
        holder.bind((ip, 0))
        yield address_of(holder)


@contextlib.contextmanager
def silent(ip: str = "127.0.0.1") -> Iterator[Address]:
    """An address that never answers a SYN: its accept queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((ip, 0), backlog=0))
        where = server.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            assert filler.connect_ex(where) in (0, errno.EINPROGRESS)
        yield address_of(server)
