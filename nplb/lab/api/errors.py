"""Status objects with which the API server refuses a request, word for word.

Mirrors `apimachinery/pkg/api/errors/errors.go` and `apimachinery/pkg/util/validation/field`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nplb.model.errors import ClusterError


class ApiError(ClusterError):
    """A refused request. `status` is the Status object, `code` its HTTP status, `headers` what
    goes with it (`Retry-After`)."""

    def __init__(self, status: dict[str, Any], *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.headers = dict(headers or {})

    @property
    def code(self) -> int:
        """The HTTP status."""
        return int(self.status["code"])

    @property
    def reason(self) -> str:
        """The machine-readable reason, empty for an unknown one."""
        return str(self.status.get("reason", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One finding of validation: `field` is the path, `reason` the cause's reason, and
    `message` what follows the path in the sentence."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def go_value(value: Any) -> str:
    """A bad value as Go's field errors print it: strings quoted, everything else as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    """`field.Invalid`."""
    message = f"Invalid value: {go_value(value)}: {detail}"
    return FieldError(field=field, reason="FieldValueInvalid", message=message)


def required(field: str, detail: str = "") -> FieldError:
    """`field.Required`."""
    message = f"Required value: {detail}" if detail else "Required value"
    return FieldError(field=field, reason="FieldValueRequired", message=message)


def forbidden_field(field: str, detail: str) -> FieldError:
    """`field.Forbidden`."""
    return FieldError(field=field, reason="FieldValueForbidden", message=f"Forbidden: {detail}")


def duplicate(field: str, value: Any) -> FieldError:
    """`field.Duplicate`."""
    message = f"Duplicate value: {go_value(value)}"
    return FieldError(field=field, reason="FieldValueDuplicate", message=message)


def not_supported(field: str, value: Any, supported: Sequence[str]) -> FieldError:
    """`field.NotSupported`: the values that would do, sorted."""
    names = ", ".join(go_value(name) for name in sorted(supported))
    message = f"Unsupported value: {go_value(value)}: supported values: {names}"
    return FieldError(field=field, reason="FieldValueNotSupported", message=message)


def too_long(field: str, maximum: int) -> FieldError:
    """`field.TooLong`, in bytes."""
    message = f"Too long: may not be more than {maximum} bytes"
    return FieldError(field=field, reason="FieldValueTooLong", message=message)


def _status(
    code: int, reason: str, message: str, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = details
    status["code"] = code
    return status


def _object_details(resource: str, name: str, group: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = resource
    return details


def _qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, name: str, group: str = "") -> ApiError:
    """404: no such object."""
    message = f'{_qualified(resource, group)} "{name}" not found'
    return ApiError(_status(404, "NotFound", message, _object_details(resource, name, group)))


def already_exists(resource: str, name: str, group: str = "") -> ApiError:
    """409 on create."""
    message = f'{_qualified(resource, group)} "{name}" already exists'
    return ApiError(_status(409, "AlreadyExists", message, _object_details(resource, name, group)))


def conflict(resource: str, name: str, detail: str, group: str = "") -> ApiError:
    """409: `detail` says what stands against it."""
    what = _qualified(resource, group)
    message = f'Operation cannot be fulfilled on {what} "{name}": {detail}'
    return ApiError(_status(409, "Conflict", message, _object_details(resource, name, group)))


STALE = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def apply_conflict(message: str, causes: Sequence[Mapping[str, str]]) -> ApiError:
    """409 of a server-side apply that would take fields from another manager."""
    details = {"causes": [dict(cause) for cause in causes]}
    return ApiError(_status(409, "Conflict", message, details))


def invalid(kind: str, name: str, errors: Sequence[FieldError], group: str = "") -> ApiError:
    """422 with every finding. Mirrors `NewInvalid` and `ErrorList.ToAggregate`."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _object_details(kind, name, group)
    details["causes"] = [
        {"reason": error.reason, "message": error.message, "field": error.field} for error in errors
    ]
    message = f'{_qualified(kind, group)} "{name}" is invalid: {text}'
    return ApiError(_status(422, "Invalid", message, details))


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(_status(400, "BadRequest", message))


def internal_error(detail: str) -> ApiError:
    """500 as `NewInternalError` builds it."""
    message = f"Internal error occurred: {detail}"
    return ApiError(_status(500, "InternalError", message, {"causes": [{"message": detail}]}))


def unknown_error(message: str) -> ApiError:
    """500 of a plain Go error: no reason."""
    return ApiError(_status(500, "", message))


def unauthorized() -> ApiError:
    """401."""
    return ApiError(_status(401, "Unauthorized", "Unauthorized"))


def forbidden(resource: str, name: str, detail: str, group: str = "") -> ApiError:
    """403: `detail` is the authorizer's sentence."""
    what = _qualified(resource, group)
    quoted = f' "{name}"' if name else ""
    details = _object_details(resource, name, group)
    return ApiError(_status(403, "Forbidden", f"{what}{quoted} is forbidden: {detail}", details))


def no_such_resource() -> ApiError:
    """404 of a path that names no resource."""
    message = "the server could not find the requested resource"
    return ApiError(_status(404, "NotFound", message, {}))


def method_not_allowed() -> ApiError:
    """405 of a method that the path does not take."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(_status(405, "MethodNotAllowed", message, {}))


def rejected_request() -> ApiError:
    """422 of a patch that does not fit, as `NewGenericServerResponse` builds it for an answer
    that is not unexpected: what did not fit is not said."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(_status(422, "Invalid", message, {}))


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """415: a body, or a patch, in a form that the path does not take."""
    names = ", ".join(accepted)
    message = (
        f"the body of the request was in an unknown format - accepted media types include: {names}"
    )
    return ApiError(_status(415, "UnsupportedMediaType", message))


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    """406: an answer in none of the forms that the server knows."""
    names = ", ".join(accepted)
    message = f"only the following media types are accepted: {names}"
    return ApiError(_status(406, "NotAcceptable", message))


def expired(message: str, *, continue_token: str = "") -> ApiError:
    """410: a resourceVersion or a continue token that is too old."""
    status = _status(410, "Expired", message)
    if continue_token:
        status["metadata"] = {"continue": continue_token}
    return ApiError(status)


def too_large_resource_version(asked: int, current: int) -> ApiError:
    """504: a list at a resourceVersion from the future."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(_status(504, "Timeout", message, details), headers={"Retry-After": "1"})


def too_large(maximum: int) -> ApiError:
    """413: a body of more bytes than the server reads."""
    message = f"Request entity too large: limit is {maximum}"
    return ApiError(_status(413, "RequestEntityTooLarge", message))


def too_many_requests(retry_after: int) -> ApiError:
    """429, as priority and fairness answers it."""
    message = "Too many requests, please try again later."
    details = {"retryAfterSeconds": retry_after}
    headers = {"Retry-After": str(retry_after)}
    return ApiError(_status(429, "TooManyRequests", message, details), headers=headers)
