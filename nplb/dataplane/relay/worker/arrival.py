"""The first steps of a client on a guarded frontend: its PROXY header, and whether it may come
in."""

from _socket import MSG_PEEK
from select import EPOLLHUP, EPOLLRDHUP
from typing import TYPE_CHECKING

from nplb.dataplane.relay.proxy_header import V2_MAX, HeaderError, read_header
from nplb.dataplane.relay.worker.side import CONNECTING, HEADER
from nplb.model.reasons import EndReason

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.connection import Connection

HEADER_SECONDS = 3.0


def admit(conn: "Connection") -> None:
    """Take the client on a guarded frontend: read its PROXY header if it comes from a
    trusted proxy, then ask whether it may come in."""
    trusted = conn.frontend.trusted
    if trusted is not None and conn.address[0] in trusted:
        conn.state = HEADER
        conn.deadline = conn.loop.now + HEADER_SECONDS
        conn.loop.wake_at(conn, conn.deadline)
        read_proxy_header(conn)
    else:
        _ask(conn)


def read_proxy_header(conn: "Connection") -> None:
    """Look at what has come; take the header off the stream once it is whole."""
    sock = conn.client.sock
    try:
        data = sock.recv(V2_MAX, MSG_PEEK)
    except BlockingIOError:
        return
    except OSError:
        conn.close(EndReason.CLIENT_GONE, reset=True)
        return
    try:
        header = read_header(data)
    except HeaderError as error:
        text = f"{conn.frontend.name}: client {conn.address[0]}: {error}"
        conn.worker.log("warning", "proxy_header", text)
        conn.close(EndReason.PROXY_HEADER, reset=True)
        return
    if header is None:
        if not data or conn.ready & (EPOLLRDHUP | EPOLLHUP):  # there will be no more
            conn.close(EndReason.PROXY_HEADER, reset=True)
        return
    rest = header.size
    while rest:
        rest -= len(sock.recv(rest))
    if header.source is not None:
        conn.address = header.source
        conn.destination = header.destination
    conn.state = CONNECTING
    _ask(conn)


def _ask(conn: "Connection") -> None:
    """Whether the frontend has a place for this client; go on if it has."""
    frontend = conn.frontend
    worker = conn.worker
    admission = frontend.admission
    reason: EndReason | None = None
    if worker.max_connections and worker.open > worker.max_connections:
        reason = EndReason.LIMIT_TOTAL
    elif frontend.max_connections and frontend.open > frontend.max_connections:
        reason = EndReason.LIMIT_FRONTEND
    elif admission is not None:
        ip = conn.address[0]
        if not admission.admits_source(ip):
            reason = EndReason.SOURCE_DENIED
        elif admission.rate and not admission.admits_rate(ip, conn.loop.now):
            reason = EndReason.LIMIT_CLIENT_RATE
        elif admission.max_per_client:
            conn.counted = admission.take(ip)
            if not conn.counted:
                reason = EndReason.LIMIT_CLIENT
    if reason is not None:
        conn.close(reason, reset=True)
    else:
        conn.connect()
