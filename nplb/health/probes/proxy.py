"""The PROXY header of a probe, where the frontend sends one to its backends.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt: a version 2 header with the command
LOCAL is meant for health checks. Version 1 has no such word; it tells the probe's own addresses.
"""

from nplb.model.relay import SendProxy

_V2_LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


def proxy_header(version: SendProxy, local: tuple[str, int], remote: tuple[str, int]) -> bytes:
    """The bytes that go before everything else; empty without a header."""
    if version is SendProxy.V2:
        return _V2_LOCAL
    if version is SendProxy.V1:
        family = "TCP6" if ":" in remote[0] else "TCP4"
        return f"PROXY {family} {local[0]} {remote[0]} {local[1]} {remote[1]}\r\n".encode()
    return b""
