"""The query of a write, as options: who, dry run or not, by force, how strict.

Mirrors the validation of Create-, Update-, Patch- and DeleteOptions in
`apimachinery/pkg/apis/meta/v1/validation`.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from nplb.lab.api import errors
from nplb.lab.api.errors import FieldError, forbidden_field, not_supported, required
from nplb.lab.api.patch import APPLY_PATCH
from nplb.lab.api.requests import DeleteOptions, Validation, WriteOptions

_MANAGER_LENGTH = 128


def write_options(request: web.Request, kind: str, *, patch_type: str = "") -> WriteOptions:
    """The options of a create, an update or a patch; `kind` names them in a refusal. Raises
    ApiError 422."""
    query = request.query
    manager = query.get("fieldManager", "")
    found = _dry_run_errors(query)
    force = query.get("force", "").lower() in ("true", "1")
    if patch_type == APPLY_PATCH and not manager:
        found.append(required("fieldManager", "is required for apply patch"))
    if patch_type and patch_type != APPLY_PATCH and "force" in query:
        found.append(forbidden_field("force", "may not be specified for non-apply patch"))
    validation = query.get("fieldValidation", "") or Validation.WARN
    if validation not in tuple(Validation):
        found.append(not_supported("fieldValidation", validation, tuple(Validation)))
    if found:
        raise errors.invalid(kind, "", found, "meta.k8s.io")
    if not manager:
        agent = request.headers.get(hdrs.USER_AGENT, "")
        manager = agent.partition("/")[0][:_MANAGER_LENGTH] or "unknown"
    return WriteOptions(
        manager=manager,
        dry_run="dryRun" in query,
        force=force,
        validation=Validation(validation),
    )


def _dry_run_errors(query: Mapping[str, str]) -> list[FieldError]:
    value = query.get("dryRun", "All")
    return [] if value == "All" else [not_supported("dryRun", value, ("All",))]


def delete_options(request: web.Request, sent: Mapping[str, Any]) -> DeleteOptions:
    """The options of a delete, from its query and the DeleteOptions in its body; the query
    wins. How dependents are treated is taken and makes no difference: nothing here has any.
    Raises ApiError 400 and 422."""
    query = request.query
    found = _dry_run_errors(query)
    if found:
        raise errors.invalid("DeleteOptions", "", found, "meta.k8s.io")
    grace = query.get("gracePeriodSeconds", sent.get("gracePeriodSeconds"))
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        raise errors.bad_request(f"gracePeriodSeconds is a number, not {grace!r}") from error
    preconditions = sent.get("preconditions") or {}
    return DeleteOptions(
        dry_run="dryRun" in query or sent.get("dryRun") == ["All"],
        grace_seconds=seconds,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )
