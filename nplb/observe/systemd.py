"""The service manager's notification protocol (sd_notify(3)): a datagram to a socket."""

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(*lines: str) -> bool:
    """Tell the service manager, if there is one. Returns whether it was told.

    `lines` are assignments such as `READY=1`. A service manager that can't be reached is
    logged and otherwise ignored: it is no reason to stop serving.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or not lines:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.sendall("\n".join(lines).encode())
    except OSError as error:
        log.warning("can't notify the service manager at %s: %s", path, error.strerror)
        return False
    return True


def watchdog_seconds() -> float | None:
    """How often to say WATCHDOG=1: half the time that the service manager allows."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 2e6 if microseconds.isdigit() and meant else None
