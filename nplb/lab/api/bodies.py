"""Request bodies: read as JSON or YAML, and refused in the words of the API server's decoder.

Mirrors `apiserver/pkg/endpoints/handlers/{create,patch}.go` and `rest.go` (`summarizeData`).
"""

from typing import Any

from nplb.config import yaml
from nplb.lab.api import errors
from nplb.lab.api.jsontext import JsonError, loads
from nplb.lab.api.patch import APPLY_PATCH, PATCH_TYPES
from nplb.lab.api.protobuf import CONTENT_TYPE, ProtobufError, read_protobuf

JSON = "application/json"
YAML = "application/yaml"
_SUMMARY_BYTES = 30


def media_type(header: str) -> str:
    """The media type of a Content-Type header, JSON if there is none."""
    return header.partition(";")[0].strip().lower() or JSON


def read_object(body: bytes, content_type: str, kind: str) -> Any:
    """The object in a body. Raises ApiError."""
    if content_type == YAML:
        return _yaml(body)
    if content_type == CONTENT_TYPE:
        return _protobuf(body)
    if content_type != JSON:
        raise errors.unsupported_media_type([JSON, YAML, CONTENT_TYPE])
    try:
        return loads(body)
    except JsonError as error:
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get "
            f"version/kind; json parse error: {error} ({_summary(body)})"
        ) from error


def read_patch(body: bytes, content_type: str) -> Any:
    """The patch in a body. Raises ApiError."""
    if content_type not in PATCH_TYPES:
        raise errors.unsupported_media_type(PATCH_TYPES)
    if content_type == APPLY_PATCH:
        return _yaml(body)
    try:
        return loads(body)
    except JsonError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error


def read_options(body: bytes, content_type: str) -> dict[str, Any]:
    """The DeleteOptions in the body of a delete, which may be empty. Raises ApiError."""
    if not body.strip():
        return {}
    options = read_object(body, content_type, "DeleteOptions")
    return options if isinstance(options, dict) else {}


def _protobuf(body: bytes) -> Any:
    try:
        return read_protobuf(body)
    except (ProtobufError, UnicodeDecodeError) as error:
        raise errors.bad_request(f"the lab cannot read this protobuf: {error}") from error


def _yaml(body: bytes) -> Any:
    try:
        # Most bodies are JSON, which is YAML, and much quicker to read.
        return loads(body)
    except JsonError:
        pass
    try:
        documents = yaml.parse(body.decode(), file="body")
    except (yaml.YamlError, UnicodeDecodeError) as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from error
    if len(documents) != 1:
        raise errors.bad_request(f"error decoding YAML: {len(documents)} documents instead of one")
    return documents[0].value


def _summary(body: bytes) -> str:
    if not body:
        return "<empty>"
    more = " ..." if len(body) > _SUMMARY_BYTES else ""
    head = body[:_SUMMARY_BYTES]
    if body[:1] == b"{":
        return head.decode(errors="replace") + more
    return head.hex() + more
