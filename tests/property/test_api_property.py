"""What holds of the lab's API for any input: patches, pages, watches, ownership, bodies."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nplb.lab.api import managed
from nplb.lab.api.bodies import read_object
from nplb.lab.api.errors import ApiError
from nplb.lab.api.fieldsets import from_fields, to_fields
from nplb.lab.api.listing import ListOptions, list_page
from nplb.lab.api.managed import APPLY, UPDATE, Manager
from nplb.lab.api.patch import json_patch, merge_patch, strategic_patch
from nplb.lab.api.registry import CORE, REGISTRY
from nplb.lab.api.requests import Target
from nplb.lab.api.schema import decode, zero
from nplb.lab.api.selectors import ObjectSelector, parse_selectors
from nplb.lab.api.server import ApiServer
from nplb.lab.api.store import Store
from nplb.lab.api.types import SCHEMA
from nplb.lab.api.views import View
from nplb.lab.api.watch import Watch

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab~/", max_size=3)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


def _without_nulls(value: Any) -> Any:
    """Merge patches cannot say null in an object: it means removal."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _difference(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif old[key] != value:
            patch[key] = _difference(old[key], value)
    return patch


@given(documents, documents)
def test_a_merge_patch_of_the_difference_makes_the_new_document(old: Any, new: Any) -> None:
    new = _without_nulls(new)
    assert merge_patch(old, _difference(old, new)) == new


@given(documents, documents)
def test_a_merge_patch_applied_twice_is_the_same_as_once(document: Any, patch: Any) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), documents), documents)
def test_without_a_type_a_strategic_patch_is_a_merge_patch(document: Any, patch: Any) -> None:
    patch = patch if isinstance(patch, dict) else {}
    assert _without_deep_nulls(strategic_patch(None, document, patch)) == _without_deep_nulls(
        merge_patch(document, patch)
    )


def _without_deep_nulls(value: Any) -> Any:
    """Inside of lists the two treat nulls differently."""
    if isinstance(value, dict):
        return {k: _without_deep_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_deep_nulls(item) for item in value]
    return value


@given(documents, documents)
def test_a_json_patch_leaves_its_arguments_alone(document: Any, value: Any) -> None:
    before = repr((document, value))
    patched = json_patch(
        {"root": document}, [{"op": "add", "path": "/more", "value": value},
                             {"op": "move", "from": "/root", "path": "/moved"}]
    )  # fmt: skip
    assert patched == {"more": value, "moved": document}
    assert repr((document, value)) == before


names = st.text("abc-", min_size=1, max_size=3)
keys = st.tuples(st.sampled_from(["a", "a-b", "b"]), names)
actions = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "label"]), keys, st.sampled_from("xy")),
    max_size=40,
)


def _do(store: Store, action: str, key: tuple[str, str], label: str) -> None:
    namespace, name = key
    record = store.record("configmaps", name, namespace)
    if action == "remove":
        if record is not None:
            store.remove("configmaps", record)
        return
    metadata = {"name": name, "namespace": namespace, "labels": {"l": label}}
    store.put("configmaps", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata})


@given(actions, st.integers(1, 5), actions)
def test_pages_put_together_are_the_list_when_the_first_was_asked_for(
    before: Any, limit: int, during: Any
) -> None:
    store = Store()
    for action in before:
        _do(store, *action)
    whole = [record.key for record in store.records("configmaps")]
    collected: list[tuple[str, str]] = []
    token, changes = "", list(during)
    while True:
        options = ListOptions(limit=limit, token=token)
        page = list_page(store, "configmaps", None, ObjectSelector(), options)
        collected += [record.key for record in page.records]
        left = len(whole) - len(collected)
        assert page.remaining == (left or None)
        if changes:
            _do(store, *changes.pop())
        token = page.token
        if not token:
            break
    assert collected == whole


@given(actions, actions, st.sampled_from(["", "l=x", "l!=x", "!l"]), st.sampled_from([None, "a"]))
def test_a_list_and_the_watch_after_it_end_at_the_present_state(
    before: Any, after: Any, labels: str, namespace: str | None
) -> None:
    store = Store()
    for action in before:
        _do(store, *action)
    selector = parse_selectors("configmaps", labels, "")
    page = list_page(store, "configmaps", namespace, selector, ListOptions())
    seen = {record.key: record.revision for record in page.records}
    view = View(resource=REGISTRY.resources["configmaps"], served=CORE)
    watch = Watch(store, view, namespace, selector)
    lines = watch.begin(page.revision)
    for number, action in enumerate(after):
        _do(store, *action)
        if number % 3 == 0:
            lines += watch.read()
    lines += watch.read()
    for line in lines:
        event = read_object(line, "application/json", "")
        metadata = event["object"]["metadata"]
        key, revision = (metadata["namespace"], metadata["name"]), int(metadata["resourceVersion"])
        match event["type"]:
            case "ADDED":
                assert key not in seen
                seen[key] = revision
            case "MODIFIED":
                assert seen[key] < revision
                seen[key] = revision
            case "DELETED":
                del seen[key]
    final = list_page(store, "configmaps", namespace, selector, ListOptions())
    assert seen == {record.key: record.revision for record in final.records}


