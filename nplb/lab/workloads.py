"""Gives every Service with a selector its pods, and keeps their number: the lab's ReplicaSets.

Services of a namespace with the same selector share their pods. Annotations of the Services say
how many (`lab.nplb.io/pods`, 2 unless said; the largest number counts) and what runs in them
(`lab.nplb.io/app`: http or echo; the first Service by name decides). When what the pods must be
changes, new ones are made, and the old ones go once the new ones are ready.
"""

import asyncio
import logging
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nplb.lab.api.server import ApiServer
from nplb.lab.nodeobjects import is_schedulable
from nplb.lab.podobjects import (
    PODS_ANNOTATION,
    WORKLOAD_LABEL,
    app_kind,
    is_deleting,
    is_finished,
    is_ready,
    new_pod,
    node_of,
)
from nplb.lab.view import ClusterView
from nplb.lab.writes import WorkQueue, bind, delete
from nplb.model.cluster import Service, ServiceType
from nplb.model.keys import Protocol, ServiceKey

log = logging.getLogger(__name__)

DEFAULT_PODS = 2
MAX_PODS = 200
HASH_LABEL = "pod-template-hash"
# The letters of `apimachinery/pkg/util/rand`: none that could spell a word, or be misread.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_NAMED_PORTS = {
    "http": 8080,
    "https": 8443,
    "web": 8080,
    "grpc": 9000,
    "metrics": 9090,
    "dns": 5353,
}

