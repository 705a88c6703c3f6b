"""The textual patches, by the examples of their documents and by what kubectl sends."""

from typing import Any

import pytest

from nplb.lab.api.patch import PatchError, json_patch, merge_patch, strategic_patch
from nplb.lab.api.types import SCHEMA

SERVICE, NODE, POD = SCHEMA["Service"], SCHEMA["Node"], SCHEMA["Pod"]


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        # RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(document: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(document, patch) == expected


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": 7}], 7),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a/b": 1, "m~n": 2}, [{"op": "remove", "path": "/a~1b"}], {"m~n": 2}),
        ({"m~n": 2}, [{"op": "test", "path": "/m~0n", "value": 2}], {"m~n": 2}),
    ],
)
def test_json_patch(document: Any, operations: Any, expected: Any) -> None:
    assert json_patch(document, operations) == expected


@pytest.mark.parametrize(
    ("operations", "malformed"),
    [
        ([{"op": "remove", "path": "/b"}], False),
        ([{"op": "replace", "path": "/b", "value": 1}], False),
        ([{"op": "test", "path": "/a", "value": 2}], False),
        ([{"op": "add", "path": "/list/3", "value": 1}], False),
        ([{"op": "add", "path": "/list/01", "value": 1}], False),
        ([{"op": "add", "path": "/x/y", "value": 1}], False),
        ({"op": "add"}, True),
        ([{"op": "add", "path": "/b"}], True),
        ([{"op": "grow", "path": "/b"}], True),
        ([{"op": "move", "path": "/b"}], True),
        ([{"op": "add", "path": "b", "value": 1}], True),
    ],
)
def test_json_patch_refuses_what_does_not_fit(operations: Any, malformed: bool) -> None:
    document = {"a": 1, "list": [1, 2]}
    with pytest.raises(PatchError) as caught:
        json_patch(document, operations)
    assert caught.value.malformed is malformed
    assert document == {"a": 1, "list": [1, 2]}


def test_strategic_merges_service_ports_by_port() -> None:
    service = {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443, "name": "tls"}]}}
    patch = {"spec": {"ports": [{"port": 443, "nodePort": 30443}, {"port": 8080}]}}
    assert strategic_patch(SERVICE, service, patch)["spec"]["ports"] == [
        {"port": 80, "nodePort": 30080},
        {"port": 443, "name": "tls", "nodePort": 30443},
        {"port": 8080},
    ]


def test_strategic_merges_conditions_and_addresses_by_type() -> None:
    node = {
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        }
    }
    patch = {
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "Odd", "status": "True"}],
            "addresses": [{"type": "Hostname", "address": "n1"}],
        }
    }
    patched = strategic_patch(NODE, node, patch)["status"]
    assert patched["conditions"] == [
        {"type": "Ready", "status": "False", "reason": "KubeletReady"},
        {"type": "Odd", "status": "True"},
    ]
    assert [address["type"] for address in patched["addresses"]] == ["InternalIP", "Hostname"]


def test_strategic_replaces_taints_and_ingress_which_declare_no_merge_key() -> None:
    node = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    patch = {"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}
    assert strategic_patch(NODE, node, patch) == patch
    service = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    other = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}}}
    assert strategic_patch(SERVICE, service, other) == other


def test_strategic_deletes_by_directive_and_by_null() -> None:
    service = {
        "metadata": {"labels": {"a": "1", "b": "2"}},
        "spec": {"ports": [{"port": 80}, {"port": 443}]},
    }
    patch = {
        "metadata": {"labels": {"a": None}},
        "spec": {"ports": [{"port": 80, "$patch": "delete"}]},
    }
    assert strategic_patch(SERVICE, service, patch) == {
        "metadata": {"labels": {"b": "2"}},
        "spec": {"ports": [{"port": 443}]},
    }


def test_strategic_replace_directive_on_map_and_list() -> None:
    service = {"metadata": {"labels": {"a": "1"}}, "spec": {"ports": [{"port": 80}]}}
    patch = {
        "metadata": {"labels": {"$patch": "replace", "b": "2"}},
        "spec": {"ports": [{"port": 1}, {"$patch": "replace"}]},
    }
    assert strategic_patch(SERVICE, service, patch) == {
        "metadata": {"labels": {"b": "2"}},
        "spec": {"ports": [{"port": 1}]},
    }


def test_strategic_orders_elements_as_kubectl_apply_asks() -> None:
    service = {"spec": {"ports": [{"port": 1}, {"port": 2}, {"port": 3}]}}
    patch = {
        "spec": {
            "$setElementOrder/ports": [{"port": 3}, {"port": 4}, {"port": 1}],
            "ports": [{"port": 4, "name": "new"}, {"port": 2, "$patch": "delete"}],
        }
    }
    patched = strategic_patch(SERVICE, service, patch)
    assert patched == {"spec": {"ports": [{"port": 3}, {"port": 4, "name": "new"}, {"port": 1}]}}


def test_strategic_keeps_what_the_order_does_not_name_in_its_place() -> None:
    service = {"spec": {"ports": [{"port": 1}, {"port": 2}, {"port": 3}]}}
    patch = {"spec": {"$setElementOrder/ports": [{"port": 1}, {"port": 3}]}}
    ports = strategic_patch(SERVICE, service, patch)["spec"]["ports"]
    assert [port["port"] for port in ports] == [1, 2, 3]


def test_strategic_finalizers_are_a_set() -> None:
    service = {"metadata": {"finalizers": ["a", "b"]}}
    added = strategic_patch(SERVICE, service, {"metadata": {"finalizers": ["c", "a"]}})
    assert added["metadata"]["finalizers"] == ["a", "b", "c"]
    removed = strategic_patch(
        SERVICE, service, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    )
    assert removed["metadata"]["finalizers"] == ["b"]


def test_strategic_retain_keys_drops_the_others() -> None:
    pod = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {
        "spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {}}]}
    }
    volume = strategic_patch(POD, pod, patch)["spec"]["volumes"][0]
    assert volume == {"name": "v", "hostPath": {}}


def test_strategic_directives_do_not_end_up_in_the_object() -> None:
    patch = {
        "spec": {
            "selector": {"app": "x", "gone": None},
            "ports": [{"port": 80, "name": None}, {"port": 81, "$patch": "delete"}],
        }
    }
    assert strategic_patch(SERVICE, {}, patch) == {
        "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}
    }


@pytest.mark.parametrize(
    ("patch", "malformed"),
    [
        ([], True),
        ({"spec": {"$patch": "grow"}}, True),
        ({"spec": {"ports": [{"name": "no key"}]}}, False),
        ({"spec": {"ports": [80]}}, True),
        ({"spec": {"$setElementOrder/ports": 7}}, True),
    ],
)
def test_strategic_refuses_what_it_cannot_read(patch: Any, malformed: bool) -> None:
    with pytest.raises(PatchError) as caught:
        strategic_patch(SERVICE, {"spec": {"ports": [{"port": 80}]}}, patch)
    assert caught.value.malformed is malformed
