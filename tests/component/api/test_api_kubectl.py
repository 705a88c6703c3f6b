"""The lab's API server under the real kubectl: what people type."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.api import service
from tests.support.kubectl import Kubectl, kubectl

__all__ = ["kubectl"]

pytestmark = pytest.mark.kubectl

WEB = """
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {app: web}
spec:
  type: NodePort
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: tls, port: 443}
"""


def _node(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": {"zone": f"z{number}"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"127.0.1.{number}"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.36.2"},
        },
    }


async def _get(kubectl: Kubectl, *what: str) -> Any:
    return json.loads(await kubectl("get", *what, "-o", "json"))


async def test_create_get_and_delete(kubectl: Kubectl) -> None:
    assert await kubectl("create", "-f", "-", stdin=WEB) == "service/web created\n"
    drawn = WEB.replace(", nodePort: 30080", "")  # a taken port would be told first
    assert await kubectl.refused("create", "-f", "-", stdin=drawn) == (
        'Error from server (AlreadyExists): error when creating "STDIN": '
        'services "web" already exists'
    )
    lines = (await kubectl("get", "svc", "web")).splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    cells = lines[1].split()
    assert cells[:2] == ["web", "NodePort"]
    assert cells[4].startswith("80:30080/TCP,443:")
    wide = await kubectl("get", "svc", "-o", "wide", "-A")
    assert "app=web" in wide
    assert "NAMESPACE" in wide
    stored = await _get(kubectl, "svc", "web")
    assert stored["spec"]["ports"][0]["targetPort"] == 8080
    assert "clusterIP: 10.96." in await kubectl("get", "svc", "web", "-o", "yaml")
    numbers = "jsonpath={.spec.ports[*].nodePort}"
    assert (await kubectl("get", "svc", "web", "-o", numbers)).startswith("30080 3")
    assert await kubectl("delete", "svc", "web", "--wait") == 'service "web" deleted\n'
    assert await kubectl.refused("get", "svc", "web") == (
        'Error from server (NotFound): services "web" not found'
    )


async def test_selectors(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=WEB)
    for arguments in (("-l", "app=web"), ("--field-selector", "metadata.name=web")):
        found = await kubectl("get", "svc", "-o", "name", *arguments)
        assert found == "service/web\n"
    assert await kubectl("get", "svc", "-o", "name", "-l", "app!=web") == "service/kubernetes\n"
    assert "field label not supported: spec.foo" in await kubectl.refused(
        "get", "svc", "--field-selector", "spec.foo=1"
    )


async def test_apply_and_apply_again(kubectl: Kubectl) -> None:
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "service/web created\n"
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "service/web unchanged\n"
    tls = (await _get(kubectl, "svc", "web"))["spec"]["ports"][1]["nodePort"]
    changed = WEB.replace("nodePort: 30080", "nodePort: 30081").replace("app: web}", "app: w}", 1)
    assert await kubectl("apply", "-f", "-", stdin=changed) == "service/web configured\n"
    stored = await _get(kubectl, "svc", "web")
    assert stored["metadata"]["labels"] == {"app": "w"}
    assert [port["nodePort"] for port in stored["spec"]["ports"]] == [30081, tls]
    fewer = changed.replace("  - {name: tls, port: 443}\n", "")
    await kubectl("apply", "-f", "-", stdin=fewer)
    stored = await _get(kubectl, "svc", "web")
    assert [port["name"] for port in stored["spec"]["ports"]] == ["http"]
    assert not kubectl.api.ports.has(30080)
    assert not kubectl.api.ports.has(tls)


async def test_server_side_apply_drops_what_is_dropped_and_names_conflicts(
    kubectl: Kubectl,
) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert await kubectl(*apply, stdin=WEB) == "service/web serverside-applied\n"
    fewer = WEB.replace("  - {name: tls, port: 443}\n", "").replace("labels: {app: web}", "")
    await kubectl(*apply, stdin=fewer)
    stored = await _get(kubectl, "svc", "web")
    assert [port["name"] for port in stored["spec"]["ports"]] == ["http"]
    assert "labels" not in stored["metadata"]
    patch = '{"spec":{"ports":[{"port":80,"nodePort":30090}]}}'
    await kubectl("patch", "svc", "web", "-p", patch)
    complaint = await kubectl.refused(*apply, stdin=fewer)
    assert '.spec.ports[port=80,protocol="TCP"].nodePort' in complaint
    assert 'conflict with "kubectl-patch"' in complaint
    await kubectl(*apply, "--force-conflicts", stdin=fewer)
    stored = await _get(kubectl, "svc", "web")
    assert stored["spec"]["ports"][0]["nodePort"] == 30080


async def test_from_client_side_apply_to_server_side_apply(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    await kubectl(*apply, stdin=WEB)
    await kubectl(*apply, stdin=WEB.replace("app: web", "app: other"))
    stored = await _get(kubectl, "svc", "web")
    assert stored["metadata"]["labels"] == {"app": "other"}


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        (("label", "svc", "web", "tier=edge"), ("metadata", "labels", "tier"), "edge"),
        (("label", "svc", "web", "app-"), ("metadata", "labels"), None),
        (("annotate", "svc", "web", "a.io/b=c"), ("metadata", "annotations", "a.io/b"), "c"),
        (
            ("patch", "svc", "web", "-p", '{"spec":{"ports":[{"port":443,"nodePort":30443}]}}'),
            ("spec", "ports", 1, "nodePort"),
            30443,
        ),
        (
            ("patch", "svc", "web", "--type=merge", "-p", '{"spec":{"selector":{"app":"x"}}}'),
            ("spec", "selector"),
            {"app": "x"},
        ),
        (
            (
                "patch", "svc", "web", "--type=json", "-p",
                '[{"op":"replace","path":"/spec/externalTrafficPolicy","value":"Local"}]',
            ),
            ("spec", "externalTrafficPolicy"),
            "Local",
        ),
    ],
)  # fmt: skip
async def test_changes(
    kubectl: Kubectl, arguments: tuple[str, ...], path: tuple[str | int, ...], value: Any
) -> None:
    await kubectl("create", "-f", "-", stdin=WEB)
    await kubectl(*arguments)
    found: Any = await _get(kubectl, "svc", "web")
    for step in path:
        found = found[step] if isinstance(step, int) else found.get(step)
    assert found == value


async def test_edit_and_replace(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=WEB)
    editor = kubectl.home / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/app: web/app: edited/" "$1"\n')
    editor.chmod(0o755)
    assert "edited" in await kubectl("edit", "svc", "web")
    stored = await _get(kubectl, "svc", "web")
    assert stored["spec"]["selector"] == {"app": "edited"}
    stored["metadata"]["labels"] = {"replaced": "yes"}
    await kubectl("replace", "-f", "-", stdin=json.dumps(stored))
    # It carries the version that it was read at, which is now an old one.
    assert "the object has been modified" in await kubectl.refused(
        "replace", "-f", "-", stdin=json.dumps(stored)
    )


async def test_nodes(kubectl: Kubectl) -> None:
    for number in (1, 2, 3):
        await kubectl("create", "-f", "-", stdin=json.dumps(_node(number)))
    lines = (await kubectl("get", "nodes")).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[f"node-{n}", "Ready"] for n in (1, 2, 3)]
    await kubectl("cordon", "node-1")
    assert "Ready,SchedulingDisabled" in await kubectl("get", "node", "node-1")
    await kubectl("uncordon", "node-1")
    await kubectl("taint", "node", "node-2", "dedicated=edge:NoExecute")
    taints = (await _get(kubectl, "node", "node-2"))["spec"]["taints"]
    assert {"key": "dedicated", "value": "edge", "effect": "NoExecute"} in taints
    assert len(taints) == 2
    await kubectl("taint", "node", "node-2", "dedicated-")
    assert len((await _get(kubectl, "node", "node-2"))["spec"]["taints"]) == 1
    described = await kubectl("describe", "node", "node-3")
    assert "InternalIP:  127.0.1.3" in described
    assert "node.kubernetes.io/not-ready:NoSchedule" in described
    assert await kubectl("delete", "node", "node-3") == 'node "node-3" deleted\n'
    await kubectl("wait", "--for=condition=Ready", "node/node-1", "--timeout=10s")


async def test_draining_a_node_deletes_its_pods(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=json.dumps(_node(1)))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app"},
        "spec": {
            "nodeName": "node-1",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "example.com/app:1"}],
        },
    }
    await kubectl("create", "-f", "-", stdin=json.dumps(pod))
    assert "app    0/1     Pending" in await kubectl("get", "pods")
    assert "example.com/app:1" in await kubectl("describe", "pod", "app")
    await kubectl("drain", "node-1", "--force", "--timeout=20s")
    assert kubectl.api.store.list("pods") == []


async def test_describe_a_service_shows_endpoints_and_events(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=WEB)
    kubectl.api.create(
        "endpointslices",
        {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "tls", "port": 443}],
            "endpoints": [{"addresses": ["10.244.1.5"], "conditions": {"ready": True}}],
        },
    )
    web = kubectl.api.store.get("services", "web", "default")
    assert web is not None
    kubectl.api.create(
        "events",
        {
            "metadata": {"name": "web.1"},
            "involvedObject": {
                "kind": "Service",
                "name": "web",
                "namespace": "default",
                "uid": web["metadata"]["uid"],
            },
            "reason": "PortAlreadyAllocated",
            "message": "Port 30080 was assigned to multiple services",
            "type": "Warning",
        },
    )
    described = await kubectl("describe", "svc", "web")
    assert "30080/TCP" in described
    assert "10.244.1.5:8080" in described
    assert "PortAlreadyAllocated" in described
    assert "service/web" in await kubectl("get", "events")
    listed = await kubectl("get", "endpointslices,endpoints")
    assert "10.244.1.5" in listed


async def test_namespaces(kubectl: Kubectl) -> None:
    assert await kubectl("create", "namespace", "shop") == "namespace/shop created\n"
    await kubectl("create", "-n", "shop", "-f", "-", stdin=WEB)
    assert "web" in await kubectl("get", "svc", "-n", "shop")
    assert await kubectl("delete", "namespace", "shop") == 'namespace "shop" deleted\n'
    assert not kubectl.api.ports.has(30080)


async def test_the_commands_that_make_objects(kubectl: Kubectl) -> None:
    await kubectl("create", "service", "nodeport", "made", "--tcp=80:8080", "--node-port=30085")
    stored = await _get(kubectl, "svc", "made")
    assert stored["spec"]["ports"] == [
        {
            "name": "80-8080", "nodePort": 30085, "port": 80, "protocol": "TCP",
            "targetPort": 8080,
        }
    ]  # fmt: skip
    await kubectl("create", "configmap", "c", "--from-literal=a=b")
    assert (await _get(kubectl, "cm", "c"))["data"] == {"a": "b"}
    await kubectl("expose", "svc", "made", "--name=more", "--port=81", "--type=NodePort")
    await kubectl("run", "pod", "--image=example.com/app")
    listed = await kubectl("get", "all")
    assert "service/more" in listed
    assert "pod/pod" in listed
    await kubectl("delete", "svc", "-l", "app=made")
    await kubectl("delete", "pods,cm", "--all")
    assert await kubectl("get", "svc,pods,cm", "-o", "name") == "service/kubernetes\n"


async def test_refusals_read_as_those_of_a_cluster(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=WEB)
    taken = json.dumps(service("other", {"port": 80, "nodePort": 30080}))
    assert await kubectl.refused("create", "-f", "-", stdin=taken) == (
        'The Service "other" is invalid: spec.ports[0].nodePort: Invalid value: 30080: '
        "provided port is already allocated"
    )
    kubectl.api.faults.forbid("create", "services")
    complaint = await kubectl.refused("create", "-f", "-", stdin=taken)
    assert complaint == (
        'Error from server (Forbidden): error when creating "STDIN": services is forbidden: '
        'User "nplb-lab-admin" cannot create resource "services" in API group "" in the '
        'namespace "default"'
    )
    assert (await kubectl.run("auth", "can-i", "create", "services")).out.startswith("no")
    assert (await kubectl("auth", "can-i", "list", "services")).strip() == "yes"
    kubectl.write_kubeconfig("wrong")
    assert "You must be logged in to the server" in await kubectl.refused("get", "svc")


async def test_a_dry_run_is_told_the_same_and_takes_nothing(kubectl: Kubectl) -> None:
    created = await kubectl("create", "--dry-run=server", "-f", "-", stdin=WEB)
    assert created == "service/web created (server dry run)\n"
    assert not kubectl.api.ports.has(30080)
    await kubectl("create", "-f", "-", stdin=WEB)
    taken = json.dumps(service("other", {"port": 80, "nodePort": 30080}))
    complaint = await kubectl.refused("create", "--dry-run=server", "-f", "-", stdin=taken)
    assert complaint.endswith("Invalid value: 30080: provided port is already allocated")


async def test_watching_prints_every_change(kubectl: Kubectl) -> None:
    process = await kubectl.start("get", "svc", "-w", "--no-headers")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert (await process.stdout.readline()).split()[0] == b"kubernetes"
            await kubectl("create", "-f", "-", stdin=WEB)
            assert (await process.stdout.readline()).split()[0] == b"web"
            patch = '{"spec":{"type":"LoadBalancer"}}'
            await kubectl("patch", "svc", "web", "-p", patch)
            line = (await process.stdout.readline()).split()
            assert line[1:4:2] == [b"LoadBalancer", b"<pending>"]
    finally:
        process.terminate()
        await process.communicate()


async def test_what_the_server_says_of_itself(kubectl: Kubectl) -> None:
    resources = await kubectl("api-resources", "-o", "name")
    assert {"services", "nodes", "endpointslices.discovery.k8s.io"} <= set(resources.split())
    versions = (await kubectl("api-versions")).split()
    assert {"v1", "discovery.k8s.io/v1", "coordination.k8s.io/v1"} <= set(versions)
    assert kubectl.api.url in await kubectl("cluster-info")
    server = json.loads(await kubectl("version", "-o", "json"))["serverVersion"]
    assert (server["major"], server["minor"]) == ("1", "36")
    assert await kubectl("get", "--raw", "/livez") == "ok"
