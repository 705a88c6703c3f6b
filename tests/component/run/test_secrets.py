"""Secrets are planted wherever an operator may put one, nplb is driven through errors, a reload
and its end, and then everything that it said is searched for them."""

import asyncio
import json
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nplb.cli.bundle import collect, write_bundle
from nplb.lab.api.certificates import make_certificates
from tests.support.edge import Edge, clusters
from tests.support.fakeapi import FakeApi, answers, serving, status
from tests.support.reading import kubeconfig

# Each can be told from the others, and from everything else.
MARKS = {
    "kubeconfig token": "planted-kubeconfig-token-1a2b3c",
    "password of the server": "planted-server-password-4d5e6f",
    "password of the proxy": "planted-proxy-password-7a8b9c",
    "what an exec plugin complains of": "planted-plugin-stderr-0d1e2f",
    "what an exec plugin gives": "planted-plugin-output-3a4b5c",
    "the plugin's environment": "planted-plugin-variable-6d7e8f",
    "admin token": "planted-admin-token-9a0b1c2d",
    "reading token": "planted-reading-token-3e4f5a6b",
    "a wrong token": "planted-wrong-token-7c8d9e0f",
    "a password that nobody asked for": "planted-config-password-1f2e3d",
}
VERSION = "client.authentication.k8s.io/v1"
PAGES = (
    "/api/v1/status",
    "/api/v1/decisions",
    "/api/v1/ports",
    "/api/v1/drains",
    "/api/v1/openapi.json",
    "/api/v1/history",
    "/readyz?verbose",
    "/metrics",
    "/",
)


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with serving() as server:
        server.token = MARKS["kubeconfig token"]
        server.put("nodes", {"metadata": {"name": "a"}})
        yield server


def plugin(directory: Path, name: str, script: str) -> dict[str, Any]:
    file = directory / f"{name}.sh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    secret = {"name": "LOGIN_SECRET", "value": MARKS["the plugin's environment"]}
    return {"exec": {"command": f"./{name}.sh", "apiVersion": VERSION, "env": [secret]}}


def plant(directory: Path, fake: FakeApi) -> str:
    """Clusters whose credentials are all secret; returns them as the configuration has them."""
    complaint = MARKS["what an exec plugin complains of"]
    cat = json.dumps(
        {
            "apiVersion": VERSION,
            "kind": "ExecCredential",
            "status": {"token": MARKS["what an exec plugin gives"]},
        }
    )
    locked = f"http://user:{MARKS['password of the server']}@127.0.0.1:1"
    proxy = f"http://user:{MARKS['password of the proxy']}@127.0.0.1:1"
    made = {
        "good": kubeconfig(directory / "good", fake.url, {"token": fake.token}),
        "locked": kubeconfig(directory / "locked", locked, {"token": fake.token}),
        "proxied": kubeconfig(
            directory / "proxied", fake.url, {"token": fake.token}, **{"proxy-url": proxy}
        ),
        "complaining": kubeconfig(
            directory / "complaining",
            fake.url,
            plugin(directory, "complain", f"echo 'rejected: Bearer {complaint}' >&2; exit 1"),
        ),
        "garbled": kubeconfig(
            directory / "garbled",
            fake.url,
            plugin(directory, "garble", f"echo 'token: {complaint}'"),
        ),
        "refused": kubeconfig(
            directory / "refused", fake.url, plugin(directory, "give", f"cat <<'END'\n{cat}\nEND")
        ),
    }
    return clusters(**made)


def searched(texts: dict[str, str], *more: str) -> list[str]:
    """Which secret is where."""
    marks = {**MARKS, **{f"line {n} of the key": line for n, line in enumerate(more)}}
    return [
        f"{what} in {where}"
        for where, text in texts.items()
        for what, mark in marks.items()
        if mark in text
    ]


async def ask(edge: Edge, method: str, path: str, mark: str, **body: str) -> str:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {MARKS[mark]}"}) as session,
        session.request(method, f"http://{edge.admin}{path}", json=body or None) as answer,
    ):
        return f"{answer.status} {answer.headers} {await answer.text()}"