JsonObject = dict[str, Any]
Selector = tuple[tuple[str, str], ...]
GroupKey = tuple[str, Selector]
PodKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What the pods of a group must be. `service` is the Service that they are named after;
    `ports` are protocol, name and number of each declared port."""

    service: str
    count: int
    kind: str
    ports: tuple[tuple[str, str, int], ...]

    @property
    def hash(self) -> str:
        """Changes when pods must be replaced: with the application, or a port's name. Ports
        given by number are opened in running pods."""
        named = [port for port in self.ports if port[1]]
        return _letters(zlib.crc32(repr((self.kind, named)).encode()), 7)


class Workloads:
    """The controller. `start` makes it follow Services, pods and nodes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        api: ApiServer,
        view: ClusterView,
        rng: random.Random,
    ) -> None:
        self._api = api
        self._view = view
        self._rng = rng
        self._groups: dict[GroupKey, set[ServiceKey]] = {}
        self._group_of: dict[ServiceKey, GroupKey] = {}
        self._workloads: dict[tuple[str, str], GroupKey] = {}
        self._pods: dict[PodKey, JsonObject] = {}
        self._pods_of: dict[tuple[str, str], dict[PodKey, JsonObject]] = {}
        self._per_node: Counter[str] = Counter()
        self._nodes: dict[str, JsonObject] = {}
        self._queue: WorkQueue[GroupKey] = WorkQueue(loop, "workloads", self._sync)
        self._binding: WorkQueue[PodKey] = WorkQueue(loop, "scheduler", self._bind)
        self._warned: set[tuple[ServiceKey, str]] = set()
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Follow the cluster."""
        self._unsubscribe = [
            self._api.store.subscribe("nodes", self._on_node),
            self._api.store.subscribe("pods", self._on_pod),
            self._view.subscribe(self._on_services),
        ]

    def stop(self) -> None:
        """Follow it no longer."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._queue.close()
        self._binding.close()

    def wanted(self, key: ServiceKey) -> int:
        """How many pods a Service is to have from here; 0 without a selector."""
        group = self._group_of.get(key)
        template = self._template(group) if group is not None else None
        return template.count if template is not None else 0

    # -- following ---------------------------------------------------------------------

    def _on_services(self, keys: frozenset[ServiceKey]) -> None:
        for key in sorted(keys):
            service = self._view.service(key)
            group: GroupKey | None = None
            if service is not None and _wants_pods(service):
                group = (key.namespace, tuple(sorted(service.selector.items())))
            old = self._group_of.pop(key, None)
            if old is not None:
                self._groups[old].discard(key)
                self._queue.add(old)
            if group is not None:
                self._group_of[key] = group
                self._groups.setdefault(group, set()).add(key)
                self._workloads[group[0], _group_id(group)] = group
                self._queue.add(group)

    def _on_pod(self, type_: str, pod: JsonObject) -> None:
        meta = pod["metadata"]
        key = (meta["namespace"], meta["name"])
        workload = (meta["namespace"], _workload_of(pod))
        before = self._pods.pop(key, None)
        if before is not None:
            self._per_node[node_of(before)] -= 1
        if type_ == "DELETED":
            self._pods_of.get(workload, {}).pop(key, None)
        else:
            self._pods[key] = pod
            self._per_node[node_of(pod)] += 1
            if workload[1]:
                self._pods_of.setdefault(workload, {})[key] = pod
            if not node_of(pod) and not is_deleting(pod):
                self._binding.add(key)
        if workload in self._workloads:
            self._queue.add(self._workloads[workload])

    def _on_node(self, type_: str, node: JsonObject) -> None:
        name = node["metadata"]["name"]
        if type_ == "DELETED":
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = node
        if type_ != "DELETED" and is_schedulable(node):
            for key, pod in self._pods.items():
                if not node_of(pod) and not is_deleting(pod):
                    self._binding.add(key)

    # -- making it so --------------------------------------------------------------------

    def _sync(self, group: GroupKey) -> None:
        template = self._template(group)
        namespace, selector = group
        identity = _group_id(group)
        mine = self._active((namespace, identity))
        if template is None:
            # Services may be gone before `_on_services` is told: it drops them from the group,
            # and has this called again.
            if not self._groups.get(group):
                self._groups.pop(group, None)
                self._workloads.pop((namespace, identity), None)
            self._delete(mine)
            return
        current = [p for p in mine if p["metadata"]["labels"].get(HASH_LABEL) == template.hash]
        stale = [pod for pod in mine if pod not in current]
        for _ in range(template.count - len(current)):
            current.append(self._create(namespace, dict(selector), identity, template, current))
        surplus = len(current) - template.count
        if surplus > 0:
            self._delete(_first_to_go(current)[:surplus])
        if sum(map(is_ready, current)) >= template.count:
            self._delete(stale)

    def _active(self, workload: tuple[str, str]) -> list[JsonObject]:
        """The pods of a workload that count."""
        pods = self._pods_of.get(workload, {}).values()
        return [pod for pod in pods if not is_deleting(pod) and not is_finished(pod)]

    def _template(self, group: GroupKey) -> Template | None:
        services = [self._view.service(key) for key in sorted(self._groups.get(group, ()))]
        present = [service for service in services if service is not None]
        if not present:
            return None
        counts = [c for service in present if (c := self._count(service)) is not None]
        asked = [service for service in present if "lab.nplb.io/app" in service.annotations]
        return Template(
            service=present[0].key.name,
            count=max(counts, default=DEFAULT_PODS),
            kind=app_kind(asked[0].annotations if asked else {}),
            ports=_declared_ports(present),
        )

    def _count(self, service: Service) -> int | None:
        text = service.annotations.get(PODS_ANNOTATION)
        if text is None:
            return None
        if text.strip().isascii() and text.strip().isdigit() and int(text) <= MAX_PODS:
            return int(text)
        if (service.key, text) not in self._warned:
            self._warned.add((service.key, text))
            log.warning(
                "Service %s: annotation %s: %r is not a number from 0 to %d; it gets %d pods",
                service.key.short,
                PODS_ANNOTATION,
                text,
                MAX_PODS,
                DEFAULT_PODS,
            )
        return None

    def _create(
        self,
        namespace: str,
        selector: Mapping[str, str],
        identity: str,
        template: Template,
        siblings: Sequence[JsonObject],
    ) -> JsonObject:
        suffix = "".join(self._rng.choice(_LETTERS) for _ in range(5))
        pod = new_pod(
            name=f"{template.service}-{template.hash}-{suffix}",
            namespace=namespace,
            labels={**selector, HASH_LABEL: template.hash, WORKLOAD_LABEL: identity},
            kind=app_kind({"lab.nplb.io/app": template.kind}),
            service=template.service,
            ports=[_container_port(*port) for port in template.ports],
            node=self._node_for(siblings),
        )
        return self._api.create("pods", pod, namespace)

    def _delete(self, pods: Iterable[JsonObject]) -> None:
        for pod in pods:
            meta = pod["metadata"]
            delete(self._api, "pods", meta["name"], namespace=meta["namespace"])

    # -- scheduling ------------------------------------------------------------------------

    def _node_for(self, siblings: Iterable[JsonObject]) -> str:
        """The schedulable node with the fewest siblings, then the fewest pods; empty if there
        is none."""
        nodes = sorted(name for name, node in self._nodes.items() if is_schedulable(node))
        near = Counter(node_of(pod) for pod in siblings)
        return min(nodes, key=lambda name: (near[name], self._per_node[name]), default="")

    def _bind(self, key: PodKey) -> None:
        """Find a node for a pod that has none. Without one it waits, as Pending."""
        pod = self._pods.get(key)
        if pod is None or node_of(pod) or is_deleting(pod):
            return
        node = self._node_for(self._active((key[0], _workload_of(pod))))
        if node:
            bind(self._api, key[1], key[0], node)


