"""What `kubectl get` prints, cell by cell."""

from typing import Any

import pytest

from nplb.lab.api.schema import decode
from nplb.lab.api.tables import TABLES, cells, column_definitions
from nplb.lab.api.times import human_duration, timestamp
from nplb.lab.api.types import SCHEMA

NOW = 1_790_000_000.0


def _row(resource: str, kind: str, **fields: Any) -> list[Any]:
    metadata = {"name": "x", "creationTimestamp": timestamp(NOW - 90)}
    given = fields.pop("metadata", {})
    raw = {"metadata": {**metadata, **given}, **fields}
    return cells(resource, decode(SCHEMA[kind], raw), NOW)


@pytest.mark.parametrize(
    ("spec", "status", "external"),
    [
        ({"type": "NodePort"}, {}, "<none>"),
        ({"type": "LoadBalancer"}, {}, "<pending>"),
        (
            {"type": "LoadBalancer", "externalIPs": ["198.51.100.1"]},
            {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "a.example.com"}]}},
            "192.0.2.2,a.example.com,198.51.100.1",
        ),
        ({"type": "ExternalName", "externalName": "example.com"}, {}, "example.com"),
        ({"type": "ClusterIP", "externalIPs": ["198.51.100.1"]}, {}, "198.51.100.1"),
    ],
)
def test_external_ip_of_a_service(
    spec: dict[str, Any], status: dict[str, Any], external: str
) -> None:
    assert _row("services", "Service", spec=spec, status=status)[3] == external


def test_a_service() -> None:
    row = _row(
        "services",
        "Service",
        spec={
            "type": "NodePort",
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"],
            "selector": {"b": "2", "a": "1"},
            "ports": [
                {"port": 53, "protocol": "UDP", "nodePort": 30053},
                {"port": 80, "protocol": "TCP"},
            ],
        },
    )
    expected = ["x", "NodePort", "10.96.0.9", "<none>", "53:30053/UDP,80/TCP", "90s", "a=1,b=2"]
    assert row == expected


@pytest.mark.parametrize(
    ("conditions", "unschedulable", "status"),
    [
        ([{"type": "Ready", "status": "True"}], False, "Ready"),
        ([{"type": "Ready", "status": "False"}], True, "NotReady,SchedulingDisabled"),
        ([{"type": "Ready", "status": "Unknown"}], False, "NotReady"),
        ([], False, "Unknown"),
    ],
)
def test_the_status_of_a_node(
    conditions: list[dict[str, str]], unschedulable: bool, status: str
) -> None:
    row = _row(
        "nodes",
        "Node",
        metadata={"labels": {"node-role.kubernetes.io/worker": ""}},
        spec={"unschedulable": unschedulable},
        status={"conditions": conditions},
    )
    assert row[1:3] == [status, "worker"]


@pytest.mark.parametrize(
    ("metadata", "status", "ready", "reason"),
    [
        ({}, {"phase": "Pending"}, "0/1", "Pending"),
        (
            {},
            {"phase": "Running", "containerStatuses": [{"name": "c", "ready": True}]},
            "1/1",
            "Running",
        ),
        (
            {},
            {
                "phase": "Running",
                "containerStatuses": [
                    {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
                ],
            },
            "0/1",
            "CrashLoopBackOff",
        ),
        (
            {},
            {
                "phase": "Failed",
                "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}],
            },
            "0/1",
            "ExitCode:3",
        ),
        ({"deletionTimestamp": timestamp(NOW)}, {"phase": "Running"}, "0/1", "Terminating"),
    ],
)
def test_a_pod(metadata: dict[str, Any], status: dict[str, Any], ready: str, reason: str) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1"}
    row = _row("pods", "Pod", metadata=metadata, spec=spec, status=status)
    assert row[1:3] == [ready, reason]
    assert row[6] == "n1"


def test_long_lists_are_cut() -> None:
    row = _row(
        "endpointslices",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": [f"10.0.0.{i}"]} for i in range(1, 6)],
        ports=[{"name": "http", "port": 80}, {"name": "any"}],
    )
    assert row[1:4] == ["IPv4", "80,any", "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."]
    assert _row("endpointslices", "EndpointSlice", addressType="IPv4")[2:4] == ["<unset>"] * 2


def test_an_event_and_its_series() -> None:
    row = _row(
        "events",
        "Event",
        involvedObject={"kind": "Service", "name": "web"},
        reason="PortAlreadyAllocated",
        message="Port 30080 was assigned to multiple services",
        type="Warning",
        reportingComponent="portallocator-repair-controller",
        eventTime=timestamp(NOW - 3600),
        series={"count": 7, "lastObservedTime": timestamp(NOW - 30)},
    )
    assert row[:4] == ["30s", "Warning", "PortAlreadyAllocated", "service/web"]
    assert row[7:9] == ["60m", "7"]


def test_every_table_fills_its_columns() -> None:
    kinds = {
        "services": ("Service", {"spec": {"type": "ClusterIP"}}),
        "nodes": ("Node", {}),
        "pods": ("Pod", {}),
        "namespaces": ("Namespace", {}),
        "endpointslices": ("EndpointSlice", {}),
        "endpoints": ("Endpoints", {}),
        "configmaps": ("ConfigMap", {}),
        "leases": ("Lease", {}),
        "events": ("Event", {}),
    }
    assert set(kinds) == set(TABLES)
    for resource, (kind, fields) in kinds.items():
        row = _row(resource, kind, **fields)
        assert len(row) == len(column_definitions(resource)), resource


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1.5, "0s"),
        (-7, "<invalid>"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11000, "3h3m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (180000, "2d2h"),
        (691200, "8d"),
        (63072000, "2y"),
        (64072000, "2y11d"),
        (315360000, "10y"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
