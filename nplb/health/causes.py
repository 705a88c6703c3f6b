"""What an error number says about a probe, and whose fault it is. Pure.

A connect fails either at once, in the call, or later, by what the network answered. The same
number can mean different things: an unknown error in the call is the edge's own, an unknown
one from the network is the way to the backend. Only what came from there may count against
a backend.
"""

import errno
import os

from nplb.model.reasons import Cause

_FROM_NETWORK: dict[int, Cause] = {
    errno.ECONNREFUSED: Cause.REFUSED,
    errno.ETIMEDOUT: Cause.TIMEOUT,
    errno.ECONNRESET: Cause.RESET,
    errno.ECONNABORTED: Cause.RESET,
    errno.EPIPE: Cause.RESET,
    errno.EHOSTUNREACH: Cause.UNREACHABLE,
    errno.ENETUNREACH: Cause.UNREACHABLE,
    errno.EHOSTDOWN: Cause.UNREACHABLE,
}

_LOCAL: dict[int, str] = {
    errno.EMFILE: "this process is out of file descriptors; raise its limit (LimitNOFILE=)",
    errno.ENFILE: "the system is out of file descriptors; raise fs.file-max",
    errno.ENOBUFS: "the system is out of network buffers",
    errno.ENOMEM: "the system is out of memory",
    errno.EADDRNOTAVAIL: (
        "no local port or address is free for this destination; "
        "widen net.ipv4.ip_local_port_range, or see whether the address family is configured"
    ),
    errno.EACCES: "the system forbids it; look at local firewall rules and security modules",
    errno.EPERM: "the system forbids it; look at local firewall rules",
    errno.EAFNOSUPPORT: "the edge has no such address family; is IPv6 turned off?",
    errno.ENETDOWN: "the edge's own network is down",
    errno.EINVAL: "the system does not take this address",
}


def classify(number: int, *, at_once: bool) -> tuple[Cause, str]:
    """The cause and a detail for a person, from an error number; 0 is success.

    `at_once` says that the call itself failed, not what the network answered later.
    """
    if number == 0:
        return Cause.CONNECTED, ""
    name = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
    cause = _FROM_NETWORK.get(number)
    if cause is not None:
        return cause, name
    if at_once or number in _LOCAL:
        remedy = _LOCAL.get(number)
        return Cause.LOCAL_ERROR, f"{name}: {remedy}" if remedy else name
    return Cause.UNREACHABLE, name
