"""Whatever comes to the admin port: an answer, or the end of the connection; never an error of
ours, and the next one is served."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nplb.web.access import host_is_allowed
from tests.support.admin import serving
from tests.support.status import frontend, status

PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"GET /api/v1/status HTTP/1.1\r\n",
            b"GET /api/v1/frontend?key=%00%ff HTTP/1.1\r\n",
            b"GET /api/v1/node?cluster=&name=../.. HTTP/1.1\r\n",
            b"GET /static/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n",
            b"GET /static/..%2f..%2fserver.py HTTP/1.1\r\n",
            b"POST /api/v1/drains HTTP/1.1\r\n",
            b"POST /api/v1/ports/check?as=x HTTP/1.1\r\n",
            b"DELETE /api/v1/drains/%00/%ff HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"Host: localhost\r\n",
            b"Host: evil.example\r\n",
            b"Host: localhost\r\nHost: evil.example\r\n",
            b"Authorization: Bearer \xff\xfe\r\n",
            b"Authorization: Basic AAAA\r\n",
            b"Origin: null\r\n",
            b"Origin: http://[::1\r\n",
            b"Sec-Fetch-Site: cross-site\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"Content-Length: -1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Type: application/json\r\n",
            b"Accept: text/event-stream;q=nan\r\n",
            b"Accept-Encoding: gzip;q=2, \xff\r\n",
            b"Last-Event-ID: \xb2\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"5\r\n[[[[[\r\n0\r\n\r\n",
        ]
    ),
)


LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def admin() -> Iterator[tuple[str, int]]:
    with serving(status(frontend())) as url:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


def say(address: tuple[str, int], data: bytes, *, finish: bool = True) -> bytes:
    """Say it, and hear what comes until the server ends the connection. `finish`: say that
    there is no more to come, which ends a request that waits for more."""
    heard = b""
    with socket.create_connection(address, timeout=10) as sock:
        try:
            sock.sendall(data)
            if finish:
                sock.shutdown(socket.SHUT_WR)
            while len(heard) < 65536 and (more := sock.recv(65536)):
                heard += more
        except (ConnectionError, BrokenPipeError):
            pass
    return heard


@settings(max_examples=60)
@given(pieces=st.lists(PIECES, max_size=8))
def test_any_bytes_leave_a_server_that_serves(admin: tuple[str, int], pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    if b"/api/v1/events" not in data:
        heard = say(admin, data)
        assert b" 500 " not in heard.partition(b"\r\n")[0]
    alive = say(admin, LIVEZ, finish=False)
    assert alive.startswith(b"HTTP/1.1 200 ")


@given(st.text(max_size=40) | st.from_regex(r"\[?[0-9a-f:.]{0,20}\]?:?[0-9]{0,6}", fullmatch=True))
def test_any_host_is_one_of_ours_or_not(host: str) -> None:
    assert host_is_allowed(host) in (True, False)
    if host_is_allowed(host):
        assert "localhost" in host.lower() or any(c.isdigit() or c == ":" for c in host)
