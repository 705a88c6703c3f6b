"""Kinds other than Services, in process: defaults, refusals, what an update may not do."""

from typing import Any

import pytest

from nplb.lab.api.errors import ApiError
from nplb.lab.api.server import ApiServer
from tests.support.api import quiet_api

__all__ = ["quiet_api"]

CONTAINER = {"name": "c", "image": "example.com/app:1"}


@pytest.mark.parametrize(
    ("resource", "raw", "message"),
    [
        (
            "nodes",
            {"spec": {"taints": [{"key": "a", "effect": "Never"}]}},
            (
                'spec.taints[0].effect: Unsupported value: "Never": '
                'supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"'
            ),
        ),
        (
            "nodes",
            {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}] * 2}},
            (
                'spec.taints[1]: Duplicate value: {"key":"a","effect":"NoExecute"}: '
                "taints must be unique by key and effect pair"
            ),
        ),
        ("pods", {"spec": {}}, "spec.containers: Required value"),
        (
            "pods",
            {"spec": {"containers": [CONTAINER, {"name": "c"}]}},
            (
                '[spec.containers[1].name: Duplicate value: "c", '
                "spec.containers[1].image: Required value]"
            ),
        ),
        (
            "pods",
            {"spec": {"containers": [{**CONTAINER, "ports": [{"containerPort": 0}]}]}},
            (
                "spec.containers[0].ports[0].containerPort: Invalid value: 0: "
                "must be between 1 and 65535, inclusive"
            ),
        ),
        ("endpointslices", {}, "addressType: Required value"),
        (
            "endpointslices",
            {"addressType": "IPX"},
            ('addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"'),
        ),
        (
            "endpointslices",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["2001:db8::1"]}]},
            (
                'endpoints[0].addresses[0]: Invalid value: "2001:db8::1": '
                "must be a valid IPv4 address"
            ),
        ),
        (
            "endpointslices",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["169.254.1.1"]}]},
            (
                'endpoints[0].addresses[0]: Invalid value: "169.254.1.1": '
                "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
            ),
        ),
        (
            "endpointslices",
            {"addressType": "IPv4", "endpoints": [{"addresses": []}]},
            "endpoints[0].addresses: Required value: must contain at least 1 address",
        ),
        (
            "endpointslices",
            {"addressType": "IPv4", "ports": [{"port": 80}, {"port": 81}]},
            'ports[1].name: Duplicate value: ""',
        ),
        (
            "endpointslices",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
            "endpoints: Too many: 1001: must have at most 1000 items",
        ),
        (
            "leases",
            {"spec": {"leaseDurationSeconds": 0}},
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "events",
            {"involvedObject": {"namespace": "shop"}},
            'involvedObject.namespace: Invalid value: "shop": does not match event.namespace',
        ),
        (
            "configmaps",
            {"metadata": {"labels": {"a": "not/good"}}},
            (
                'metadata.labels: Invalid value: "not/good": a valid label must be an empty '
                "string or consist of alphanumeric characters, '-', '_' or '.', and must start "
                "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
                "'12345', regex used for validation is "
                "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ),
        ),
        (
            "configmaps",
            {"metadata": {"annotations": {"a/b/c": ""}}},
            (
                'metadata.annotations: Invalid value: "a/b/c": a qualified name must consist of '
                "alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used "
                "for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional "
                "DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ),
        ),
        (
            "configmaps",
            {"metadata": {"annotations": {"a": "x" * 300_000}}},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            "configmaps",
            {"metadata": {"name": ""}},
            "metadata.name: Required value: name or generateName is required",
        ),
        (
            "configmaps",
            {"metadata": {"name": "a" * 254}},
            f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 characters',
        ),
        (
            "nodes",
            {"metadata": {"namespace": "default"}},
            "metadata.namespace: Forbidden: not allowed on this type",
        ),
        (
            "namespaces",
            {"metadata": {"name": "a.b"}},
            (
                'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of '
                "lower case alphanumeric characters or '-', and must start and end with an "
                "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
                "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ),
        ),
    ],
)
def test_refusals(quiet_api: ApiServer, resource: str, raw: dict[str, Any], message: str) -> None:
    raw = {**raw, "metadata": {"name": "x", **raw.get("metadata", {})}}
    with pytest.raises(ApiError) as caught:
        quiet_api.create(resource, raw)
    assert caught.value.code == 422
    assert caught.value.status["message"].partition(" is invalid: ")[2] == message


def _create(api: ApiServer, resource: str, **fields: Any) -> dict[str, Any]:
    return api.create(resource, {"metadata": {"name": "x"}, **fields})


def test_a_pod_gets_its_defaults(quiet_api: ApiServer) -> None:
    container = {
        "name": "c",
        "image": "example.com/app",
        "readinessProbe": {"httpGet": {"port": 80}},
    }
    spec = _create(quiet_api, "pods", spec={"containers": [container]})["spec"]
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["serviceAccountName"] == "default"
    made = spec["containers"][0]
    assert made["imagePullPolicy"] == "Always"
    assert made["readinessProbe"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}
    assert made["readinessProbe"]["failureThreshold"] == 3


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_of_a_pod(
    quiet_api: ApiServer, resources: dict[str, Any], quality: str
) -> None:
    pod = _create(quiet_api, "pods", spec={"containers": [{**CONTAINER, "resources": resources}]})
    assert pod["status"] == {"phase": "Pending", "qosClass": quality}


def test_status_changes_through_status_alone(quiet_api: ApiServer) -> None:
    _create(quiet_api, "pods", spec={"containers": [CONTAINER]})
    ignored = quiet_api.patch("pods", "x", {"status": {"phase": "Running"}})
    assert ignored["status"]["phase"] == "Pending"
    both = {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}}
    patched = quiet_api.patch("pods", "x", both, subresource="status")
    assert patched["status"]["phase"] == "Running"
    assert "nodeName" not in patched["spec"]


