"""The strategies of nodes, namespaces, pods, leases, events and ConfigMaps.

Each mirrors `pkg/registry/core/<kind>/strategy.go` (or its group's), the defaults of
`pkg/apis/<group>/v1/defaults.go`, and as much of `pkg/apis/<group>/validation` as a person or a
controller of this project can run into.
"""

from collections.abc import Sequence

from nplb.lab.api.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)
from nplb.lab.api.names import (
    dns_label_problems,
    label_value_problems,
    qualified_name_problems,
)
from nplb.lab.api.store import JsonObject
from nplb.lab.api.strategy import Strategy

NOT_READY_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
TAINT_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_PORT_NUMBER = "must be between 1 and 65535, inclusive"


class NodeStrategy(Strategy):
    """Nodes. A new one keeps the status that it comes with, and is tainted not ready."""

    has_status = True

    def admit_create(self, object_: JsonObject) -> None:
        """The TaintNodesByCondition admission plugin."""
        taints = object_["spec"].setdefault("taints", [])
        keys = {(taint["key"], taint["effect"]) for taint in taints}
        if (NOT_READY_TAINT["key"], NOT_READY_TAINT["effect"]) not in keys:
            taints.append(dict(NOT_READY_TAINT))

    def prepare_create(self, object_: JsonObject) -> None:
        """A kubelet registers with its status."""

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`ValidateNode`: the taints."""
        found: list[FieldError] = []
        seen: set[tuple[str, str]] = set()
        for index, taint in enumerate(object_["spec"].get("taints", ())):
            place = f"spec.taints[{index}]"
            key, effect = taint.get("key", ""), taint.get("effect", "")
            value = taint.get("value", "")
            found += [invalid_value(f"{place}.key", key, t) for t in qualified_name_problems(key)]
            found += [
                invalid_value(f"{place}.value", value, t) for t in label_value_problems(value)
            ]
            if effect not in TAINT_EFFECTS:
                found.append(not_supported(f"{place}.effect", effect, TAINT_EFFECTS))
            if (key, effect) in seen:
                error = duplicate(place, taint)
                detail = f"{error.message}: taints must be unique by key and effect pair"
                found.append(FieldError(field=place, reason=error.reason, message=detail))
            seen.add((key, effect))
        return found

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """`ValidateNodeUpdate`."""
        before = old["spec"].get("providerID")
        if before and new["spec"].get("providerID") != before:
            detail = 'node updates may not change providerID except from "" to valid'
            return [forbidden_field("spec.providerID", detail)]
        return []


class NamespaceStrategy(Strategy):
    """Namespaces. Deleting one is the operations' business."""

    name_problems = staticmethod(dns_label_problems)
    has_status = True
    returns_deleted = True

    def default(self, object_: JsonObject) -> None:
        """Every namespace is labelled with its name."""
        name = object_["metadata"].get("name")
        if name:
            labels = object_["metadata"].setdefault("labels", {})
            labels.setdefault(NAMESPACE_LABEL, name)

    def prepare_create(self, object_: JsonObject) -> None:
        """A new namespace is active, and held by the cluster's finalizer."""
        object_["spec"] = {"finalizers": ["kubernetes"]}
        object_["status"] = {"phase": "Active"}

    def prepare_update(self, new: JsonObject, old: JsonObject) -> None:
        """Finalizers change elsewhere."""
        super().prepare_update(new, old)
        new["spec"] = old["spec"]


