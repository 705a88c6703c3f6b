"""The Host header check."""

import pytest

from nplb.web.access import host_is_allowed


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9090",
        "10.0.0.7:80",
        "localhost",
        "LOCALHOST:9090",
        "localhost.:9090",
        "[::1]",
        "[::1]:9090",
        "edge.example.org",
        "edge.example.org:443",
    ],
)
def test_one_of_ours(host: str) -> None:
    assert host_is_allowed(host, {"edge.example.org"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1:80:80",
        "[::1",
        "[::1]x",
        "[evil]",
        "localhost:x",
        "127.1",
        "0x7f000001",
    ],
)
def test_not_ours(host: str) -> None:
    assert not host_is_allowed(host, {"edge.example.org"})