def test_a_generation_counts_changes_of_the_content_alone(quiet_api: ApiServer) -> None:
    slice_ = _create(quiet_api, "endpointslices", addressType="IPv4")
    assert slice_["metadata"]["generation"] == 1
    labelled = quiet_api.patch("endpointslices", "x", {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 1
    changed = quiet_api.patch("endpointslices", "x", {"ports": [{"port": 80}]})
    assert changed["metadata"]["generation"] == 2
    assert changed["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]


@pytest.mark.parametrize(
    ("resource", "made", "patch", "message"),
    [
        (
            "endpointslices",
            {"addressType": "IPv4"},
            {"addressType": "IPv6"},
            'addressType: Invalid value: "IPv6": field is immutable',
        ),
        (
            "nodes",
            {"spec": {"providerID": "a://1"}},
            {"spec": {"providerID": "a://2"}},
            (
                "spec.providerID: Forbidden: node updates may not change providerID except "
                'from "" to valid'
            ),
        ),
        (
            "configmaps",
            {"immutable": True, "data": {"a": "1"}},
            {"data": {"a": "2"}},
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
    ],
)
def test_what_may_not_change(
    quiet_api: ApiServer,
    resource: str,
    made: dict[str, Any],
    patch: dict[str, Any],
    message: str,
) -> None:
    _create(quiet_api, resource, **made)
    with pytest.raises(ApiError) as caught:
        quiet_api.patch(resource, "x", patch)
    assert caught.value.status["message"].partition(" is invalid: ")[2] == message


def test_the_server_keeps_its_own_metadata(quiet_api: ApiServer) -> None:
    made = _create(quiet_api, "configmaps", data={"a": "1"})["metadata"]
    sent = {
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
    }
    patched = quiet_api.patch("configmaps", "x", {"metadata": sent, "data": {"a": "2"}})
    kept = patched["metadata"]
    assert kept["creationTimestamp"] == made["creationTimestamp"]
    assert "deletionTimestamp" not in kept
    assert kept["uid"] == made["uid"]
    with pytest.raises(ApiError, match="Precondition failed: UID in precondition"):
        quiet_api.patch("configmaps", "x", {"metadata": {"uid": "other"}})


def test_a_write_that_changes_nothing_is_none(quiet_api: ApiServer) -> None:
    made = _create(quiet_api, "configmaps", data={"a": "1"})
    again = quiet_api.patch("configmaps", "x", {"data": {"a": "1"}})
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert quiet_api.store.revision == int(made["metadata"]["resourceVersion"])


def test_what_a_caller_does_to_what_it_got_does_not_reach_the_store(quiet_api: ApiServer) -> None:
    sent: Any = {"metadata": {"name": "x", "labels": {"a": "b"}}, "data": {"a": "1"}}
    got = quiet_api.create("configmaps", sent)
    sent["data"]["a"] = got["data"]["a"] = got["metadata"]["labels"]["a"] = "changed"
    stored = quiet_api.store.get("configmaps", "x", "default")
    assert stored is not None
    assert stored["data"] == {"a": "1"}
    assert stored["metadata"]["labels"] == {"a": "b"}


def test_events_go_after_an_hour_unless_they_are_repeated(quiet_api: ApiServer) -> None:
    now = 1_790_000_000.0
    for name, series in (
        ("old", None),
        ("repeated", {"count": 2, "lastObservedTime": "2026-09-21T14:10:00Z"}),
    ):
        fields = {"series": series} if series else {}
        raw = {"metadata": {"name": name}, "involvedObject": {"namespace": "default"}, **fields}
        made = quiet_api.create("events", raw)
        made["metadata"]["creationTimestamp"] = "2026-09-21T12:00:00Z"
        quiet_api.store.put("events", made)
    quiet_api.operations.deletion.expire_events(now)
    assert [event["metadata"]["name"] for event in quiet_api.store.list("events")] == ["repeated"]
