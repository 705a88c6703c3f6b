"""Pods of the lab and their endpoint slices: true to life, through the API."""

import asyncio
import logging
from typing import Any

import pytest

from nplb.lab.cluster import Lab
from nplb.lab.timing import Timing
from nplb.lab.view import ClusterView
from nplb.model.keys import ServiceKey
from tests.support.eventually import eventually
from tests.support.lab import Networks, make_lab
from tests.support.labclient import eventually_refuses, get, read_answer, refuses
from tests.support.labmanifests import service


def slices_of(lab: Lab, name: str) -> list[dict[str, Any]]:
    label = "kubernetes.io/service-name"
    return [
        slice_
        for slice_ in lab.api.store.list("endpointslices", "default")
        if slice_["metadata"]["labels"].get(label) == name
    ]


def endpoints_of(lab: Lab, name: str) -> dict[str, dict[str, Any]]:
    """Endpoints by their pod's name."""
    return {
        endpoint["targetRef"]["name"]: endpoint
        for slice_ in slices_of(lab, name)
        for endpoint in slice_["endpoints"] or []
    }


def names(lab: Lab, service_name: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in lab.pods(service_name)}


async def test_pods_are_objects_that_say_where_they_are(lab: Lab) -> None:
    await lab.apply(service("web", pods=2))
    await lab.service_ready("web")
    for pod in lab.pods("web"):
        node = lab.node(pod["spec"]["nodeName"])
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["hostIP"] == node.address
        assert pod["status"]["podIP"].startswith("10.")
        assert pod["status"]["containerStatuses"][0]["ready"] is True
        conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        endpoint = endpoints_of(lab, "web")[pod["metadata"]["name"]]
        assert endpoint["addresses"] == [pod["status"]["podIP"]]
        assert endpoint["nodeName"] == node.name
        assert endpoint["zone"] == node.zone
        assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}


async def test_slices_belong_to_their_service_and_go_with_it(lab: Lab) -> None:
    await lab.apply(service("web", pods=2))
    await lab.service_ready("web")
    (slice_,) = slices_of(lab, "web")
    assert slice_["ports"] == [{"name": "main", "protocol": "TCP", "port": 8080}]
    assert slice_["addressType"] == "IPv4"
    (owner,) = slice_["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Service", "web")
    lab.api.delete("services", "web", "default")
    await eventually(lambda: not slices_of(lab, "web"), "the slices are gone")
    await eventually(lambda: not lab.api.store.list("pods"), "so are the pods, after their grace")


