"""`nplb lab` as a person runs it: a process, its words, its kubeconfig, its end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from tests.support.lab import Networks
from tests.support.labmanifests import service

KUBECTL = shutil.which("kubectl")


class Process:
    """A running `nplb lab`, and commands beside it."""

    def __init__(self, networks: Networks, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("KUBECONFIG", "NPLB_LAB_KUBECONFIG")
        }
        self.networks = [
            f"--network={networks.nodes}",
            f"--pod-network={networks.pods}",
            f"--service-network={networks.services}",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nplb", "lab", *self.networks, *arguments],
            cwd=directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.words = ""
        for line in self.process.stdout:
            self.words += line
            if "Ctrl-C ends the lab" in line:
                break

    def tell(self, *arguments: str) -> Result:
        """A subcommand that talks to it."""
        kubeconfig = str(self.directory / ".nplb" / "lab.kubeconfig")
        return CliRunner().invoke(main, ["lab", "--kubeconfig", kubeconfig, *arguments])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another process beside it, in the same directory."""
        return subprocess.run(
            [sys.executable, "-m", "nplb", "lab", *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        assert KUBECTL is not None
        kubeconfig = self.directory / ".nplb" / "lab.kubeconfig"
        done = subprocess.run(
            [KUBECTL, "--kubeconfig", str(kubeconfig), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> int:
        """Ctrl-C. Returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def process(networks: Networks, tmp_path: Path) -> Iterator[Process]:
    running = Process(networks, tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()
    assert running.process.stdout is not None
    running.process.stdout.close()


def test_a_lab_from_its_start_to_its_end(process: Process, networks: Networks) -> None:
    kubeconfig = process.directory / ".nplb" / "lab.kubeconfig"
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    # What it says to try works.
    (curl,) = (line for line in process.words.splitlines() if "curl " in line)
    url = curl.strip().removeprefix("curl ")
    with urllib.request.urlopen(url) as answer:
        assert b"service web" in answer.read()
    assert f"{networks.node(1)} (zone-a)" in process.words
    assert "health check port" in process.words

    assert process.tell("fault", "node-2", "slow=50ms").output == "node/node-2 slow=50ms: on\n"
    assert process.tell("fault", "api", "html", "--for", "soon").exit_code == 2
    assert "on: node/node-2 slow=50ms" in process.tell("faults").output
    listed = json.loads(process.tell("nodes", "-o", "json").output)
    assert [node["name"] for node in listed["nodes"]] == ["node-1", "node-2", "node-3"]
    assert "node-4 at" in process.tell("add-node").output
    refused = process.tell("fault", "node-7", "refuse")
    assert refused.exit_code == 2
    assert process.tell("fault", "node-1", "explode").exit_code == 2
    assert "there are node-1, node-2, node-3" in refused.output
    assert process.tell("clear").output == "node/node-2 slow=50ms: off\n"
    assert process.tell("clear").output == "nothing was broken\n"

    second = process.run(*process.networks)
    assert second.returncode == 1
    assert "a lab runs already" in second.stderr
    elsewhere = process.run(*process.networks, "--kubeconfig", "other")
    assert elsewhere.returncode == 1
    assert "Choose another network with --network" in elsewhere.stderr

    assert process.end() == 0
    assert not kubeconfig.exists()
    ended = process.tell("nodes")
    assert ended.exit_code == 78
    assert "no lab runs here" in ended.output


@pytest.mark.kubectl
@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_kubectl_works_on_it(process: Process, networks: Networks) -> None:
    nodes = process.kubectl("get", "nodes", "-o", "wide")
    assert networks.node(3) in nodes
    assert nodes.count(" Ready ") == 3
    process.kubectl("create", "service", "nodeport", "hello", "--tcp=80:8080")
    process.kubectl("wait", "pod", "-l", "app=hello", "--for=condition=Ready", "--timeout=20s")
    pods = process.kubectl("get", "pods", "-l", "app=hello", "-o", "name").split()
    assert len(pods) == 2
    process.kubectl("delete", pods[0])  # waits until it is gone
    left = process.kubectl("get", "pods", "-l", "app=hello", "-o", "name").split()
    assert len(left) == 2
    assert pods[0] not in left
    assert "HealthCheck NodePort:" in process.kubectl("describe", "service", "front")
    assert process.end() == 0


def test_an_api_alone_says_how_to_use_it_and_how_to_end_it(
    networks: Networks, tmp_path: Path
) -> None:
    running = Process(networks, tmp_path, "--nodes=0")
    try:
        assert f"export KUBECONFIG={tmp_path / '.nplb' / 'lab.kubeconfig'}\n" in running.words
        assert "Ctrl-C ends the lab" in running.words
        assert running.end() == 0
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


def test_manifests_and_mistakes(networks: Networks, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: v1\nkind: Deployment\nmetadata: {name: x}\n")
    running = subprocess.run(
        [sys.executable, "-m", "nplb", "lab", f"--network={networks.nodes}", "-f", str(bad)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert running.returncode == 78
    assert f"{bad}:1:1: the lab has no Deployment of v1" in running.stderr
    assert running.stdout == ""
    bad.write_text(service("a", node_port=30080) + "\n---\n" + service("b", node_port=30080))
    refused = subprocess.run(
        [sys.executable, "-m", "nplb", "lab", f"--network={networks.nodes}", "-f", str(bad)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 78
    assert f'{bad}: Service "b" is invalid: spec.ports[0].nodePort' in refused.stderr
    outside = subprocess.run(
        [sys.executable, "-m", "nplb", "lab", "--network=10.0.0.0/24"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outside.returncode == 78
    assert "stays on loopback" in outside.stderr
