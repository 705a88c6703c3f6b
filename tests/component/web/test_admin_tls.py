"""The admin server over TLS: who is believed, what wrong files do, and certificates that change."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from nplb.lab.api.certificates import Certificates, make_certificates
from nplb.model.errors import ConfigurationError, HostPermissionError
from nplb.model.keys import Address
from nplb.model.settings import AdminSettings, AdminTls
from nplb.web.guard import Guards
from nplb.web.server import AdminServer
from nplb.web.tls import make_context
from tests.support.admin import serving
from tests.support.eventually import eventually
from tests.support.status import frontend, status
from tests.support.users import as_ordinary_user, make_open_dir

FIXED = Path(__file__).parents[2] / "support" / "tls"


def write(directory: Path, made: Certificates | None = None) -> Certificates:
    """The files of one authority: ca.pem, admin.crt and admin.key."""
    made = made or make_certificates(["127.0.0.1", "localhost"])
    (directory / "ca.pem").write_text(made.ca_pem)
    (directory / "admin.crt").write_text(made.certificate_pem)
    (directory / "admin.key").write_text(made.key_pem)
    return made


def tls(directory: Path, client_ca: Path | None = None) -> AdminTls:
    return AdminTls(cert=directory / "admin.crt", key=directory / "admin.key", client_ca=client_ca)


@contextlib.asynccontextmanager
async def running(settings: AdminTls, guards: Guards | None = None) -> AsyncIterator[AdminServer]:
    server = AdminServer(
        status=lambda: status(frontend()),
        listen=Address("127.0.0.1", 0),
        settings=AdminSettings(tls=settings),
        guards=guards,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def get(url: str, context: ssl.SSLContext) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
        await answer.read()
        return answer.status


def believing(ca_pem: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca_pem)


async def test_requests_of_all_sizes_are_answered(tmp_path: Path) -> None:
    made = write(tmp_path)
    async with running(tls(tmp_path)) as server:
        assert server.url.startswith("https://")
        context = believing(made.ca_pem)
        for path in ("/livez", "/metrics", "/api/v1/status", "/"):
            assert await get(server.url + path, context) == 200


async def test_nothing_below_tls_1_2_and_no_plain_http(tmp_path: Path) -> None:
    write(tmp_path)
    async with running(tls(tmp_path)) as server:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(aiohttp.ClientError):
            await get(server.url + "/livez", old)
        plain = server.url.replace("https://", "http://")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(plain + "/livez")


async def test_a_new_certificate_is_taken_and_half_a_one_is_not(tmp_path: Path) -> None:
    before = write(tmp_path)
    async with running(tls(tmp_path)) as server:
        assert await get(server.url + "/livez", believing(before.ca_pem)) == 200
        after = make_certificates(["127.0.0.1"])
        # The certificate has come, its key not yet: what was goes on.
        (tmp_path / "admin.crt").write_text(after.certificate_pem)
        assert await get(server.url + "/livez", believing(before.ca_pem)) == 200
        (tmp_path / "admin.key").write_text(after.key_pem)
        assert await get(server.url + "/livez", believing(after.ca_pem)) == 200
        with pytest.raises(aiohttp.ClientError):
            await get(server.url + "/livez", believing(before.ca_pem))


async def test_only_clients_of_the_ca_are_answered(tmp_path: Path) -> None:
    made = write(tmp_path)
    async with running(tls(tmp_path, FIXED / "ca.pem")) as server:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await get(server.url + "/livez", believing(made.ca_pem))
        context = believing(made.ca_pem)
        context.load_cert_chain(FIXED / "client.pem", FIXED / "client.key")
        assert await get(server.url + "/livez", context) == 200


async def test_clients_that_stop_in_the_handshake_are_ended_and_keep_nobody_out(
    tmp_path: Path,
) -> None:
    made = write(tmp_path)
    guards = Guards(max_connections=8, first_request_seconds=0.2)
    async with running(tls(tmp_path), guards) as server:
        silent = [socket.create_connection(("127.0.0.1", server.address.port)) for _ in range(20)]
        try:
            silent[0].sendall(b"\x16\x03\x01")  # the beginning of a handshake
            assert await get(server.url + "/livez", believing(made.ca_pem)) == 200
            await eventually(lambda: not guards.open, "no connection is left")
        finally:
            for sock in silent:
                sock.close()


async def test_a_server_that_stops_leaves_no_handshake_behind(tmp_path: Path) -> None:
    write(tmp_path)
    async with running(tls(tmp_path)) as server:
        with socket.create_connection(("127.0.0.1", server.address.port)) as sock:
            sock.setblocking(False)
            await asyncio.sleep(0)
            await server.stop()
            with contextlib.suppress(OSError):
                assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""


def _swap_key(directory: Path) -> None:
    other = make_certificates(["127.0.0.1"])
    (directory / "admin.key").write_text(other.key_pem)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / "admin.crt").unlink(), "admin.crt can't be read: No such file"),
        (lambda d: (d / "admin.crt").write_text("hello"), "admin.crt holds no PEM certificate"),
        (lambda d: (d / "admin.key").write_text("hello"), "admin.key holds no PEM private key"),
        (_swap_key, "admin.key is not the key of"),
        (lambda d: (d / "ca.pem").write_text("hello"), "ca.pem holds no PEM certificates"),
        (
            lambda d: (d / "admin.key").write_text(
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
            ),
            "is encrypted, and nobody is there",
        ),
    ],
)
async def test_wrong_files_are_named(tmp_path: Path, spoil: object, said: str) -> None:
    write(tmp_path)
    assert callable(spoil)
    spoil(tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        async with running(tls(tmp_path, tmp_path / "ca.pem")):
            pass


def test_a_key_that_may_not_be_read_is_a_matter_of_rights() -> None:
    with make_open_dir() as directory:
        write(directory)
        (directory / "admin.key").chmod(0)
        with as_ordinary_user(), pytest.raises(HostPermissionError, match="may not be read by"):
            make_context(tls(directory))


# -- commands -----------------------------------------------------------------


def nplb(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="nplb")


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[str]:
    write(tmp_path)
    with serving(status(frontend()), settings=AdminSettings(tls=tls(tmp_path))) as url:
        yield url


def test_commands_believe_the_ca_that_they_are_given(secured: str, tmp_path: Path) -> None:
    refused = nplb("status", "--admin", secured)
    assert refused.exit_code == 1
    assert "certificate verify failed" in refused.stderr
    done = nplb("status", "--admin", secured, "--ca-file", str(tmp_path / "ca.pem"))
    assert done.exit_code == 0, done.stderr
    missing = nplb("status", "--admin", secured, "--ca-file", str(tmp_path / "none.pem"))
    assert missing.exit_code == 78
    assert "none.pem: can't be read" in missing.stderr
    plain = nplb("status", "--admin", secured.replace("https", "http"))
    assert plain.exit_code == 1
    assert "if it speaks HTTPS (admin.tls), ask it by https://" in plain.stderr


def test_commands_believe_the_certificate_that_the_configuration_names(
    secured: str, tmp_path: Path
) -> None:
    config = tmp_path / "nplb.yaml"
    config.write_text(
        f"clusters: [{{name: a, manifests: [a.yaml]}}]\n"
        f"admin: {{listen: '{secured.removeprefix('https://')}', "
        "tls: {cert: admin.crt, key: admin.key}}\n"
    )
    done = nplb("status", "--config", str(config))
    assert done.exit_code == 0, done.stderr
    (tmp_path / "admin.crt").write_text(make_certificates(["127.0.0.1"]).certificate_pem)
    other = nplb("status", "--config", str(config))
    assert other.exit_code == 1
    assert "does not have the certificate of" in other.stderr


def test_check_looks_at_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    config = tmp_path / "nplb.yaml"
    text = "clusters: [{name: a, manifests: [.]}]\nadmin: {tls: {cert: admin.crt, key: KEY}}\n"
    (tmp_path / "a.yaml").write_text("")
    config.write_text(text.replace("manifests: [.]", "manifests: [a.yaml]").replace("KEY", "no"))
    done = nplb("check", str(config))
    assert done.exit_code == 78
    assert f"admin.tls.key: {tmp_path}/no can't be read: No such file" in done.output
    config.write_text("clusters: [{name: a, manifests: [a.yaml]}]\nadmin: {tls: {cert: a}}\n")
    assert "admin.tls.key is missing" in nplb("check", str(config)).output
