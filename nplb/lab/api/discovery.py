"""What the server says of itself: versions, groups and resources, each one document.

Mirrors `apiserver/pkg/endpoints/discovery` and its `aggregated` form, which new clients ask for
with one Accept header and old ones do not know.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence

from nplb.lab.api.registry import CORE, REGISTRY, Resource, Served
from nplb.lab.api.store import JsonObject

AGGREGATED_VERSIONS = ("v2", "v2beta1")
STATUS_VERBS = ("get", "patch", "update")

# Groups whose resources are questions: they are created, answered and not kept.
REVIEWS: Mapping[Served, Mapping[str, tuple[str, str]]] = {
    Served(group="authentication.k8s.io", version="v1"): {
        "selfsubjectreviews": ("selfsubjectreview", "SelfSubjectReview"),
    },
    Served(group="authorization.k8s.io", version="v1"): {
        "selfsubjectaccessreviews": ("selfsubjectaccessreview", "SelfSubjectAccessReview"),
        "selfsubjectrulesreviews": ("selfsubjectrulesreview", "SelfSubjectRulesReview"),
    },
}

VERSION: Mapping[str, str] = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+nplb-lab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-08-21T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def groups() -> list[Served]:
    """Every group and version but the core one."""
    return sorted(
        (served for served in (*REGISTRY.groups(), *REVIEWS) if served != CORE),
        key=lambda served: served.group,
    )


def api_versions(server_address: str) -> JsonObject:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}
        ],
    }


def api_group_list() -> JsonObject:
    """`/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(served) for served in groups()],
    }


def api_group(served: Served) -> JsonObject:
    """`/apis/<group>`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(served)}


def _group(served: Served) -> JsonObject:
    version = {"groupVersion": served.api_version, "version": served.version}
    return {"name": served.group, "versions": [version], "preferredVersion": version}


def api_resource_list(served: Served) -> JsonObject:
    """`/api/v1`, `/apis/<group>/<version>`."""
    resources: list[JsonObject] = []
    for resource in REGISTRY.in_group(served):
        resources += _resource_entries(resource)
    for name, (singular, kind) in REVIEWS.get(served, {}).items():
        resources.append(
            {
                "name": name, "singularName": singular, "namespaced": False, "kind": kind,
                "verbs": ["create"],
            }
        )  # fmt: skip
    document: JsonObject = {"kind": "APIResourceList"}
    if served != CORE:
        document["apiVersion"] = "v1"
    return {**document, "groupVersion": served.api_version, "resources": resources}


def _resource_entries(resource: Resource) -> list[JsonObject]:
    entry: JsonObject = {
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entry["storageVersionHash"] = _storage_hash(resource)
    return [entry] + [
        {
            "name": f"{resource.name}/{name}", "singularName": "",
            "namespaced": resource.namespaced, "kind": resource.kind,
            "verbs": list(STATUS_VERBS),
        }
        for name in resource.subresources
    ]  # fmt: skip


def _storage_hash(resource: Resource) -> str:
    """`discovery.StorageVersionHash`."""
    served = resource.served[0]
    text = f"{served.group}/{served.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def aggregated(version: str, served: Sequence[Served]) -> JsonObject:
    """`/api` and `/apis` for clients that ask for all resources at once."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [_aggregated_group(one) for one in served],
    }


def _aggregated_group(served: Served) -> JsonObject:
    resources = [_aggregated_resource(resource) for resource in REGISTRY.in_group(served)]
    resources += [
        {
            "resource": name, "responseKind": _response_kind(kind), "scope": "Cluster",
            "singularResource": singular, "verbs": ["create"],
        }
        for name, (singular, kind) in REVIEWS.get(served, {}).items()
    ]  # fmt: skip
    version = {"version": served.version, "resources": resources, "freshness": "Current"}
    metadata = {"name": served.group} if served.group else {}
    return {"metadata": metadata, "versions": [version]}


def _aggregated_resource(resource: Resource) -> JsonObject:
    entry: JsonObject = {
        "resource": resource.name,
        "responseKind": _response_kind(resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": name, "responseKind": _response_kind(resource.kind),
                "verbs": list(STATUS_VERBS),
            }
            for name in resource.subresources
        ]  # fmt: skip
    return entry


def _response_kind(kind: str) -> JsonObject:
    return {"group": "", "version": "", "kind": kind}
