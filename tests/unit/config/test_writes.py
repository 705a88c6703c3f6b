"""`writes`: nothing by default, and nothing that could only mislead clients."""

from pathlib import Path

import pytest

from nplb.config.errors import InvalidConfiguration
from nplb.config.load import Configuration, load_configuration
from nplb.model.settings import EdgePort, OnStop, WriteSettings


def read(tmp_path: Path, cluster: str, rest: str = "") -> Configuration:
    path = tmp_path / "nplb.yaml"
    path.write_text(f"clusters: [{{name: prod, {cluster}}}]\n{rest}\n")
    return load_configuration(path, env={})


def errors(tmp_path: Path, cluster: str, rest: str = "") -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        read(tmp_path, cluster, rest)
    return str(caught.value)


def test_nothing_is_written_unless_told(tmp_path: Path) -> None:
    [cluster] = read(tmp_path, "kubernetes: {}").settings.clusters
    assert cluster.writes == WriteSettings()
    assert not cluster.writes.any
    assert not cluster.load_balancer_unclassed


def test_everything_said(tmp_path: Path) -> None:
    writes = (
        "{status: true, events: true, advertise: [203.0.113.7, '2001:DB8::7', edge.example.org], "
        "on_stop: withdraw, lease_namespace: edges, lease_name: mine}"
    )
    listen = "listen: {load_balancer_port: service}"
    configuration = read(tmp_path, f"kubernetes: {{}}, writes: {writes}", listen)
    [cluster] = configuration.settings.clusters
    assert cluster.writes == WriteSettings(
        status=True,
        events=True,
        advertise=("203.0.113.7", "2001:db8::7", "edge.example.org"),
        on_stop=OnStop.WITHDRAW,
        lease_namespace="edges",
        lease_name="mine",
    )
    assert configuration.settings.listen.load_balancer_port is EdgePort.SERVICE
    assert not configuration.warnings


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ("kubernetes: {}, writes: {status: true}", "is no address that clients could use"),
        ("manifests: x.yaml, writes: {events: true}", "manifests can't be written to"),
        ("kubernetes: {}, writes: {advertise: 0.0.0.0}", "0.0.0.0 is no address that clients"),
        ("kubernetes: {}, writes: {advertise: Edge_1}", "neither an IP address nor a DNS name"),
        ("kubernetes: {}, writes: {advertise: '1.2.3.4:80'}", "has a port, write the address"),
        ("kubernetes: {}, writes: {on_stop: leave}", "must be keep or withdraw"),
    ],
)
def test_what_is_refused(tmp_path: Path, cluster: str, why: str) -> None:
    assert why in errors(tmp_path, cluster)


def test_an_address_without_the_port_that_goes_with_it_is_warned_of(tmp_path: Path) -> None:
    cluster = "kubernetes: {}, writes: {status: true, advertise: 203.0.113.7}"
    [warning] = read(tmp_path, cluster).warnings
    assert "set listen.load_balancer_port: service" in warning.message


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ("{allow: [balanse]}", 'did you mean "balance"?'),
        ("{allow: [listen]}", "names no annotation"),
        ("{allow: [nplb.io/send_proxy]}", 'did you mean "send-proxy"?'),
        ("{ports: [443, 99999]}", '"99999"'),
        ("{ports: [web]}", "is no port and no range of ports"),
    ],
)
def test_annotations_that_do_not_exist(tmp_path: Path, annotations: str, why: str) -> None:
    assert why in errors(tmp_path, "kubernetes: {}", f"annotations: {annotations}")


def test_annotations_and_ports(tmp_path: Path) -> None:
    rest = "annotations: {allow: [timeouts, edge-port], ports: [443, 8000-8999]}"
    annotations = read(tmp_path, "kubernetes: {}", rest).settings.annotations
    assert annotations.allow == ("timeouts", "edge-port")
    assert annotations.ports == ("443", "8000-8999")