class PodStrategy(Strategy):
    """Pods. One that is bound to a node is deleted gracefully."""

    has_status = True
    has_generation = True
    returns_deleted = True

    def default(self, object_: JsonObject) -> None:
        """`SetDefaults_Pod`, `SetDefaults_PodSpec`, and the ServiceAccount admission plugin."""
        spec = object_["spec"]
        spec.setdefault("restartPolicy", "Always")
        spec.setdefault("terminationGracePeriodSeconds", 30)
        spec.setdefault("dnsPolicy", "ClusterFirst")
        spec.setdefault("securityContext", {})
        spec.setdefault("schedulerName", "default-scheduler")
        spec.setdefault("enableServiceLinks", True)
        for container in (*spec.get("initContainers", ()), *(spec.get("containers") or ())):
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container.setdefault("terminationMessagePolicy", "File")
            image = container.get("image", "")
            is_latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
            container.setdefault("imagePullPolicy", "Always" if is_latest else "IfNotPresent")
            for port in container.get("ports", ()):
                port.setdefault("protocol", "TCP")
            for name in ("livenessProbe", "readinessProbe", "startupProbe"):
                if name in container:
                    _default_probe(container[name])

    def admit_create(self, object_: JsonObject) -> None:
        """The ServiceAccount and DefaultTolerationSeconds plugins, as far as they show."""
        spec = object_["spec"]
        account = spec.setdefault("serviceAccountName", "default")
        spec.setdefault("serviceAccount", account)
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def prepare_create(self, object_: JsonObject) -> None:
        """A new pod is pending."""
        containers = object_["spec"].get("containers") or ()
        object_["status"] = {"phase": "Pending", "qosClass": _qos(containers)}

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`ValidatePod`: what a hand-written pod forgets."""
        containers = object_["spec"].get("containers") or []
        if not containers:
            return [required("spec.containers")]
        found: list[FieldError] = []
        names: set[str] = set()
        for index, container in enumerate(containers):
            place = f"spec.containers[{index}]"
            name = container.get("name", "")
            if not name:
                found.append(required(f"{place}.name"))
            found += [
                invalid_value(f"{place}.name", name, text)
                for text in (dns_label_problems(name) if name else ())
            ]
            if name and name in names:
                found.append(duplicate(f"{place}.name", name))
            names.add(name)
            if not container.get("image"):
                found.append(required(f"{place}.image"))
            for number, port in enumerate(container.get("ports", ())):
                if not 1 <= port["containerPort"] <= 65535:
                    where = f"{place}.ports[{number}].containerPort"
                    found.append(invalid_value(where, port["containerPort"], _PORT_NUMBER))
        return found

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """`ValidatePodUpdate`: almost nothing of a pod's spec may change. A pod without a node
        may be given one, as a scheduler does through `pods/binding`, which is not served."""
        before = dict(old["spec"])
        if not before.get("nodeName") and new["spec"].get("nodeName"):
            before["nodeName"] = new["spec"]["nodeName"]
        if _fixed_part(new["spec"]) == _fixed_part(before):
            return []
        detail = (
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
            "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
            "(allow it to be set to 1 if it was previously negative)"
        )
        return [forbidden_field("spec", detail)]


def _default_probe(probe: JsonObject) -> None:
    """`SetDefaults_Probe`."""
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1)):
        probe.setdefault(name, value)
    probe.setdefault("failureThreshold", 3)
    if isinstance(probe.get("httpGet"), dict):
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _qos(containers: Sequence[JsonObject]) -> str:
    """`ComputePodQOS`, without the finer points of quantities."""
    wants = [container.get("resources", {}) for container in containers]
    if not any(want.get("requests") or want.get("limits") for want in wants):
        return "BestEffort"
    for want in wants:
        limits = want.get("limits", {})
        requests = {**limits, **want.get("requests", {})}
        if not {"cpu", "memory"} <= set(limits) or requests != limits:
            return "Burstable"
    return "Guaranteed"


def _fixed_part(spec: JsonObject) -> JsonObject:
    fixed = {
        name: value
        for name, value in spec.items()
        if name not in ("activeDeadlineSeconds", "tolerations")
    }
    for name in ("containers", "initContainers"):
        fixed[name] = [{**container, "image": ""} for container in spec.get(name) or ()]
    return fixed


class LeaseStrategy(Strategy):
    """Leases."""

    creates_on_update = True

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`ValidateLeaseSpec`."""
        spec = object_["spec"]
        found: list[FieldError] = []
        for name, low in (("leaseDurationSeconds", 1), ("leaseTransitions", 0)):
            value = spec.get(name)
            if value is not None and value < low:
                detail = "must be greater than 0" if low else "must be greater than or equal to 0"
                found.append(invalid_value(f"spec.{name}", value, detail))
        return found


class EventStrategy(Strategy):
    """Events, in the core form in which they are stored."""

    creates_on_update = True

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`legacyValidateEvent`."""
        space = object_["involvedObject"].get("namespace", "")
        expected = space or "default"
        if object_["metadata"].get("namespace") != expected:
            detail = "does not match event.namespace"
            return [invalid_value("involvedObject.namespace", space, detail)]
        return []


class ConfigMapStrategy(Strategy):
    """ConfigMaps."""

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """`ValidateConfigMapUpdate`."""
        if not old.get("immutable"):
            return []
        return [
            forbidden_field(name, "field is immutable when `immutable` is set")
            for name in ("data", "binaryData", "immutable")
            if new.get(name) != old.get(name)
        ]
