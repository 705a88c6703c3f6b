"""What was sent, made into an object of the stored version, or refused.

Mirrors `apiserver/pkg/endpoints/handlers/{create,update,patch,rest}.go`.
"""

from typing import Any

from nplb.lab.api import errors
from nplb.lab.api.patch import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    PatchError,
    json_patch,
    merge_patch,
    strategic_patch,
)
from nplb.lab.api.requests import Target, Validation, WriteOptions
from nplb.lab.api.schema import DecodeError, decode
from nplb.lab.api.store import JsonObject
from nplb.lab.api.strategy import Strategy
from nplb.lab.api.versions import struct_of, to_stored


def decode_sent(
    strategy: Strategy,
    target: Target,
    raw: Any,
    options: WriteOptions,
    *,
    sparse: bool = False,
) -> JsonObject:
    """What was sent, in the stored version, with defaults unless `sparse`."""
    resource, served = target.resource, target.served
    if not isinstance(raw, dict):
        raise errors.bad_request(
            f'{resource.kind} in version "{served.version}" cannot be handled as a '
            f"{resource.kind}: json: cannot unmarshal into an object"
        )
    kind, version = raw.get("kind"), raw.get("apiVersion")
    if version and version != served.api_version:
        raise errors.bad_request(
            f"the API version in the data ({version}) does not match the expected "
            f"API version ({served.api_version})"
        )
    if kind and kind != resource.kind:
        raise errors.bad_request(
            f'{kind} in version "{served.version}" cannot be handled as a {resource.kind}: '
            f"converting ({served.version}.{kind}) to ({served.version}.{resource.kind}): "
            "unknown conversion"
        )
    unknown: list[str] = []
    try:
        object_ = decode(struct_of(resource, served), raw, unknown, sparse=sparse)
    except DecodeError as error:
        raise errors.bad_request(_unhandled(target, str(error))) from error
    texts = [f'unknown field "{path}"' for path in unknown]
    if texts and options.validation is Validation.STRICT:
        detail = f"strict decoding error: {', '.join(texts)}"
        raise errors.bad_request(_unhandled(target, detail))
    if options.validation is Validation.WARN:
        options.warnings.extend(texts)
    object_ = to_stored(resource, served, object_)
    identified = {"kind": resource.kind, "apiVersion": resource.api_version}
    object_ = {**identified, **object_, **identified}
    object_.setdefault("metadata", {})
    if not sparse:
        strategy.default(object_)
    return object_


def put_in_place(target: Target, object_: JsonObject) -> None:
    """Give the object the request's namespace and name, or refuse that it has others."""
    metadata = object_["metadata"]
    space, name = metadata.get("namespace", ""), metadata.get("name", "")
    if target.resource.namespaced:
        if space and space != target.namespace:
            if target.name:
                raise errors.bad_request(
                    f"the namespace of the object ({space}) does not match the namespace "
                    f"on the request ({target.namespace})"
                )
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent "
                "on the request"
            )
        metadata["namespace"] = target.namespace
    if target.name:
        if name and name != target.name:
            raise errors.bad_request(
                f"the name of the object ({name}) does not match the name on the URL "
                f"({target.name})"
            )
        metadata["name"] = target.name


def _unhandled(target: Target, detail: str) -> str:
    kind = target.resource.kind
    return f'{kind} in version "{target.served.version}" cannot be handled as a {kind}: {detail}'


def patched(target: Target, current: JsonObject, patch: Any, content_type: str) -> Any:
    """A raw object with a patch of one of the three textual kinds. Raises ApiError."""
    try:
        if content_type == JSON_PATCH:
            return json_patch(current, patch)
        if content_type == MERGE_PATCH:
            if not isinstance(patch, dict):
                raise PatchError("Invalid JSON Merge Patch", malformed=True)
            return merge_patch(current, patch)
        assert content_type == STRATEGIC_PATCH
        return strategic_patch(struct_of(target.resource, target.served), current, patch)
    except PatchError as error:
        if error.malformed:
            raise errors.bad_request(str(error)) from error
        raise errors.rejected_request() from error
