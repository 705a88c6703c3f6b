"""What names, labels and annotations may be, refused in the API server's words.

Mirrors `apimachinery/pkg/util/validation/validation.go` and `pkg/api/validation/objectmeta.go`.
"""

import re
from collections.abc import Callable
from typing import Any

from nplb.lab.api.errors import FieldError, forbidden_field, invalid_value, required, too_long
from nplb.lab.api.store import JsonObject

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SERVICE_PORT_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_ANNOTATIONS_MAX_BYTES = 256 * 1024

Problems = Callable[[str], list[str]]


def _regex_problem(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples).rstrip(", ")
    return f"{message} (e.g. {shown}, regex used for validation is '{pattern}')"


def _length_problem(maximum: int) -> str:
    return f"must be no more than {maximum} characters"


def dns_label_problems(value: str) -> list[str]:
    """`IsDNS1123Label`."""
    problems = [_length_problem(63)] if len(value) > 63 else []
    if not re.fullmatch(_LABEL, value):
        message = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or "
            "'-', and must start and end with an alphanumeric character"
        )
        problems.append(_regex_problem(message, _LABEL, "my-name", "123-abc"))
    return problems


def dns_subdomain_problems(value: str) -> list[str]:
    """`IsDNS1123Subdomain`."""
    problems = [_length_problem(253)] if len(value) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character"
        )
        problems.append(_regex_problem(message, _SUBDOMAIN, "example.com"))
    return problems


def qualified_name_problems(value: str) -> list[str]:
    """`IsQualifiedName`: a label's or annotation's key."""
    problems: list[str] = []
    prefix, slash, name = value.rpartition("/")
    shape = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
    rule = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
        "an alphanumeric character"
    )
    if value.count("/") > 1:
        problem = _regex_problem(f"a qualified name {rule}", shape, "MyName", "my.name", "123-abc")
        return [
            f"{problem} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems += [f"prefix part {problem}" for problem in dns_subdomain_problems(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append(f"name part {_length_problem(63)}")
    if not re.fullmatch(_QUALIFIED, name):
        problems.append(_regex_problem(f"name part {rule}", shape, "MyName", "my.name", "123-abc"))
    return problems


def label_value_problems(value: str) -> list[str]:
    """`IsValidLabelValue`."""
    problems = [_length_problem(63)] if len(value) > 63 else []
    if not re.fullmatch(_LABEL_VALUE, value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', "
            "'_' or '.', and must start and end with an alphanumeric character"
        )
        problems.append(_regex_problem(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return problems


def port_name_problems(value: str) -> list[str]:
    """`IsValidPortName`: the name of a pod's port."""
    problems: list[str] = []
    if len(value) > 15:
        problems.append(_length_problem(15))
    if not re.fullmatch(r"[-a-z0-9]+", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def validate_metadata(
    object_: JsonObject, *, namespaced: bool, name_problems: Problems
) -> list[FieldError]:
    """`ValidateObjectMeta`."""
    metadata = object_["metadata"]
    found: list[FieldError] = []
    name: str = metadata.get("name", "")
    generate = metadata.get("generateName", "")
    if generate and (problems := name_problems(f"{generate.rstrip('-.')}x")):
        found += [invalid_value("metadata.generateName", generate, text) for text in problems]
    if name:
        found += [invalid_value("metadata.name", name, text) for text in name_problems(name)]
    else:
        found.append(required("metadata.name", "name or generateName is required"))
    if namespaced and not metadata.get("namespace"):
        found.append(required("metadata.namespace"))
    if not namespaced and metadata.get("namespace"):
        found.append(forbidden_field("metadata.namespace", "not allowed on this type"))
    found += validate_labels(metadata.get("labels") or {}, "metadata.labels")
    found += _validate_annotations(metadata.get("annotations") or {})
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        place = f"metadata.finalizers[{index}]"
        found += [
            invalid_value(place, finalizer, text) for text in qualified_name_problems(finalizer)
        ]
    return found


def validate_labels(labels: dict[str, str], place: str) -> list[FieldError]:
    """`ValidateLabels`."""
    found: list[FieldError] = []
    for key in sorted(labels):
        found += [invalid_value(place, key, text) for text in qualified_name_problems(key)]
        found += [
            invalid_value(place, labels[key], text) for text in label_value_problems(labels[key])
        ]
    return found


def _validate_annotations(annotations: dict[str, str]) -> list[FieldError]:
    found: list[FieldError] = []
    size = 0
    for key in sorted(annotations):
        size += len(key.encode()) + len(annotations[key].encode())
        found += [
            invalid_value("metadata.annotations", key, text)
            for text in qualified_name_problems(key.lower())
        ]
    if size > _ANNOTATIONS_MAX_BYTES:
        found.append(too_long("metadata.annotations", _ANNOTATIONS_MAX_BYTES))
    return found


def validate_metadata_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """`ValidateObjectMetaUpdate`: what may not change."""
    found: list[FieldError] = []
    for name in ("name", "namespace", "uid", "creationTimestamp"):
        before: Any = old["metadata"].get(name)
        after: Any = new["metadata"].get(name)
        if before != after:
            found.append(invalid_value(f"metadata.{name}", after, "field is immutable"))
    return found
