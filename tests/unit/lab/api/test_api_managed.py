"""Who owns which field, and what an apply makes of it."""

from typing import Any

import pytest

from nplb.lab.api import managed
from nplb.lab.api.errors import ApiError
from nplb.lab.api.fieldsets import compare, field_set, from_fields, readable, to_fields
from nplb.lab.api.managed import APPLY, UPDATE, Manager
from nplb.lab.api.schema import decode, zero
from nplb.lab.api.types import SCHEMA

SERVICE = SCHEMA["Service"]
NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:01:00Z"


def _manager(name: str, operation: str = APPLY) -> Manager:
    return Manager(name=name, operation=operation, api_version="v1")


def _apply(live: Any, applied: Any, name: str = "a", *, force: bool = False) -> Any:
    sparse = decode(SERVICE, applied, sparse=True)
    before = zero(SERVICE) if live is None else live
    merged = managed.apply(SERVICE, before, sparse, _manager(name), now=NOW, force=force)
    return decode(SERVICE, merged)


def _update(live: Any, new: Any, name: str = "u") -> Any:
    decoded = decode(SERVICE, new)
    before = zero(SERVICE) if live is None else live
    managed.track_update(SERVICE, before, decoded, _manager(name, UPDATE), now=NOW)
    return decoded


def _owned(object_: Any, name: str) -> Any:
    for entry in object_["metadata"].get("managedFields", ()):
        if entry["manager"] == name:
            return entry["fieldsV1"]
    return None


def _spec(*ports: Any, **more: Any) -> Any:
    return {"spec": {"ports": list(ports), **more}}


def test_an_apply_owns_what_it_names_and_nothing_else() -> None:
    live = _update(None, _spec({"port": 80, "protocol": "TCP"}, type="NodePort"))
    applied = _apply(live, {"metadata": {"labels": {"x": "1"}}, "spec": {"selector": {"a": "b"}}})
    assert _owned(applied, "a") == {
        "f:metadata": {"f:labels": {"f:x": {}}},
        "f:spec": {"f:selector": {}},
    }
    assert applied["spec"]["ports"] == [{"protocol": "TCP", "port": 80}]
    assert applied["spec"]["type"] == "NodePort"


def test_applying_again_drops_what_is_no_longer_named() -> None:
    first = _apply(
        None,
        {
            "metadata": {"labels": {"keep": "1", "drop": "1"}},
            **_spec({"port": 80, "name": "a"}, {"port": 81, "name": "b"}, type="NodePort"),
        },
    )
    # What the server gave a port goes with it: the element was the manager's alone.
    first["spec"]["ports"][1]["nodePort"] = 31000
    second = _apply(first, {"metadata": {"labels": {"keep": "1"}}, **_spec({"port": 80})})
    assert second["metadata"]["labels"] == {"keep": "1"}
    assert second["spec"] == {"ports": [{"port": 80}]}


def test_what_another_manager_owns_as_well_stays() -> None:
    first = _apply(None, {"metadata": {"labels": {"x": "1"}}, **_spec({"port": 80, "name": "n"})})
    both = _apply(first, {"metadata": {"labels": {"x": "1"}}}, "b")
    without = _apply(both, _spec({"port": 80}))
    assert without["metadata"]["labels"] == {"x": "1"}
    assert _owned(without, "b") == {"f:metadata": {"f:labels": {"f:x": {}}}}
    assert without["spec"]["ports"] == [{"port": 80}]


def test_an_element_stays_as_long_as_someone_owns_something_in_it() -> None:
    first = _apply(None, _spec({"port": 80, "name": "http"}))
    both = _apply(first, _spec({"port": 80, "targetPort": 8080}), "b")
    left = _apply(both, {"metadata": {"labels": {"x": "1"}}})
    assert left["spec"]["ports"] == [{"port": 80, "targetPort": 8080}]


def test_a_conflict_names_the_manager_and_the_field() -> None:
    live = _update(None, {"metadata": {"labels": {"x": "1"}}}, "kubectl-label")
    with pytest.raises(ApiError) as caught:
        _apply(live, {"metadata": {"labels": {"x": "2"}}})
    status = caught.value.status
    assert status["code"] == 409
    assert status["message"] == (
        'Apply failed with 1 conflict: conflict with "kubectl-label" using v1: .metadata.labels.x'
    )
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-label" using v1',
            "field": ".metadata.labels.x",
        }
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    live = _apply(None, _spec({"port": 80, "nodePort": 30080}, type="NodePort"), "b")
    with pytest.raises(ApiError) as caught:
        _apply(live, _spec({"port": 80, "nodePort": 30081}, type="LoadBalancer"))
    assert caught.value.status["message"] == (
        'Apply failed with 2 conflicts: conflicts with "b":\n'
        '- .spec.ports[port=80,protocol="TCP"].nodePort\n'
        "- .spec.type"
    )


