"""The roles in deploy/rbac grant what the Kubernetes source asks for, and nothing more."""

from pathlib import Path
from typing import Any

from nplb.config.yaml import parse
from nplb.model.settings import WriteSettings
from nplb.sources.kubernetes.resources import (
    EVENT_RIGHTS,
    LEASE_RIGHTS,
    STATUS_RIGHTS,
    event,
    lease,
    scopes,
    service_status,
)

RBAC = Path(__file__).parents[3] / "deploy" / "rbac"

Right = tuple[str, str, str]


def objects(file: str) -> list[dict[str, Any]]:
    return [document.value for document in parse((RBAC / file).read_bytes(), file=file)]


def rights(roles: list[dict[str, Any]]) -> set[Right]:
    return {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def needed(*, cluster_wide_only: bool = False) -> set[Right]:
    return {
        (verb, scope.resource.group, scope.resource.plural)
        for scope in scopes(("shop",), "")
        for verb in ("list", "watch")
        if not (cluster_wide_only and scope.resource.namespaced)
    }


def named(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {o["metadata"]["name"]: o for o in found if o["kind"] == kind}


def test_the_whole_cluster() -> None:
    found = objects("cluster.yaml")
    assert rights(list(named(found, "ClusterRole").values())) == needed()


def test_some_namespaces() -> None:
    found = objects("namespaced.yaml")
    roles = named(found, "ClusterRole")
    [everywhere] = named(found, "ClusterRoleBinding").values()
    assert rights([roles[everywhere["roleRef"]["name"]]]) == needed(cluster_wide_only=True)
    [within] = named(found, "RoleBinding").values()
    granted = rights([roles[within["roleRef"]["name"]]])
    assert granted == needed() - needed(cluster_wide_only=True)


def test_what_is_written_with_rights_of_its_own() -> None:
    found = objects("status.yaml")
    roles = named(found, "ClusterRole")
    assert rights([roles["nplb-status"]]) == set(STATUS_RIGHTS)
    assert rights([roles["nplb-events"]]) == set(EVENT_RIGHTS)
    [leases] = named(found, "Role").values()
    assert rights([leases]) == set(LEASE_RIGHTS)
    assert leases["metadata"]["namespace"] == WriteSettings().lease_namespace
    bound = {o["roleRef"]["name"] for o in found if o["kind"].endswith("Binding")}
    assert bound == {*roles, leases["metadata"]["name"]}
    asked = [service_status("a", "b"), lease("a"), event("a")]
    granted = {resource for _, _, resource in (*STATUS_RIGHTS, *LEASE_RIGHTS, *EVENT_RIGHTS)}
    assert {target.right for target in asked} == granted


def test_every_binding_is_for_the_service_account_of_the_token() -> None:
    for file in ("cluster.yaml", "namespaced.yaml"):
        found = objects(file)
        [account] = named(found, "ServiceAccount").values()
        [secret] = named(found, "Secret").values()
        name = account["metadata"]["name"]
        assert secret["metadata"]["annotations"]["kubernetes.io/service-account.name"] == name
        for binding in (o for o in found if o["kind"].endswith("Binding")):
            [subject] = binding["subjects"]
            assert (subject["name"], subject["namespace"]) == (
                name,
                account["metadata"]["namespace"],
            )
