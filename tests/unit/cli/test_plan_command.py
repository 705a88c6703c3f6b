"""`nplb plan`: what would be served, read once and not applied."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main

CLUSTER = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  ports:
    - {name: http, port: 80, nodePort: 30080}
    - {name: dns, port: 53, nodePort: 30053, protocol: UDP}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-2, labels: {node.kubernetes.io/exclude-from-external-load-balancers: ""}}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-3}
status: {addresses: [{type: ExternalDNS, address: node-3.example.com}]}
"""


def plan(*args: str) -> Result:
    return CliRunner().invoke(
        main, ["plan", *args], env={"NPLB_CONFIG": None, "NPLB_OUTPUT": None, "KUBECONFIG": None}
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    path = tmp_path / "nplb.yaml"
    path.write_text(
        "clusters: [{name: lab, manifests: cluster.yaml}]\n"
        "frontends: [{service: 'shop/web:http', listen: '127.0.0.1:8080'}]\n"
        "state_dir: state\n"
    )
    return path


def test_the_plan_as_text(config: Path) -> None:
    result = plan("--config", str(config))
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "plan: 1 frontend through 2 nodes, 1 port not served"
    assert lines[2].split() == ["SERVICE", "LISTEN", "NODEPORT", "BALANCE", "NODES"]
    assert lines[3].split() == [
        "lab/shop/web:80",
        "(http)",
        "127.0.0.1:8080",
        "30080",
        "least_connections",
        "1/2",
    ]
    assert lines[4].startswith("  node-2  192.0.2.2:30080  draining  exclude_label")
    assert lines[5].startswith("  node-3                   left out  no_address")
    assert lines[-1].startswith("lab/shop/web:53/UDP  protocol")
    assert "node-1" not in result.output
    assert "node-1  192.0.2.1:30080  active    unprobed" in plan("-v", "-c", str(config)).output


def test_the_plan_as_json(config: Path) -> None:
    document = json.loads(plan("--config", str(config), "-o", "json").output)
    (frontend,) = document["plan"]["frontends"]
    assert frontend["key"]["text"] == "lab/shop/web:80/TCP"
    assert [b["state"] for b in frontend["backends"]] == ["active", "draining"]
    assert document["plan"]["skipped"][0]["reason"] == "protocol"


def test_what_the_file_names_in_vain_is_told(config: Path) -> None:
    set_ = ("--set", "frontends=[{service: shop/wed, slow_start: 5s}]")
    result = plan("--config", str(config), *set_)
    assert "override_unused  shop/wed" in result.output
    document = json.loads(plan("--config", str(config), *set_, "-o", "json").output)
    assert [finding["kind"] for finding in document["findings"]] == ["override_unused"]
    assert "override_unused" not in plan("--config", str(config)).output


def test_planning_writes_nothing(config: Path) -> None:
    before = sorted(config.parent.iterdir())
    assert plan("--config", str(config)).exit_code == 0
    assert sorted(config.parent.iterdir()) == before


def test_flags_change_the_plan(config: Path) -> None:
    result = plan("--config", str(config), "--set", "frontends=[]", "--set", "balance=maglev")
    assert "0.0.0.0:30080" in result.output
    assert "maglev" in result.output


def test_each_cluster_that_cannot_be_read_is_named(config: Path) -> None:
    config.write_text(
        "clusters:\n"
        "  - {name: a, manifests: absent.yaml}\n"
        "  - {name: b, kubernetes: {kubeconfig: absent}}\n"
        "  - {name: c, manifests: cluster.yaml}\n"
    )
    result = plan("--config", str(config))
    assert result.exit_code == 78
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["cluster a", "cluster b"]


def test_an_api_server_that_is_not_there(config: Path, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )
    )
    config.write_text("clusters: [{name: a, kubernetes: {kubeconfig: kubeconfig}}]\n")
    result = plan("--config", str(config))
    assert result.exit_code == 1
    assert result.stderr.startswith("nplb: cluster a: ")
    assert "127.0.0.1:1" in result.stderr
