"""The PROXY protocol on both sides, by ourselves and with HAProxy as the other one."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nplb.dataplane.relay.proxy_header import (
    TLV_CLUSTER,
    TLV_NAMESPACE,
    TLV_SERVICE,
    V2_MAX,
    read_header,
    write_v1,
    write_v2,
)
from nplb.model.keys import Address
from nplb.model.reasons import EndReason
from nplb.model.relay import RelayOptions, SendProxy
from tests.support.eventually import eventually
from tests.support.plans import make_frontend
from tests.support.relay import (
    applied,
    free_address,
    frontend_count,
    own_ip,
    running_plane,
    serving,
)

TRUSTED = "127.0.6.1"
CLIENT = ("203.0.113.7", 51234)
EDGE = ("198.51.100.1", 443)


async def tell_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what the PROXY header says of the client, then echo."""
    data = b""
    while (header := read_header(data)) is None:
        piece = await reader.read(V2_MAX)
        if not piece:
            return
        data += piece
    names = {kind: value.decode() for kind, value in header.tlvs}
    writer.write(f"{header.source} {header.destination} {names}\n".encode())
    writer.write(data[header.size :])
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def ask(address: Address, first: bytes, source: str | None = None) -> tuple[str, bytes]:
    """Send bytes and the end; the first line of the answer, and the rest."""
    local = (source, 0) if source else None
    reader, writer = await asyncio.open_connection(address.ip, address.port, local_addr=local)
    try:
        for at in range(0, len(first), 7):  # in pieces, as a network may cut it
            writer.write(first[at : at + 7])
            await writer.drain()
        writer.write_eof()
        line = (await reader.readline()).decode().strip()
        return line, await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("version", [SendProxy.V1, SendProxy.V2])
async def test_a_backend_learns_who_the_client_is(version: SendProxy) -> None:
    async with running_plane() as plane, serving(tell_header) as backend:
        options = RelayOptions(send_proxy=version, proxy_tlvs=True)
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        address = frontend.listen[0]
        reader, writer = await asyncio.open_connection(
            address.ip, address.port, local_addr=("127.0.9.1", 0)
        )
        name = writer.get_extra_info("sockname")
        writer.write(b"hello")
        names = {TLV_NAMESPACE: "default", TLV_SERVICE: "web", TLV_CLUSTER: "test"}
        tlvs = names if version is SendProxy.V2 else {}
        expected = f"{name[:2]} {(address.ip, address.port)} {tlvs}\n"
        assert (await reader.readline()).decode() == expected
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "ended")
        assert frontend_count(plane, frontend).bytes_in == 5  # the client's, not the header


@pytest.mark.parametrize("write", [write_v1, write_v2])
async def test_a_trusted_proxy_in_front_says_who_the_client_is(write: object) -> None:
    assert callable(write)
    async with running_plane() as plane, serving(tell_header) as backend:
        options = RelayOptions(
            accept_proxy_from=(TRUSTED,),
            send_proxy=SendProxy.V2,
            source_ranges=("203.0.113.0/24", "127.0.9.0/24"),
        )
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        address = frontend.listen[0]
        line, rest = await ask(address, write(CLIENT, EDGE) + b"payload", TRUSTED)
        assert line == f"{CLIENT} {EDGE} {{}}"
        assert rest == b"payload"
        # Who is not trusted is a client like any other.
        line, rest = await ask(address, b"GET /", "127.0.9.2")
        assert line.startswith("('127.0.9.2',")
        assert rest == b"GET /"


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x\r\n", b"PROXY TC", b""]
)
async def test_a_trusted_proxy_without_a_header_is_reset(first: bytes) -> None:
    async with running_plane() as plane, serving(tell_header) as backend:
        options = RelayOptions(accept_proxy_from=("127.0.6.0/24",))
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        with contextlib.suppress(ConnectionError):
            assert await ask(frontend.listen[0], first, TRUSTED) == ("", b"")
        ends = {EndReason.PROXY_HEADER: 1}
        await eventually(lambda: frontend_count(plane, frontend).ends == ends, "counted")


@contextlib.asynccontextmanager
async def haproxy(folder: Path, bind: str, server: str) -> AsyncIterator[None]:
    """HAProxy between the address in `bind` and that in `server`, each with its options."""
    conf = folder / "haproxy.cfg"
    conf.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"listen test\n bind {bind}\n server s {server}\n"
    )
    ip, _, port = bind.split(" ")[0].rpartition(":")
    command = shutil.which("haproxy")
    assert command is not None
    process = await asyncio.create_subprocess_exec(
        command, "-db", "-f", str(conf), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection(ip, int(port))
            except ConnectionError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            break
        yield
    finally:
        process.terminate()
        await process.wait()


needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="haproxy is not installed"
)


@needs_haproxy
@pytest.mark.parametrize("version", [SendProxy.V1, SendProxy.V2])
async def test_haproxy_understands_our_header(version: SendProxy, tmp_path: Path) -> None:
    """client -> nplb (writes) -> haproxy (reads, writes anew) -> server"""
    middle = free_address(own_ip())
    async with (
        running_plane() as plane,
        serving(tell_header) as backend,
        haproxy(tmp_path, f"{middle} accept-proxy", f"{backend} send-proxy-v2"),
    ):
        options = RelayOptions(send_proxy=version, proxy_tlvs=True)
        frontend = make_frontend(free_address(), [middle], relay=options)
        await applied(plane, frontend)
        line, rest = await ask(frontend.listen[0], b"payload", "127.0.9.3")
        assert line.startswith("('127.0.9.3',")
        assert f"('{frontend.listen[0].ip}', {frontend.listen[0].port})" in line
        assert rest == b"payload"


@needs_haproxy
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
async def test_we_understand_haproxys_header(version: str, tmp_path: Path) -> None:
    """client -> haproxy (writes) -> nplb (reads, writes anew) -> server"""
    front = free_address(own_ip())
    async with running_plane() as plane, serving(tell_header) as backend:
        options = RelayOptions(accept_proxy_from=("127.0.0.0/8",), send_proxy=SendProxy.V1)
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        async with haproxy(tmp_path, str(front), f"{frontend.listen[0]} {version}"):
            line, rest = await ask(front, b"payload", "127.0.9.4")
            assert line.startswith("('127.0.9.4',")
            assert f"('{front.ip}', {front.port})" in line
            assert rest == b"payload"
