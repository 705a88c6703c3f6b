"""Raw JSON read by the tables of types, as Go reads and writes it."""

from typing import Any

import pytest

from nplb.lab.api.schema import DecodeError, decode, zero
from nplb.lab.api.types import SCHEMA
from tests.support.golden import FILES_WITH_OBJECTS, load

SERVICE = SCHEMA["Service"]


def _objects(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("kind") in ("Service", "Node", "EndpointSlice") and "metadata" in value:
            yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def test_every_recorded_object_comes_through_unchanged() -> None:
    count = 0
    for name in FILES_WITH_OBJECTS:
        for recorded in load(name):
            for object_ in _objects(recorded["response"]):
                unknown: list[str] = []
                decoded = decode(SCHEMA[object_["kind"]], object_, unknown)
                assert decoded == object_
                assert list(decoded) == list(object_)
                assert list(decoded["metadata"]) == list(object_["metadata"])
                assert not unknown
                count += 1
    assert count > 100


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"spec": {"ports": [{"port": 80, "nodePort": "30011"}]}},
            (
                "json: cannot unmarshal string into Go struct field "
                "ServicePort.spec.ports.nodePort of type int32"
            ),
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            (
                "json: cannot unmarshal number into Go struct field "
                "ObjectMeta.metadata.labels of type string"
            ),
        ),
        (
            {"spec": {"ports": {}}},
            (
                "json: cannot unmarshal object into Go struct field "
                "ServiceSpec.spec.ports of type []v1.ServicePort"
            ),
        ),
        (
            {"spec": []},
            "json: cannot unmarshal array into Go struct field Service.spec of type v1.ServiceSpec",
        ),
        (
            {"spec": {"ports": [{"port": 2147483648}]}},
            (
                "json: cannot unmarshal number 2147483648 into Go struct field "
                "ServicePort.spec.ports.port of type int32"
            ),
        ),
        (
            {"spec": {"publishNotReadyAddresses": "yes"}},
            (
                "json: cannot unmarshal string into Go struct field "
                "ServiceSpec.spec.publishNotReadyAddresses of type bool"
            ),
        ),
        (
            {"spec": {"ports": [{"port": True}]}},
            (
                "json: cannot unmarshal bool into Go struct field "
                "ServicePort.spec.ports.port of type int32"
            ),
        ),
        ("x", "json: cannot unmarshal string into Go value of type v1.Service"),
    ],
)
def test_wrong_types_are_told_as_go_tells_them(raw: Any, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(SERVICE, raw)
    assert str(caught.value) == message


def test_unknown_fields_go_and_are_named_with_their_place() -> None:
    unknown: list[str] = []
    raw = {
        "metadata": {"nmae": "x"},
        "spec": {"ports": [{"port": 80}, {"port": 81, "nodeport": 1}], "typo": {"deep": 1}},
        "extra": [],
    }
    decoded = decode(SERVICE, raw, unknown)
    assert sorted(unknown) == ["extra", "metadata.nmae", "spec.ports[1].nodeport", "spec.typo"]
    assert decoded["spec"] == {"ports": [{"port": 80}, {"port": 81}]}


def test_zero_values_go_as_omitempty_has_it() -> None:
    raw = {
        "metadata": {"labels": {}, "creationTimestamp": None},
        "spec": {
            "type": "",
            "healthCheckNodePort": 0,
            "publishNotReadyAddresses": False,
            "externalIPs": [],
            "allocateLoadBalancerNodePorts": False,  # a pointer: kept
            "ports": [{"port": 0, "nodePort": 0, "appProtocol": ""}],
        },
    }
    assert decode(SERVICE, raw) == {
        "metadata": {},
        "spec": {"ports": [{"appProtocol": "", "port": 0}], "allocateLoadBalancerNodePorts": False},
        "status": {"loadBalancer": {}},
    }


def test_sparse_keeps_exactly_what_was_given() -> None:
    raw = {"metadata": {"labels": {}}, "spec": {"healthCheckNodePort": 0, "type": None}}
    assert decode(SERVICE, raw, sparse=True) == {
        "metadata": {"labels": {}},
        "spec": {"healthCheckNodePort": 0},
    }


def test_zero_objects_do_not_share_their_parts() -> None:
    first, second = zero(SERVICE), zero(SERVICE)
    first["status"]["loadBalancer"]["ingress"] = []
    assert second["status"] == {"loadBalancer": {}}
