"""Makes a TCP socket on loopback deaf: what a packet filter that drops does, without root.

The kernel discards, without an answer, whatever arrives for a socket with a TTL below the
socket's IP_MINTTL (RFC 5082; `tcp_v4_rcv` in net/ipv4/tcp_ipv4.c). Packets on loopback carry
the system's default TTL, 64, so a minimum of 255 drops them all. On a listener that drops SYNs:
clients send them again and again until their own deadline, or connect when hearing is restored
meanwhile. On a connection nothing that arrives is acknowledged: the peer retransmits, and its
keepalive and TCP_USER_TIMEOUT see a dead path.
"""

import socket
from pathlib import Path

from nplb.model.errors import HostError

IP_MINTTL = 21  # linux/in.h; the socket module does not name it
_DEAF = 255
_DEFAULT_TTL = Path("/proc/sys/net/ipv4/ip_default_ttl")


def require_silence() -> None:
    """Raise HostError where a socket cannot be made deaf: the system sends with TTL 255."""
    try:
        ttl = int(_DEFAULT_TTL.read_text())
    except (OSError, ValueError):
        return
    if ttl >= _DEAF:
        raise HostError(
            f"silence cannot be played here: net.ipv4.ip_default_ttl is {ttl}, so no packet can "
            "be told apart by its TTL; set it back to 64"
        )


def deafen(sock: socket.socket) -> None:
    """Drop whatever arrives for this socket from now on. The caller still owns the socket."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, _DEAF)


def restore_hearing(sock: socket.socket) -> None:
    """Undo `deafen`. What peers still retransmit arrives now."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 0)
