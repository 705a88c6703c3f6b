"""What a lab says when it is ready: what runs where, and what to try."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nplb.lab.apps import AppKind
from nplb.lab.cluster import Lab
from nplb.lab.podobjects import app_kind
from nplb.model.cluster import Service

WAIT_SECONDS = 10.0


async def introduction(lab: Lab) -> str:
    """The text. Waits a moment for the Services to be ready, and goes on if they are not."""
    services = [service for service in lab.services if service.uses_node_ports]
    with suppress(TimeoutError):
        for service in services:
            await lab.service_ready(service.key.short, timeout=WAIT_SECONDS)
    return "\n".join(_lines(lab, services))


def _lines(lab: Lab, services: list[Service]) -> Iterator[str]:
    kubeconfig = shown_path(lab.kubeconfig_path)
    yield "The lab is ready.\n"
    yield f"  API server    {lab.api.url} (kubeconfig {kubeconfig})"
    for name, machine in lab.nodes.items():
        yield f"  {name:13} {machine.address} ({machine.zone})"
    if lab.site is not None:
        yield f"  client        {lab.site.client_ip} (reaches the edge, here, at "
        yield f"                {lab.site.edge_client_ip})"
    for service in services:
        ports = ", ".join(
            f"{port.name or port.port}{'/UDP' if port.protocol == 'UDP' else ''} {port.node_port}"
            for port in service.ports
            if port.node_port
        )
        yield f"  Service       {service.key.short}: NodePort {ports}{_remark(service)}"
    yield "\nTry, in another terminal:\n"
    yield f"  export KUBECONFIG={lab.kubeconfig_path.absolute()}"
    yield "  kubectl get services,nodes,pods -o wide"
    if lab.nodes:
        yield from _with_nodes(lab, services)
    yield "\nCtrl-C ends the lab."


def _with_nodes(lab: Lab, services: list[Service]) -> Iterator[str]:
    """What can be tried where there are nodes."""
    web = [service for service in services if _is_web(service)]
    if web:
        address = lab.address(next(iter(lab.nodes)), web[-1].key.short)
        yield f"  curl http://{address}/"
    yield "  kubectl create service nodeport hello --tcp=80:8080"
    last, nplb = tuple(lab.nodes)[-1], program()
    yield f"  {nplb} lab fault {last} silent     # `{nplb} lab faults` lists what can be broken"
    yield f"  {nplb} lab clear {last}"
    if lab.site is not None:
        yield f"  ip netns exec {lab.site.client.name} ping {lab.site.edge_client_ip}"
        yield "\nFor the kernel plane, and for clients that go straight to a node, this host must"
        yield "forward: sysctl -w net.ipv4.ip_forward=1"


def _remark(service: Service) -> str:
    remarks = [str(service.type)] if service.type != "NodePort" else []
    if service.external_traffic_policy == "Local":
        remarks.append("externalTrafficPolicy Local")
    if service.health_check_node_port:
        remarks.append(f"health check port {service.health_check_node_port}")
    return f" ({', '.join(remarks)})" if remarks else ""


def _is_web(service: Service) -> bool:
    """Whether any node answers HTTP for it."""
    return (
        bool(service.ports[0].node_port)
        and service.external_traffic_policy == "Cluster"
        and app_kind(service.annotations) is AppKind.HTTP
    )


def shown_path(path: Path) -> str:
    """A path as short as it can be typed from here."""
    with suppress(ValueError):
        return os.fspath(path.relative_to(Path.cwd()))
    return os.fspath(path)


def program() -> str:
    """How `nplb` is called from here."""
    here = Path(sys.executable).with_name("nplb")
    found = shutil.which("nplb")
    if found is not None and Path(found).resolve() == here.resolve():
        return "nplb"
    return shown_path(here)