@pytest.mark.timeout(240)
async def test_no_secret_is_ever_shown(edge: Edge, fake: FakeApi, tmp_path: Path) -> None:
    for name, mark in (("admin-token", "admin token"), ("read-token", "reading token")):
        (tmp_path / name).write_text(f"{MARKS[mark]}\n")
        (tmp_path / name).chmod(0o600)
    admin = (
        f'{{listen: "{edge.admin}", token_file: admin-token, read_token_file: read-token, '
        "anonymous_read: loopback}"
    )
    edge.configure(plant(tmp_path, fake), admin=admin, log="{level: debug, format: json}")
    await edge.start()
    await edge.until(
        lambda s: sum(bool(source["error"]) for source in s["sources"]) == 5, "the errors"
    )
    # The API repeats what it was asked with, as a proxy on the way may do.
    echoing = f"no: Authorization: Bearer {fake.token}, token={fake.token}"
    fake.always(answers(500, status(500, echoing)))
    fake.hang_up()
    await edge.until(lambda s: all(source["error"] for source in s["sources"]), "the sixth error")
    answered = {
        f"{method} {path} with the {mark}": await ask(edge, method, path, mark, **body)
        for method, path, mark, body in (
            ("GET", "/api/v1/status", "a wrong token", {}),
            ("GET", "/api/v1/status", "reading token", {}),
            ("POST", "/api/v1/drains", "reading token", {"node": "a"}),
            ("POST", "/api/v1/drains", "admin token", {"node": "a", "cluster": "good"}),
            ("POST", "/api/v1/ports/check", "admin token", {"x": "y"}),
        )
    }
    # A reload that is refused, for a key that nobody knows, with a secret in it.
    good = edge.config_path.read_text()
    stray = f"password: {MARKS['a password that nobody asked for']}\n"
    edge.config_path.write_text(good + stray)
    edge.signal(signal.SIGHUP)
    await edge.until(lambda s: s["reload"]["refused"] == 1, "the refusal")
    pages = {path: (await edge.get(path))[1] for path in PAGES}
    assert all(pages.values())
    bundles = {"the bundle of a wrong configuration": await bundle(edge, tmp_path / "wrong.tar.gz")}
    edge.config_path.write_text(good)
    edge.signal(signal.SIGHUP)
    await edge.reloaded(2)
    bundles["the bundle"] = await bundle(edge, tmp_path / "right.tar.gz")
    edge.signal(signal.SIGTERM)
    assert await edge.ended() == 0
    bundles["the bundle of one that has ended"] = await bundle(edge, tmp_path / "ended.tar.gz")
    commands = (("check",), ("--debug", "plan", "--timeout", "3"))
    said = await asyncio.gather(*(command(edge, *arguments) for arguments in commands))
    texts = {**answered, **pages, **bundles, "commands": "".join(said), "the log": edge.log()}
    assert searched(texts) == []
    # It was looked at in earnest: the errors are there, the secrets were not.
    assert "[hidden]" in edge.log()
    assert "a wrong token from" in edge.log()
    assert "planted" not in edge.log()


async def command(edge: Edge, *arguments: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "nplb", *arguments, "--config", str(edge.config_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


async def bundle(edge: Edge, target: Path) -> str:
    """Everything in a support bundle, names included, and what it lacks."""
    made = await asyncio.to_thread(collect, f"http://{edge.admin}", edge.config_path)
    write_bundle(target, made)
    return "\n".join([*made.missing.values(), *unpacked(target)])


def unpacked(target: Path) -> list[str]:
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        texts = []
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            texts += [member.name, file.read().decode()]
    return texts


@pytest.mark.timeout(120)
async def test_a_key_that_is_wrong_stays_in_its_file(edge: Edge, tmp_path: Path) -> None:
    made, other = make_certificates(["127.0.0.1"]), make_certificates(["127.0.0.1"])
    (tmp_path / "admin.crt").write_text(made.certificate_pem)
    (tmp_path / "admin.key").write_text(other.key_pem)
    (tmp_path / "a.yaml").write_text("{}")
    edge.configure(
        "[{name: a, manifests: [a.yaml]}]",
        admin=f'{{listen: "{edge.admin}", tls: {{cert: admin.crt, key: admin.key}}}}',
    )
    await edge.start()
    assert await edge.ended() == 78
    lines = [line for line in other.key_pem.splitlines() if len(line) > 30 and "-" not in line]
    assert lines
    said = {"check": await command(edge, "check"), "the log": edge.log()}
    said["the bundle"] = await bundle(edge, tmp_path / "b.tar.gz")
    assert searched(said, *lines) == []
    assert "is not the key of" in edge.log()
