"""`nplb ports` against files and a real admin server: text, JSON, exit codes, bad input."""

import json
import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nplb.alloc.host import ephemeral_finding
from nplb.alloc.ledger import Ledger
from nplb.alloc.portrange import parse_port_range
from nplb.cli import main
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.ledger import EdgeLedgerView, EdgePortView, EphemeralView
from nplb.sources.decode import decode_service
from nplb.sources.portbook import PortBook
from tests.support.admin import serving
from tests.support.builders import a_port, a_service, a_snapshot
from tests.support.status import NOW, frontend, status

ENV = {"NPLB_CONFIG": None, "NPLB_ADMIN": None, "NPLB_OUTPUT": None, "KUBECONFIG": None}

CLUSTER = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, ports: [{name: http, port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: db, namespace: shop}
  spec: {type: NodePort, ports: [{port: 5432, nodePort: 31432}]}
- apiVersion: v1
  kind: Service
  metadata: {name: old, namespace: test}
  spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ignored}
"""


def nplb(*args: str, text: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(main, args, env={**ENV, **env}, input=text, prog_name="nplb")


@pytest.fixture
def cluster(tmp_path: Path) -> str:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return str(path)


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    """A running nplb that has watched a cluster for two hours."""
    ledger = Ledger("prod", parse_port_range("30000-32767"))
    ledger.observe(a_snapshot([a_service("web", a_port(30080, name="http"))]), NOW - 7200)
    services = [
        a_service("lb", a_port(30087)),
        a_service("web", a_port(30080, name="http")),
        a_service("old", a_port(30080), namespace="test"),
    ]
    view = ledger.observe(a_snapshot(services), NOW, limited_to="namespaces default, test")
    ephemeral = EphemeralView(low=1024, high=65535, reserved="8080")
    overlap = ephemeral_finding(ephemeral, [ledger.port_range], NOW)
    assert overlap is not None
    edge = EdgeLedgerView(
        ports=(EdgePortView(address="0.0.0.0", port=30000, holder="prod/shop/web:80/TCP"),),
        ephemeral=ephemeral,
        findings=(overlap,),
    )
    with serving(replace(status(frontend()), ledgers=(view,), edge=edge)) as url:
        yield url


def manifest(tmp_path: Path, *services: dict[str, Any]) -> str:
    path = tmp_path / "new.yaml"
    path.write_text("\n---\n".join(json.dumps(one) for one in services))
    return str(path)


def service(name: str, *node_ports: int, namespace: str | None = "shop", **spec: Any) -> Any:
    ports = [
        {"name": f"p{i}", "port": 80 + i, **({"nodePort": n} if n else {})}
        for i, n in enumerate(node_ports)
    ]
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": "NodePort", "ports": ports, **spec},
    }


# -- the range -------------------------------------------------------------------


def test_shows_the_running_nplbs_ledger(admin: str) -> None:
    result = nplb("ports", "--admin", admin)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "prod: 30000-32767, 2 of 2,768 used (0.1%), 2,766 free"
    assert "only namespaces default, test is seen" in lines[1]
    assert any(line.split()[:5] == ["static", "30000-30085", "86", "1", "85"] for line in lines)
    assert any("+12.0 a day, full in " in line for line in lines)
    assert any(line.startswith("30064  ················!") for line in lines)
    assert any("30087   dynamic  default/lb" in line for line in lines)
    assert "Port 30080 was assigned to multiple services" in result.output
    assert "edge: frontends listen on 1 address; the kernel gives ports 1024" in result.output
    assert "sysctl -w net.ipv4.ip_local_reserved_ports=8080,30000-32767" in result.output
    assert "\x1b" not in result.output, "no colours where there is no terminal"


def test_the_same_as_json(admin: str) -> None:
    document = json.loads(nplb("ports", "--admin", admin, "-o", "json").output)
    (ledger,) = document["ledgers"]
    assert ledger["used"] == 2
    assert [band["free"] for band in ledger["bands"]] == [85, 2681]
    assert [e["number"] for e in ledger["entries"]] == [30080, 30087]
    holders = [holder["service"]["text"] for holder in ledger["entries"][0]["holders"]]
    assert holders == ["prod/default/web", "prod/test/old"]


def test_takes_files_for_a_cluster(cluster: str) -> None:
    result = nplb("ports", "--manifests", cluster, "--range", "30000-30100")
    assert result.exit_code == 0
    assert result.output.startswith("manifests: 30000-30100, 1 of 101 used")
    assert "Port 31432 is not within the port range 30000-30100" in result.output


def test_numbers_that_files_do_not_name_are_told(tmp_path: Path) -> None:
    path = manifest(tmp_path, service("a", 0), service("b", 30001))
    result = nplb("ports", "--manifests", path)
    assert "note: 1 Service of the manifests without nodePort" in result.output


def test_colours_and_glyphs_follow_the_output(cluster: str) -> None:
    runner = CliRunner()
    coloured = runner.invoke(main, ["ports", "--manifests", cluster], color=True, env=ENV)
    assert "\x1b[31m!" in coloured.output
    without = runner.invoke(
        main, ["ports", "--manifests", cluster], color=True, env={**ENV, "NO_COLOR": "1"}
    )
    assert "\x1b" not in without.output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--range", "1-2"], "--range goes with"),
        (["--manifests", "x", "--kubeconfig", "y"], "--manifests takes files"),
        (["--manifests", "/nowhere/at/all.yaml"], "there is no such file"),
        (["--admin", "127.0.0.1:1"], "or read a cluster itself: --kubeconfig PATH"),
        (["--kubeconfig", "/nowhere/config"], "/nowhere/config"),
    ],
)
def test_says_what_is_wrong_with_a_source(args: list[str], said: str) -> None:
    result = nplb("ports", *args)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_wrong_configuration_is_told_as_by_every_command(tmp_path: Path) -> None:
    config = tmp_path / "nplb.yaml"
    config.write_text("clusters: [{name: a, manifests: [x.yaml]}]\nlisten: {adress: 1}\n")
    text = json.dumps(service("a", 30001))
    result = nplb("ports", "check", "-f", "-", "--config", str(config), text=text)
    assert result.exit_code == 78
    assert result.output.startswith(f"nplb: {config}:2:")


def test_a_range_that_is_none_is_refused(cluster: str) -> None:
    result = nplb("ports", "--manifests", cluster, "--range", "200-100")
    assert result.exit_code == 78
    assert "end port cannot be less than start port: 200-100" in result.output


def test_a_cluster_that_is_not_there(admin: str) -> None:
    result = nplb("ports", "--admin", admin, "--cluster", "staging")
    assert result.exit_code == 1
    assert "no cluster staging: there are prod" in result.output


# -- one number --------------------------------------------------------------------


def test_shows_who_has_a_number(cluster: str) -> None:
    result = nplb("ports", "show", "30080", "--manifests", cluster)
    assert result.exit_code == 0
    assert "manifests: 30080 is in the static band, taken" in result.output
    assert "shop/web" in result.output
    assert "test/old" in result.output
    assert "assigned to multiple services" in result.output


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("30081", "30081 is in the static band, free\n  people choose"),
        ("32000", "32000 is in the dynamic band, free\n  automatic allocation draws"),
        ("8080", "8080 is outside of 30000-32767"),
    ],
)
def test_shows_what_a_free_number_is_for(cluster: str, number: str, said: str) -> None:
    assert said in nplb("ports", "show", number, "--manifests", cluster).output


def test_options_may_stand_before_the_subcommand(cluster: str) -> None:
    result = nplb("ports", "--manifests", cluster, "show", "31432")
    assert "shop/db" in result.output


def test_a_number_as_json(cluster: str) -> None:
    result = nplb("ports", "show", "31432", "--manifests", cluster, "-o", "json")
    document = json.loads(result.output)
    (one,) = document["clusters"]
    assert one["band"] == "dynamic"
    assert one["entry"]["holders"][0]["service"]["name"] == "db"
    assert nplb("ports", "show", "70000", "--manifests", cluster).exit_code == 2


# -- suggestions -------------------------------------------------------------------


def test_suggests_free_numbers(cluster: str) -> None:
    assert nplb("ports", "suggest", "--manifests", cluster).output == "30000\n"
    result = nplb("ports", "suggest", "-n", "2", "--band", "dynamic", "--manifests", cluster)
    assert result.output == "32767\n32766\n"
    result = nplb("ports", "suggest", "-n", "2", "--manifests", cluster, "-o", "json")
    assert json.loads(result.output) == {"band": "static", "numbers": [30000, 30001]}


def test_suggests_what_no_cluster_has(admin: str) -> None:
    result = nplb("ports", "suggest", "-n", "84", "--admin", admin)
    assert result.exit_code == 0
    assert "30080" not in result.output.split()
    assert result.output.split()[0] == "30001", "the edge listens on 30000"


def test_shows_what_the_edge_does_with_a_number(admin: str) -> None:
    result = nplb("ports", "show", "30000", "--admin", admin)
    assert "edge: prod/shop/web:80/TCP listens on it" in result.output


@pytest.mark.parametrize(
    ("port", "ours"), [("listening", True), ("another", False), ("in use by another", False)]
)
def test_a_listener_of_nplb_itself_is_told_from_others(port: str, ours: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        address = "0.0.0.0" if port != "another" else "192.0.2.1"
        in_use = Finding(
            kind=FindingKind.EDGE_PORT_IN_USE,
            severity=Severity.ERROR,
            cluster="prod",
            subject=f"prod/shop/web:80/TCP at {address}:{number}",
            text="in use",
            remedy="end it",
            since=NOW,
        )
        edge = EdgeLedgerView(
            ports=(EdgePortView(address=address, port=number, holder="prod/shop/web:80/TCP"),),
            findings=(in_use,) if port.startswith("in use") else (),
        )
        ledger = Ledger("prod", parse_port_range("30000-32767"))
        view = ledger.observe(a_snapshot([]), NOW)
        with serving(replace(status(frontend()), ledgers=(view,), edge=edge)) as url:
            result = nplb("ports", "show", str(number), "--admin", url)
    # Others may have the same number on another address.
    here = f" at 127.0.0.1:{number} "
    (line,) = (line for line in result.output.splitlines() if here in line)
    assert line.startswith("this host: ")
    assert ("this nplb" in line) is ours


def test_a_number_that_is_none_is_told(cluster: str) -> None:
    for text in ("abc", "70000", "http"):
        result = nplb("ports", "show", text, "--manifests", cluster)
        assert result.exit_code == 2
        assert f"{text!r} is no port: write a number from 0 to 65535" in result.stderr


def test_too_few_are_told_and_fail(cluster: str) -> None:
    result = nplb("ports", "suggest", "-n", "99", "--manifests", cluster)
    assert result.exit_code == 1
    assert "the static band has 85 free of the 99 wanted" in result.output
    assert len(result.output.splitlines()) == 86


# -- checking ----------------------------------------------------------------------


def test_checks_services_one_by_one(cluster: str, tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        service("a", 30001, 0),
        service("b", 30080),
        service("c", 30001),
        service("web", 0),
    )
    result = nplb("ports", "check", "-f", path, "--manifests", cluster)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "accepted  shop/a    p0 80/TCP -> 30001; p1 81/TCP -> one of 2,681 (dynamic band)",
        (
            'refused   shop/b    Service "b" is invalid: spec.ports[0].nodePort: Invalid value: '
            "30080: provided port is already allocated"
        ),
        (
            "                    30080 is held by shop/web (http 80/TCP) and test/old (80/TCP); "
            "30000 is free"
        ),
        (
            'refused   shop/c    Service "c" is invalid: spec.ports[0].nodePort: Invalid value: '
            "30001: provided port is already allocated"
        ),
        "                    30001 is taken by shop/a, which comes before it; 30000 is free",
        'refused   shop/web  services "web" already exists',
        "                    it exists: --as apply asks what an update would do",
        "4 Services: 1 accepted, 3 refused",
    ]


def test_all_accepted_exits_with_0(cluster: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, service("a", 30001), service("web", 0))
    result = nplb("ports", "check", "-f", path, "--manifests", cluster, "--as", "apply")
    assert result.exit_code == 0
    assert "shop/web  p0 80/TCP -> 30080, as it is" in result.output
    assert result.output.endswith("2 Services: all accepted\n")


def test_a_transaction_is_given_up_as_a_whole(cluster: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, service("a", 30001), service("b", 30080))
    result = nplb("ports", "check", "-f", path, "--manifests", cluster, "--transaction")
    assert result.exit_code == 1
    assert "given up  shop/a  p0 80/TCP -> 30001" in result.output
    assert result.output.endswith("2 Services: 1 refused, so none is taken\n")


def test_check_as_json(cluster: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, service("a", 0), service("b", 30080))
    result = nplb("ports", "check", "-f", path, "--manifests", cluster, "-o", "json")
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert document["accepted"] is False
    one, two = document["services"]
    assert one["place"].startswith(path)
    assert one["ports"][0]["drawn_from"] == {
        "band": "dynamic",
        "free": 2681,
        "numbers": "30086-31431, 31433-32767",
    }
    assert (two["code"], two["reason"]) == (422, "Invalid")
    assert two["message"].endswith("provided port is already allocated")


def test_reads_standard_input_and_the_namespace_option(cluster: str) -> None:
    text = json.dumps(service("a", 30001, namespace=None))
    result = nplb("ports", "check", "-f", "-", "-n", "team", "--manifests", cluster, text=text)
    assert result.output.startswith("accepted  team/a  ")


def test_a_risk_is_told(cluster: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, service("a", 0), service("b", 32000))
    result = nplb("ports", "check", "-f", path, "--manifests", cluster)
    assert result.exit_code == 0
    assert "a draw before it may have 32000 first, about 1 in 2,681" in result.output


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("kind: ConfigMap\napiVersion: v1\n", 1, "no Service in it"),
        ("a: [", 78, "<stdin>:1:"),
        ("- 5\n", 78, "<stdin>:1:1: this is no Kubernetes object"),
        ("", 1, "no Service in it"),
        ('{"kind": "Service", "apiVersion": "v1"}', 1, "name or generateName is required"),
        (
            (
                '{"kind": "Service", "apiVersion": "v1", "metadata": {"name": "a"}, '
                '"spec": {"ports": [{"port": "x"}]}}'
            ),
            1,
            "cannot be handled as a Service: json: cannot unmarshal string",
        ),
    ],
)
def test_bad_input_is_told(cluster: str, text: str, code: int, said: str) -> None:
    result = nplb("ports", "check", "-f", "-", "--manifests", cluster, text=text)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there_is_a_usage_error(cluster: str, tmp_path: Path) -> None:
    path = str(tmp_path / "absent.yaml")
    result = nplb("ports", "check", "-f", path, "--manifests", cluster)
    assert result.exit_code == 2
    assert f"there is no {path}" in result.stderr


def test_what_is_no_service_is_passed_over_with_a_note(cluster: str, tmp_path: Path) -> None:
    others = [{"apiVersion": "apps/v1", "kind": kind} for kind in ("Deployment", "Secret")]
    path = manifest(tmp_path, others[0], service("a", 30001), others[1], others[0])
    result = nplb("ports", "check", "-f", path, "--manifests", cluster)
    assert result.exit_code == 0
    assert "note: passed over, for they are no Services: 2 Deployment, 1 Secret" in result.stderr


def test_several_clusters_need_a_name(tmp_path: Path, cluster: str) -> None:
    config = tmp_path / "nplb.yaml"
    config.write_text(
        f"clusters:\n- {{name: a, manifests: [{cluster}]}}\n- {{name: b, manifests: [{cluster}]}}\n"
        "listen: {port: service}\n"
    )
    path = manifest(tmp_path, service("a", 30001))
    result = nplb("ports", "check", "-f", path, "--config", str(config))
    assert result.exit_code == 2
    assert "--cluster one of a, b" in result.output
    result = nplb("ports", "check", "-f", path, "--config", str(config), "--cluster", "b")
    assert result.exit_code == 0, result.output


def test_a_configured_clusters_port_book_is_known(tmp_path: Path) -> None:
    files = manifest(tmp_path, service("auto", 0))
    config = tmp_path / "nplb.yaml"
    config.write_text(
        f"clusters: [{{name: a, manifests: [{files}]}}]\nstate_dir: {tmp_path / 'state'}\n"
    )
    book = PortBook(
        tmp_path / "state" / "ports" / "a.json",
        parse_port_range("30000-32767"),
        random.Random(1),
    )
    given = book.assign([decode_service(service("auto", 0), cluster="a")])
    number = given.services[0].ports[0].node_port
    asks = tmp_path / "asks"
    asks.mkdir()
    path = manifest(asks, service("b", number))
    result = nplb("ports", "check", "-f", path, "--config", str(config))
    assert result.exit_code == 1
    assert f"{number} is held by shop/auto" in result.output