@given(actions, st.data())
def test_the_past_is_told_as_it_was(history: Any, data: st.DataObject) -> None:
    store = Store()
    states = {store.revision: [record.key for record in store.records("configmaps")]}
    for action in history:
        _do(store, *action)
        states[store.revision] = [record.key for record in store.records("configmaps")]
    revision = data.draw(st.sampled_from(sorted(states)))
    assert [record.key for record in store.records_at("configmaps", revision)] == states[revision]


ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.integers(1, 4)},
        optional={"name": st.sampled_from("ab"), "nodePort": st.integers(1, 3)},
    ),
    max_size=3,
    unique_by=lambda port: port["port"],
)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {"labels": st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)}
        ),
        "spec": st.fixed_dictionaries(
            {}, optional={"ports": ports, "type": st.sampled_from(["A", "B"])}
        ),
    },
)


@given(st.lists(st.tuples(st.sampled_from("pq"), st.booleans(), configurations), max_size=6))
def test_whoever_applies_last_by_force_gets_what_it_named(steps: Any) -> None:
    struct = SCHEMA["Service"]
    live = zero(struct)
    for name, is_apply, configuration in steps:
        operation = APPLY if is_apply else UPDATE
        manager = Manager(name=name, operation=operation, api_version="v1")
        sparse = decode(struct, configuration, sparse=True)
        if not is_apply:
            new = decode(struct, merge_patch(live, configuration))
            managed.track_update(struct, live, new, manager, now="t")
            live = new
            continue
        live = decode(struct, managed.apply(struct, live, sparse, manager, now="t", force=True))
        for label, value in sparse.get("metadata", {}).get("labels", {}).items():
            assert live["metadata"]["labels"][label] == value
        for port in sparse.get("spec", {}).get("ports", ()):
            found = [p for p in live["spec"]["ports"] if p["port"] == port["port"]]
            assert len(found) == 1
            assert port.items() <= found[0].items()
    for entry in live["metadata"].get("managedFields", ()):
        assert to_fields(from_fields(entry["fieldsV1"])) == entry["fieldsV1"]


json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["metadata", "name", "labels", "spec", "ports", "port", "nodePort", "type",
             "clusterIP", "clusterIPs", "selector", "protocol", "sessionAffinity", "status",
             "loadBalancer", "ingress", "ip", "finalizers", "managedFields", "generateName"]
        ),
        inner | st.sampled_from(["web", "NodePort", "LoadBalancer", 80, 30080, "TCP", "None"]),
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


WHOLE: dict[str, Any] = {
    "services": {
        "spec": {"type": "NodePort", "selector": {"app": "x"}, "ports": [{"port": 80}]},
        "status": {"loadBalancer": {}},
    },
    "nodes": {"spec": {"taints": []}, "status": {"conditions": [], "addresses": []}},
    "pods": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
    "endpointslices": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
    },
    "events": {"involvedObject": {"namespace": "default"}},
}


@settings(max_examples=300)
@given(st.lists(json_values, max_size=4), st.sampled_from(sorted(REGISTRY.resources)))
def test_no_body_breaks_the_server_and_none_leaks_a_port(changes: Any, name: str) -> None:
    api = ApiServer(rng=random.Random(1), token="t")
    resource = REGISTRY.resources[name]
    target = Target(
        resource=resource,
        served=resource.served[0],
        namespace="default" if resource.namespaced else "",
    )
    refusals: list[ApiError] = []
    for number, change in enumerate(changes):
        whole = {"metadata": {"name": f"x{number}"}, **WHOLE.get(name, {})}
        body = merge_patch(whole, change) if isinstance(change, dict) else change
        try:
            created = api.operations.create(target, body)
            one = Target(**{**_fields(target), "name": created["metadata"]["name"]})
            api.operations.update(one, body)
            api.operations.patch(one, {"metadata": {"labels": {"a": "b"}}}, _MERGE)
            api.operations.patch(one, body, _STRATEGIC)
        except ApiError as error:
            refusals.append(error)
    assert all(400 <= error.code <= 500 and error.status["message"] for error in refusals)
    held: list[int] = []
    for service in api.store.list("services"):
        spec = service["spec"]
        held += [p["nodePort"] for p in spec.get("ports", ()) if p.get("nodePort")]
        held += [spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else []
    assert sorted(set(held)) == sorted(api.ports.ports())


_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"


def _fields(target: Target) -> dict[str, Any]:
    return {
        "resource": target.resource,
        "served": target.served,
        "namespace": target.namespace,
    }


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    codes: set[int] = set()
    for content_type in (
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ):
        try:
            read_object(body, content_type, "Service")
        except ApiError as error:
            codes.add(error.code)
    assert codes <= {400}
