"""Who asks, what for, and whether they may: authentication, authorization, and reviews of both.

Mirrors `apiserver/pkg/endpoints/filters/{authentication,authorization}.go`: one token, one user
who may do everything but what the faults take away.
"""

import hmac
from dataclasses import dataclass
from typing import Any

from nplb.lab.api import errors
from nplb.lab.api.errors import ApiError
from nplb.lab.api.faults import ApiFaults
from nplb.lab.api.store import JsonObject

USER = "nplb-lab-admin"
GROUPS = ("system:masters", "system:authenticated")
# Anybody may read these (ClusterRole system:public-info-viewer).
PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request needs the right for. `namespace` is empty at the cluster scope."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    namespaced: bool = True

    @property
    def full_resource(self) -> str:
        """The resource as the authorizer names it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def sentence(self) -> str:
        """Why it is refused, as the RBAC authorizer says it."""
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return (
            f'User "{USER}" cannot {self.verb} resource "{self.full_resource}" '
            f'in API group "{self.group}" {where}'
        )


def authenticate(authorization: str | None, token: str, path: str) -> None:
    """Raise ApiError 401 unless the Authorization header holds the token, or the path is
    public and there is no header."""
    if authorization is None:
        if path.rstrip("/") in PUBLIC_PATHS:
            return
        raise errors.unauthorized()
    scheme, _, given = authorization.partition(" ")
    good = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not good:
        raise errors.unauthorized()


def authorize(faults: ApiFaults, asked: Asked) -> None:
    """Raise ApiError 403 if the right was taken away."""
    if faults.is_denied(asked.verb, asked.full_resource, asked.namespace):
        raise refusal(asked)


def refusal(asked: Asked) -> ApiError:
    """The 403 of a request."""
    return errors.forbidden(asked.resource, asked.name, asked.sentence, asked.group)


def review(kind: str, api_version: str, raw: Any, faults: ApiFaults) -> JsonObject:
    """The answer to a review. Raises ApiError 400."""
    spec = raw.get("spec") if isinstance(raw, dict) else raw
    if spec is not None and not isinstance(spec, dict):
        raise errors.bad_request(f"a {kind} is an object with a spec that is one")
    answered: JsonObject = {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {},
        "spec": spec or {},
    }
    match kind:
        case "SelfSubjectAccessReview":
            answered["status"] = _access(answered["spec"], faults)
        case "SelfSubjectRulesReview":
            answered["status"] = {
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": bool(faults.denials),
            }
        case _:
            del answered["spec"]
            answered["status"] = {"userInfo": {"username": USER, "groups": list(GROUPS)}}
    return answered


def _access(spec: JsonObject, faults: ApiFaults) -> JsonObject:
    wanted = spec.get("resourceAttributes")
    if not isinstance(wanted, dict):
        return {"allowed": True}
    asked = Asked(
        verb=wanted.get("verb", "*"),
        resource=wanted.get("resource", "*"),
        group=wanted.get("group", ""),
        namespace=wanted.get("namespace", ""),
        subresource=wanted.get("subresource", ""),
    )
    if faults.is_denied(asked.verb, asked.full_resource, asked.namespace):
        return {"allowed": False, "reason": asked.sentence}
    return {"allowed": True}