async def test_services_that_go_at_once_with_their_pods_leave_the_lab_whole(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.apply(service("api", pods=1))
    await lab.apply(service("web", pods=1))
    await lab.service_ready("api")
    (pod,) = names(lab, "api")
    # A Service of a single pod, as `kubectl expose pod` makes it.
    labels = lab.api.store.get("pods", pod, "default")["metadata"]["labels"]  # type: ignore[index]
    spec = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}], "type": "NodePort"}
    lab.api.create("services", {"metadata": {"name": "one"}, "spec": spec}, "default")
    await lab.service_ready("one")
    assert set(endpoints_of(lab, "one")) == {pod} == names(lab, "api")
    # The pod's change is looked at before the Services' are told: both are gone by then.
    lab.api.delete("pods", pod, "default")
    lab.api.delete("services", "api", "default")
    lab.api.delete("services", "one", "default")
    await eventually(lambda: not slices_of(lab, "api"), "the slices are gone")
    await eventually(
        lambda: {p["metadata"]["name"] for p in lab.api.store.list("pods")} == names(lab, "web"),
        "only the other Service's pods are left",
    )
    lab.api.delete("services", "web", "default")
    await eventually(lambda: not lab.api.store.list("pods"), "everybody still learns of changes")
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_controller_that_fails_keeps_nothing_from_the_others(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(keys: frozenset[ServiceKey]) -> None:
        if any(key.name == "web" for key in keys):
            raise RuntimeError("a mistake")

    view = ClusterView(asyncio.get_running_loop(), lab.api.store)
    view.start()
    told: set[ServiceKey] = set()
    view.subscribe(fail)
    view.subscribe(told.update)
    await lab.apply(service("web", pods=1))
    await eventually(lambda: "web" in {key.name for key in told}, "the next reader is told")
    assert "a reader failed on changes of lab/default/web" in caplog.text
    view.stop()


async def test_a_deleted_pod_serves_while_it_terminates_and_is_replaced(
    networks: Networks,
) -> None:
    timing = Timing(pod_ready=0.0, pod_shutdown=60.0)
    async with make_lab(networks, timing=timing) as lab:
        await lab.apply(service("web", pods=1))
        await lab.service_ready("web")
        (old,) = names(lab, "web")
        address = lab.address("node-1", "web")
        reader, writer = await asyncio.open_connection(address.ip, address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert old in (await read_answer(reader)).text

        lab.api.delete("pods", old, "default")
        await eventually(lambda: len(names(lab, "web")) == 2, "another pod is made")
        await lab.wait_for(
            lambda: [
                n for n, e in endpoints_of(lab, "web").items() if e["conditions"]["ready"]
            ] == list(names(lab, "web") - {old}),
            "the other pod is ready, the old one is not",
        )  # fmt: skip
        told = endpoints_of(lab, "web")[old]["conditions"]
        assert told == {"ready": False, "serving": True, "terminating": True}
        await lab.wait_for(lambda: lab.is_settled, "the proxies to know")
        for _ in range(10):
            assert old not in (await get(address)).text
        # A connection of before goes on, and is asked to leave.
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await read_answer(reader)
        assert old in answer.text
        assert answer.headers["connection"] == "close"
        writer.close()


async def test_a_terminated_pod_is_gone_after_its_time(lab: Lab) -> None:
    await lab.apply(service("web", pods=2))
    await lab.service_ready("web")
    old = min(names(lab, "web"))
    lab.api.delete("pods", old, "default")
    await eventually(lambda: old not in names(lab, "web"), "the pod is gone")
    await lab.service_ready("web")
    assert len(names(lab, "web")) == 2
    assert old not in endpoints_of(lab, "web")


async def test_a_pod_removed_by_force_is_gone_at_once(lab: Lab) -> None:
    await lab.apply(service("web", pods=1))
    await lab.service_ready("web")
    (old,) = names(lab, "web")
    lab.api.delete("pods", old, "default", grace_seconds=0)
    assert old not in names(lab, "web")
    await lab.service_ready("web")
    assert (await get(lab.address("node-1", "web"))).status == 200


async def test_the_number_of_pods_follows_the_annotation(lab: Lab) -> None:
    await lab.apply(service("web", pods=1))
    await lab.service_ready("web")
    (first,) = names(lab, "web")
    lab.api.patch(
        "services",
        "web",
        {"metadata": {"annotations": {"lab.nplb.io/pods": "4"}}},
        namespace="default",
    )
    await lab.service_ready("web")
    assert len(names(lab, "web")) == 4
    assert first in names(lab, "web")
    lab.api.patch(
        "services",
        "web",
        {"metadata": {"annotations": {"lab.nplb.io/pods": "0"}}},
        namespace="default",
    )
    await eventually(lambda: not names(lab, "web"), "every pod is gone")
    await eventually_refuses(lab.address("node-1", "web"))


async def test_an_annotation_that_is_no_number_is_said_and_gets_the_default(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.apply(
        service("web").replace('"annotations": {}', '"annotations": {"lab.nplb.io/pods": "many"}')
    )
    await lab.service_ready("web")
    assert len(names(lab, "web")) == 2
    assert "'many' is not a number from 0 to 200; it gets 2 pods" in caplog.text


async def test_another_application_replaces_the_pods_without_a_gap(lab: Lab) -> None:
    await lab.apply(service("web", pods=2))
    await lab.service_ready("web")
    old = names(lab, "web")
    lab.api.patch(
        "services",
        "web",
        {"metadata": {"annotations": {"lab.nplb.io/app": "echo"}}},
        namespace="default",
    )
    address = lab.address("node-1", "web")
    while names(lab, "web") & old:
        assert not await refuses(address)
    reader, writer = await asyncio.open_connection(address.ip, address.port)
    writer.write(b"bytes\x00back")
    writer.write_eof()
    assert await reader.read() == b"bytes\x00back"
    writer.close()


async def test_a_pod_made_by_hand_is_scheduled_run_and_selected(lab: Lab) -> None:
    await lab.apply(service("web", pods=0))
    await lab.apply(
        """
apiVersion: v1
kind: Pod
metadata:
  name: mine
  labels: {app: web}
spec:
  containers:
  - name: app
    image: anything
    ports: [{containerPort: 8080}]
"""
    )
    await eventually(
        lambda: (
            "mine" in endpoints_of(lab, "web")
            and endpoints_of(lab, "web")["mine"]["conditions"]["ready"]
        ),
        "the pod is an endpoint",
    )
    await lab.wait_for(lambda: lab.is_settled, "the proxies to know")
    assert (await get(lab.address("node-2", "web"))).text.startswith("mine (")


async def test_pods_wait_for_a_node_that_takes_them(lab: Lab) -> None:
    for name in lab.nodes:
        lab.api.patch("nodes", name, {"spec": {"unschedulable": True}})
    await lab.apply(service("web", pods=1))
    await eventually(lambda: names(lab, "web"), "a pod is made")
    (pod,) = lab.pods("web")
    assert pod["status"]["phase"] == "Pending"
    lab.api.patch("nodes", "node-2", {"spec": {"unschedulable": None}})
    await lab.service_ready("web")
    assert [pod["spec"]["nodeName"] for pod in lab.pods("web")] == ["node-2"]


async def test_more_than_a_hundred_pods_fill_several_slices(lab: Lab) -> None:
    await lab.apply(service("web", pods=120))
    await lab.service_ready("web", timeout=50)
    sizes = sorted(len(slice_["endpoints"]) for slice_ in slices_of(lab, "web"))
    assert sizes == [20, 100]


async def test_nodes_are_registered_ready_and_untainted(lab: Lab) -> None:
    def taints() -> list[Any]:
        return [n["spec"].get("taints") for n in lab.api.store.list("nodes")]

    await eventually(lambda: not any(taints()), "the not-ready taints are gone")
    for name, machine in lab.nodes.items():
        node = lab.api.store.get("nodes", name)
        assert node is not None
        assert {"type": "InternalIP", "address": machine.address} in node["status"]["addresses"]
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
        lease = lab.api.store.get("leases", name, "kube-node-lease")
        assert lease is not None
        before = lease["spec"]["renewTime"]

        def renewed(name: str = name, before: str = before) -> bool:
            lease = lab.api.store.get("leases", name, "kube-node-lease")
            return lease is not None and lease["spec"]["renewTime"] > before

        await eventually(renewed, "the lease is renewed")


async def test_a_node_added_later_takes_part(lab: Lab) -> None:
    await lab.apply(service("web", pods=3))
    await lab.service_ready("web")
    machine = await lab.add_node()
    assert machine.name == "node-4"
    assert (await get(lab.address("node-4", "web"))).status == 200
    await eventually(
        lambda: not (lab.api.store.get("nodes", "node-4") or {})["spec"].get("taints"),
        "the node takes pods",
    )
    lab.api.patch(
        "services",
        "web",
        {"metadata": {"annotations": {"lab.nplb.io/pods": "4"}}},
        namespace="default",
    )
    await lab.service_ready("web")
    assert "node-4" in {pod["spec"]["nodeName"] for pod in lab.pods("web")}