def _workload_of(pod: JsonObject) -> str:
    """The workload that a pod was made for, empty for none."""
    labels = pod["metadata"].get("labels") or {}
    workload: str = labels.get(WORKLOAD_LABEL, "")
    return workload


def _wants_pods(service: Service) -> bool:
    """Whether a Service selects pods that must be made for it: the selector of an ExternalName
    means nothing, and one with labels that are given here means pods of another Service, as
    `kubectl expose pod` writes it."""
    if service.type is ServiceType.EXTERNAL_NAME:
        return False
    return bool(service.selector) and not {HASH_LABEL, WORKLOAD_LABEL} & service.selector.keys()


def _first_to_go(pods: Sequence[JsonObject]) -> list[JsonObject]:
    """Pods in the order in which a ReplicaSet gives them up: unassigned, not ready, on the
    fullest node, youngest."""
    per_node = Counter(map(node_of, pods))
    youngest_first = sorted(
        pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True
    )
    return sorted(
        youngest_first, key=lambda p: (bool(node_of(p)), is_ready(p), -per_node[node_of(p)])
    )


def _declared_ports(services: Iterable[Service]) -> tuple[tuple[str, str, int], ...]:
    """The container ports that Services ask for: named target ports get a number."""
    ports: dict[tuple[str, str, int], None] = {}
    for service in services:
        for port in service.ports:
            if port.protocol is Protocol.SCTP:
                continue
            if isinstance(port.target_port, str):
                ports[port.protocol, port.target_port, _number_for(port.target_port)] = None
            else:
                ports[port.protocol, "", port.target_port] = None
    return tuple(sorted(ports))


def _number_for(name: str) -> int:
    """A port number for a target port that a Service gives by name: the same one each time."""
    return _NAMED_PORTS.get(name) or 10000 + zlib.crc32(name.encode()) % 10000


def _container_port(protocol: str, name: str, number: int) -> JsonObject:
    port: JsonObject = {"containerPort": number, "protocol": protocol}
    return {"name": name, **port} if name else port


def _group_id(group: GroupKey) -> str:
    return _letters(zlib.crc32(repr(group).encode()), 7)


def _letters(number: int, count: int) -> str:
    text = ""
    for _ in range(count):
        number, rest = divmod(number, len(_LETTERS))
        text += _LETTERS[rest]
    return text