def test_the_same_value_is_no_conflict_and_is_owned_by_both() -> None:
    live = _apply(None, {"metadata": {"labels": {"x": "1"}}}, "b")
    both = _apply(live, {"metadata": {"labels": {"x": "1"}}})
    expected: Any = {"f:metadata": {"f:labels": {"f:x": {}}}}
    assert _owned(both, "a") == _owned(both, "b") == expected


def test_force_takes_the_field_over() -> None:
    live = _apply(None, {"metadata": {"labels": {"x": "1", "y": "1"}}}, "b")
    taken = _apply(live, {"metadata": {"labels": {"x": "2"}}}, force=True)
    assert taken["metadata"]["labels"] == {"x": "2", "y": "1"}
    assert _owned(taken, "b") == {"f:metadata": {"f:labels": {"f:y": {}}}}


def test_an_update_takes_what_it_changes_and_forgets_what_it_removes() -> None:
    live = _apply(None, {"metadata": {"labels": {"x": "1", "y": "1", "z": "1"}}}, "b")
    changed = _update(live, {"metadata": {"labels": {"x": "2", "z": "1"}}}, "u")
    assert _owned(changed, "u") == {"f:metadata": {"f:labels": {"f:x": {}}}}
    assert _owned(changed, "b") == {"f:metadata": {"f:labels": {"f:z": {}}}}


def test_an_update_that_changes_nothing_keeps_its_time() -> None:
    live = _update(None, {"metadata": {"labels": {"x": "1"}}})
    again = decode(SERVICE, live)
    managed.track_update(SERVICE, live, again, _manager("u", UPDATE), now=LATER)
    assert again["metadata"]["managedFields"][0]["time"] == NOW


def test_a_client_may_write_ownership_and_reset_it() -> None:
    live = _update(None, {"metadata": {"labels": {"x": "1"}}}, "kubectl-client-side-apply")
    moved = decode(SERVICE, live)
    moved["metadata"]["managedFields"] = [
        {**live["metadata"]["managedFields"][0], "manager": "kubectl", "operation": "Apply"}
    ]
    managed.track_update(SERVICE, live, moved, _manager("kubectl", UPDATE), now=LATER)
    assert [entry["manager"] for entry in moved["metadata"]["managedFields"]] == ["kubectl"]
    reset = decode(SERVICE, live)
    reset["metadata"]["managedFields"] = [{}]
    managed.track_update(SERVICE, live, reset, _manager("u", UPDATE), now=LATER)
    assert "managedFields" not in reset["metadata"]


@pytest.mark.parametrize("nonsense", [["x"], [{"fieldsV1": 7}], [7]])
def test_unreadable_ownership_is_replaced_by_the_live_one(nonsense: Any) -> None:
    live = _update(None, {"metadata": {"labels": {"x": "1"}}})
    new = decode(SERVICE, live)
    new["metadata"]["managedFields"] = nonsense
    managed.track_update(SERVICE, live, new, _manager("u", UPDATE), now=LATER)
    assert new["metadata"]["managedFields"] == live["metadata"]["managedFields"]


def test_fields_read_back_as_they_were_written() -> None:
    object_ = decode(
        SERVICE,
        {
            "metadata": {"labels": {"a.b/c": "1"}, "finalizers": ["x/y"]},
            **_spec({"port": 80}, {"port": 53, "protocol": "UDP"}, sessionAffinity="None"),
        },
    )
    for paths in (field_set(SERVICE, object_), compare(SERVICE, zero(SERVICE), object_).added):
        assert from_fields(to_fields(paths)) == paths


def test_paths_are_printed_as_the_api_server_prints_them() -> None:
    path = ("f:spec", 'k:{"port":80,"protocol":"TCP"}', "f:nodePort")
    assert readable(path) == '.spec[port=80,protocol="TCP"].nodePort'
    assert readable(("f:metadata", "f:finalizers", 'v:"x"')) == '.metadata.finalizers[="x"]'
