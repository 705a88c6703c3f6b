"""`nplb ports check` on a live API says of each Service what `kubectl create` says then."""

import asyncio
import json
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from nplb.lab.api.errors import ApiError
from nplb.lab.cluster import Lab
from tests.support.golden import load

KUBECTL = shutil.which("kubectl")
ENV = {"NPLB_CONFIG": None, "NPLB_ADMIN": None, "NPLB_OUTPUT": None, "KUBECONFIG": None}


class Careful(random.Random):
    """Dice that never draw one of the first numbers of the dynamic band: the recording asks for
    some of them, and a draw that is first there would be another story."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        drawn = super().randrange(start, stop, step)
        return max(drawn, 100) if (start, stop) == (2682, None) else drawn


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """An API server alone."""
    async with Lab(nodes=0, kubeconfig=tmp_path / "lab.kubeconfig", rng=Careful(1)) as running:
        yield running


def nplb(*args: str) -> Result:
    return CliRunner().invoke(main, args, env=ENV, prog_name="nplb")


def kubectl_create(kubeconfig: Path, file: Path, namespace: str) -> tuple[int, str]:
    """The exit code, and what kubectl says. Its own validation is off: the server is asked."""
    assert KUBECTL is not None
    done = subprocess.run(
        [
            *(KUBECTL, "--kubeconfig", str(kubeconfig), "create", "--validate=false"),
            *("-n", namespace, "-f", str(file)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.strip()


def as_kubectl_says(message: str, name: str) -> str:
    """An API server's message in kubectl's frame: several causes become a list."""
    start = f'Service "{name}" is invalid: '
    if not message.startswith(start):
        return message
    causes = message.removeprefix(start)
    if causes.startswith("["):
        causes = "\n* " + causes[1:-1].replace(", spec.", "\n* spec.")
    return f'The Service "{name}" is invalid: {causes}'


def creates() -> list[dict[str, Any]]:
    """The recorded creates that a file can hold."""
    return [
        exchange
        for exchange in load("02-service-create.json")
        if exchange["request"]["method"] == "POST"
        and isinstance(exchange["request"]["body"], dict)
        and "dryRun" not in exchange["request"]["path"]
    ]


@pytest.mark.kubectl
@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
async def test_check_says_what_kubectl_create_says_then(
    lab: Lab, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    refused = 0
    for number, exchange in enumerate(creates()):
        body = exchange["request"]["body"]
        namespace = exchange["request"]["path"].split("/")[4]
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(body))
        told = await asyncio.to_thread(
            nplb, "ports", "check", "-f", str(file), "-n", namespace, "-o", "json",
            "--kubeconfig", str(lab.kubeconfig_path),
        )  # fmt: skip
        (answer,) = json.loads(told.output)["services"]
        if answer["accepted"]:
            assert told.exit_code == 0
            lab.api.create("services", body, namespace)
            continue
        refused += 1
        assert told.exit_code == 1
        with pytest.raises(ApiError) as caught:
            lab.api.create("services", body, namespace)
        assert answer["message"] == str(caught.value)
        assert answer["message"] == exchange["response"]["body"]["message"]
        code, said = await asyncio.to_thread(kubectl_create, lab.kubeconfig_path, file, namespace)
        assert code == 1
        assert said.endswith(as_kubectl_says(answer["message"], body["metadata"]["name"]))
    assert refused == 24
    record_property("told", f"nplb ports check: {refused} of 24 refusals as kubectl create says")


async def test_ports_of_a_live_cluster(lab: Lab) -> None:
    for name, number in (("web", 30080), ("old", 31000)):
        spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]}
        lab.api.create("services", {"metadata": {"name": name}, "spec": spec}, "default")
    config = ["--kubeconfig", str(lab.kubeconfig_path)]
    shown = await asyncio.to_thread(nplb, "ports", *config)
    assert shown.exit_code == 0, shown.output
    assert "2 of 2,768 used" in shown.output
    assert "default/web" in shown.output
    one = await asyncio.to_thread(nplb, "ports", "show", "31000", *config)
    assert "default/old" in one.output
    free = await asyncio.to_thread(nplb, "ports", "suggest", "-n", "81", *config)
    assert free.output.split()[-1] == "30081"
