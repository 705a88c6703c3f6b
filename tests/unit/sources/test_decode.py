"""Raw objects become the model's, exactly as the API documents defaults and oddities."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nplb.model.cluster import NodeAddress, ServiceType, Taint, TrafficPolicy
from nplb.model.errors import ClusterError
from nplb.model.keys import Protocol, ServiceKey
from nplb.sources.decode import DecodeError, decode_node, decode_service, decode_slice

GOLDEN = Path(__file__).parents[2] / "golden" / "kube-apiserver-1.36"


def recorded(kind: str) -> Iterator[dict[str, Any]]:
    """Every object of a kind that the recorded API server answered with."""

    def walk(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if value.get("kind") == kind and "uid" in value.get("metadata", {}):
                yield value
            if value.get("kind") == f"{kind}List":
                yield from value["items"]
            for key, inner in value.items():
                if key != "request":
                    yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    for file in sorted(GOLDEN.glob("*.json")):
        yield from walk(json.loads(file.read_text()))


def recorded_one(kind: str, name: str) -> dict[str, Any]:
    return next(raw for raw in recorded(kind) if raw["metadata"]["name"] == name)


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": spec}


def node(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": spec, "status": status}


def piece(endpoints: object = None, ports: object = None, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": "web-1", "labels": labels},
        "endpoints": endpoints,
        "ports": ports,
    }


class TestService:
    def test_everything_a_real_server_answered_decodes_without_a_warning(self) -> None:
        warnings: list[str] = []
        services = [
            decode_service(r, cluster="c", warn=warnings.append) for r in recorded("Service")
        ]
        assert len(services) > 50
        assert warnings == []

    def test_a_recorded_service(self) -> None:
        decoded = decode_service(recorded_one("Service", "lb"), cluster="prod")
        assert decoded.key == ServiceKey("prod", "default", "lb")
        assert decoded.type is ServiceType.LOAD_BALANCER
        assert decoded.uses_node_ports
        assert 30000 <= decoded.ports[0].node_port <= 32767
        assert decoded.ip_families == ("IPv4",)
        assert decoded.cluster_ips[0].startswith("10.96.")
        assert decoded.selector == {"app": "lb"}
        assert decoded.created is not None
        assert decoded.created > 1_700_000_000
        assert not decoded.deleting

    def test_recorded_affinity(self) -> None:
        decoded = decode_service(recorded_one("Service", "affinity"), cluster="c")
        assert decoded.affinity_seconds == 10800

    def test_a_local_load_balancer_has_its_health_check_port(self) -> None:
        local = [
            decoded
            for raw in recorded("Service")
            if (decoded := decode_service(raw, cluster="c")).needs_health_check_node_port
        ]
        assert local
        assert all(30000 <= decoded.health_check_node_port <= 32767 for decoded in local)

    def test_absent_and_null_are_the_documented_defaults(self) -> None:
        nulls: dict[str, Any] = dict.fromkeys(
            (
                "type",
                "ports",
                "selector",
                "clusterIPs",
                "clusterIP",
                "ipFamilies",
                "externalTrafficPolicy",
                "healthCheckNodePort",
                "sessionAffinity",
                "sessionAffinityConfig",
                "loadBalancerClass",
                "allocateLoadBalancerNodePorts",
                "loadBalancerSourceRanges",
            )
        )
        decoded = decode_service({**service(), "spec": nulls}, cluster="c")
        assert decoded == decode_service(service(), cluster="c")
        assert decoded.type is ServiceType.CLUSTER_IP
        assert decoded.external_traffic_policy is TrafficPolicy.CLUSTER
        assert decoded.allocate_load_balancer_node_ports
        assert decoded.affinity_seconds is None
        assert decoded.load_balancer_class is None
        assert decoded.ports == ()

    def test_a_port_says_only_its_number(self) -> None:
        [port] = decode_service(service(ports=[{"port": 80}]), cluster="c").ports
        assert (port.protocol, port.node_port, port.target_port) == (Protocol.TCP, 0, 80)

    def test_node_port_zero_and_null_are_unset(self) -> None:
        ports = [{"port": 80, "nodePort": 0}, {"port": 81, "nodePort": None}]
        assert [p.node_port for p in decode_service(service(ports=ports), cluster="c").ports] == [
            0,
            0,
        ]

    def test_target_port_may_be_a_name(self) -> None:
        [port] = decode_service(
            service(ports=[{"port": 80, "targetPort": "http"}]), cluster="c"
        ).ports
        assert port.target_port == "http"

    @pytest.mark.parametrize("config", [None, {}, {"clientIP": None}, {"clientIP": {}}])
    def test_affinity_without_a_timeout_lasts_three_hours(self, config: object) -> None:
        raw = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
        assert decode_service(raw, cluster="c").affinity_seconds == 10800

    def test_affinity_with_a_timeout(self) -> None:
        config = {"clientIP": {"timeoutSeconds": 60}}
        raw = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
        assert decode_service(raw, cluster="c").affinity_seconds == 60

    def test_source_ranges_come_from_the_field_first(self) -> None:
        raw = service(type="LoadBalancer", loadBalancerSourceRanges=[" 10.0.0.0/8 "])
        raw["metadata"]["annotations"] = {
            "service.beta.kubernetes.io/load-balancer-source-ranges": "192.0.2.0/24"
        }
        assert decode_service(raw, cluster="c").source_ranges == (" 10.0.0.0/8 ",)

    def test_source_ranges_come_from_the_annotation_if_the_field_is_empty(self) -> None:
        raw = service(type="LoadBalancer", loadBalancerSourceRanges=[])
        raw["metadata"]["annotations"] = {
            "service.beta.kubernetes.io/load-balancer-source-ranges": "192.0.2.0/24, 10.0.0.0/8,"
        }
        assert decode_service(raw, cluster="c").source_ranges == ("192.0.2.0/24", " 10.0.0.0/8")

    def test_source_ranges_mean_nothing_on_a_node_port_service(self) -> None:
        raw = service(type="NodePort", loadBalancerSourceRanges=["10.0.0.0/8"])
        assert decode_service(raw, cluster="c").source_ranges == ()

    def test_a_headless_service_has_no_cluster_ip(self) -> None:
        raw = service(clusterIP="None", clusterIPs=["None"])
        assert decode_service(raw, cluster="c").cluster_ips == ()

    def test_one_cluster_ip_without_the_list(self) -> None:
        assert decode_service(service(clusterIP="10.96.0.9"), cluster="c").cluster_ips == (
            "10.96.0.9",
        )

    def test_kubectls_copy_of_the_object_is_left_out(self) -> None:
        raw = service()
        raw["metadata"]["annotations"] = {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "nplb.io/port": "443",
        }
        assert decode_service(raw, cluster="c").annotations == {"nplb.io/port": "443"}

    def test_a_deletion_timestamp_means_deleting(self) -> None:
        raw = service()
        raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert decode_service(raw, cluster="c").deleting

    def test_a_port_of_an_unknown_protocol_is_left_out_and_told(self) -> None:
        warnings: list[str] = []
        ports = [{"port": 80}, {"port": 81, "protocol": "QUIC"}]
        decoded = decode_service(service(ports=ports), cluster="c", warn=warnings.append)
        assert [port.port for port in decoded.ports] == [80]
        assert warnings == [
            "Service shop/web: spec.ports[1].protocol: 'QUIC' is not known; this port is left out"
        ]

    def test_an_unknown_traffic_policy_is_taken_as_cluster_and_told(self) -> None:
        warnings: list[str] = []
        raw = service(externalTrafficPolicy="Nearby")
        decoded = decode_service(raw, cluster="c", warn=warnings.append)
        assert decoded.external_traffic_policy is TrafficPolicy.CLUSTER
        assert len(warnings) == 1

    @pytest.mark.parametrize(
        ("spec", "field"),
        [
            ({"type": "Mesh"}, "spec.type"),
            ({"type": 3}, "spec.type"),
            ({"ports": {}}, "spec.ports"),
            ({"ports": [3]}, "spec.ports[0]"),
            ({"ports": [{"name": "x"}]}, "spec.ports[0].port"),
            ({"ports": [{"port": "80"}]}, "spec.ports[0].port"),
            ({"ports": [{"port": True}]}, "spec.ports[0].port"),
            ({"ports": [{"port": 80}, {"port": 81, "nodePort": 70000}]}, "spec.ports[1].nodePort"),
            ({"ports": [{"port": 80, "nodePort": 30080.5}]}, "spec.ports[0].nodePort"),
            ({"ports": [{"port": 80, "targetPort": []}]}, "spec.ports[0].targetPort"),
            ({"selector": {"a": 1}}, "spec.selector.a"),
            ({"clusterIPs": "10.96.0.1"}, "spec.clusterIPs"),
            ({"ipFamilies": [4]}, "spec.ipFamilies[0]"),
            ({"allocateLoadBalancerNodePorts": "yes"}, "spec.allocateLoadBalancerNodePorts"),
            (
                {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": 5}},
                "spec.sessionAffinityConfig.clientIP",
            ),
        ],
    )
    def test_a_wrong_type_names_the_object_and_the_field(
        self, spec: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(DecodeError) as caught:
            decode_service(service(**spec), cluster="c")
        error = caught.value
        assert isinstance(error, ClusterError)
        assert (error.kind, error.namespace, error.name) == ("Service", "shop", "web")
        assert error.field == field
        assert str(error).startswith(f"Service shop/web: {field}: ")

    @pytest.mark.parametrize("raw", [None, [], "x", 3])
    def test_what_is_no_object_at_all(self, raw: object) -> None:
        with pytest.raises(DecodeError, match=r"Service \(no name\): must be an object"):
            decode_service(raw, cluster="c")

    def test_a_missing_name(self) -> None:
        with pytest.raises(DecodeError, match=r"metadata\.name: is missing"):
            decode_service({"metadata": {"namespace": "shop"}}, cluster="c")

    def test_a_time_that_is_none(self) -> None:
        raw = service()
        raw["metadata"]["creationTimestamp"] = "yesterday"
        with pytest.raises(DecodeError, match=r"metadata\.creationTimestamp"):
            decode_service(raw, cluster="c")

    def test_a_long_value_is_shortened_in_the_error(self) -> None:
        with pytest.raises(DecodeError) as caught:
            decode_service(service(ports="x" * 10_000), cluster="c")
        assert len(str(caught.value)) < 200


class TestNode:
    def test_recorded_nodes_decode_without_a_warning(self) -> None:
        warnings: list[str] = []
        nodes = [decode_node(raw, warn=warnings.append) for raw in recorded("Node")]
        assert len(nodes) > 10
        assert warnings == []

    def test_a_recorded_node(self) -> None:
        decoded = decode_node(recorded_one("Node", "node-2"))
        assert decoded.addresses == (
            NodeAddress(type="InternalIP", address="10.0.0.2"),
            NodeAddress(type="Hostname", address="node-2"),
        )
        assert decoded.zone == "z0"
        assert decoded.ready is True
        assert decoded.ready_reason == "KubeletReady"
        assert Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule") in decoded.taints

    def test_a_recorded_node_that_is_unknown_cordoned_and_tainted(self) -> None:
        nodes = [decode_node(r) for r in recorded("Node") if r["metadata"]["name"] == "node-1"]
        assert any(decoded.ready is None for decoded in nodes)
        assert any(decoded.unschedulable for decoded in nodes)
        assert any(
            taint.key == "ToBeDeletedByClusterAutoscaler"
            for decoded in nodes
            for taint in decoded.taints
        )

    @pytest.mark.parametrize(
        ("conditions", "ready"),
        [
            ([{"type": "Ready", "status": "True"}], True),
            ([{"type": "Ready", "status": "False"}], False),
            ([{"type": "Ready", "status": "Unknown"}], None),
            ([{"type": "Ready"}], None),
            ([{"type": "DiskPressure", "status": "True"}], None),
            ([], None),
            (None, None),
        ],
    )
    def test_ready(self, conditions: object, ready: bool | None) -> None:
        assert decode_node(node({"conditions": conditions})).ready is ready

    def test_nulls(self) -> None:
        decoded = decode_node({"metadata": {"name": "a"}, "spec": None, "status": None})
        assert decoded == decode_node({"metadata": {"name": "a"}})
        assert decoded.addresses == ()

    def test_a_wrong_type(self) -> None:
        with pytest.raises(DecodeError, match=r"Node a: status\.addresses\[0\]\.address: must be"):
            decode_node(node({"addresses": [{"type": "InternalIP", "address": 10}]}))


class TestEndpointSlice:
    def test_recorded_slices(self) -> None:
        decoded = decode_slice(recorded_one("EndpointSlice", "auto-1"))
        assert decoded.service == "auto"
        assert decoded.address_type == "IPv4"
        assert decoded.ports == {"": 8080}
        assert decoded.endpoints[0].addresses == ("10.1.0.1",)
        assert decoded.endpoints[0].node_name == "node-1"

    def test_a_recorded_endpoint_that_terminates(self) -> None:
        [terminating] = {
            endpoint
            for raw in recorded("EndpointSlice")
            for endpoint in decode_slice(raw).endpoints
            if endpoint.terminating
        }
        assert (terminating.ready, terminating.serving) == (False, True)

    @pytest.mark.parametrize("conditions", [None, {}, {"ready": None, "serving": None}])
    def test_absent_conditions_mean_ready_serving_and_not_terminating(
        self, conditions: object
    ) -> None:
        raw = piece([{"addresses": ["10.1.0.1"], "conditions": conditions}])
        [endpoint] = decode_slice(raw).endpoints
        assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (True, True, False)

    def test_serving_does_not_follow_ready(self) -> None:
        raw = piece([{"addresses": ["10.1.0.1"], "conditions": {"ready": False}}])
        [endpoint] = decode_slice(raw).endpoints
        assert (endpoint.ready, endpoint.serving) == (False, True)

    def test_nulls_and_ports_without_a_number(self) -> None:
        decoded = decode_slice(
            piece(None, [{"name": "all", "port": None}, {"name": None, "port": 80}])
        )
        assert decoded.endpoints == ()
        assert decoded.ports == {"": 80}

    def test_a_slice_of_no_service(self) -> None:
        assert decode_slice(piece()).service == ""

    def test_a_wrong_type(self) -> None:
        raw = piece([{"addresses": ["10.1.0.1"], "conditions": {"ready": "yes"}}])
        with pytest.raises(DecodeError, match=r"endpoints\[0\]\.conditions\.ready: must be true"):
            decode_slice(raw)
