"""Manifests of a cluster, in few words (JSON is YAML)."""

import json
from typing import Any


def service(
    name: str,
    *,
    node_port: int | None = None,
    pods: int | str | None = None,
    app: str | None = None,
    type: str = "NodePort",  # noqa: A002
    port: int = 8000,
    target: int | str = 8080,
    selector: bool = True,
    namespace: str = "default",
    protocol: str = "TCP",
    **spec: Any,
) -> str:
    """One Service. Everything else goes into its spec."""
    annotations = {}
    if pods is not None:
        annotations["lab.nplb.io/pods"] = str(pods)
    if app is not None:
        annotations["lab.nplb.io/app"] = app
    ports: dict[str, Any] = {"name": "main", "port": port, "targetPort": target}
    ports["protocol"] = protocol
    if node_port is not None:
        ports["nodePort"] = node_port
    body: dict[str, Any] = {"type": type, "ports": [ports], **spec}
    if selector:
        body["selector"] = {"app": name}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": body,
        }
    )


def node(name: str, address: str) -> str:
    """One Node, by its address."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }
    )


def documents(*manifests: str) -> str:
    """Several objects in one file."""
    return "\n---\n".join(manifests)


def manual_slice(
    service_name: str, *endpoints: tuple[str, str], port: int, port_name: str = "main"
) -> str:
    """An EndpointSlice by hand: address and node of each endpoint."""
    return json.dumps(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{service_name}-by-hand",
                "labels": {"kubernetes.io/service-name": service_name},
            },
            "addressType": "IPv4",
            "ports": [{"name": port_name, "protocol": "TCP", "port": port}],
            "endpoints": [
                {"addresses": [address], "nodeName": node, "conditions": {"ready": True}}
                for address, node in endpoints
            ],
        }
    )
