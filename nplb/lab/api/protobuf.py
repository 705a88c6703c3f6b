"""The few requests that kubectl sends as protobuf: `create namespace|configmap|service`,
`auth can-i`, and the options of a delete.

Field numbers after the `generated.proto` files of `staging/src/k8s.io/{api,apimachinery}`. Only
what these commands send is known; a message with anything else is refused rather than read in
part. Answers are JSON, which every client takes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


class ProtobufError(Exception):
    """Bytes that are no such message, or hold what is not known here."""


# By message: number -> (name, type). Types are `string`, `bytes`, `int`, `bool`, `intstr`, `map`
# (of strings), the name of a message, any of them with `[]` in front; `-` is skipped.
_Fields = Mapping[int, tuple[str, str]]


def _table(text: str) -> _Fields:
    rows = (line.split() for line in text.strip().splitlines())
    return {int(number): (name, type_) for number, name, type_ in rows}


_OBJECT = "1 metadata ObjectMeta\n2 spec {}\n3 status -"
MESSAGES: Mapping[str, _Fields] = {
    "Unknown": _table("""
        1 typeMeta TypeMeta
        2 raw bytes
        3 contentEncoding string
        4 contentType string
    """),
    "TypeMeta": _table("1 apiVersion string\n2 kind string"),
    "ObjectMeta": _table("""
        1 name string
        2 generateName string
        3 namespace string
        5 uid string
        6 resourceVersion string
        7 generation int
        11 labels map
        12 annotations map
        14 finalizers []string
        17 managedFields -
    """),
    "Namespace": _table(_OBJECT.format("NamespaceSpec")),
    "NamespaceSpec": _table("1 finalizers []string"),
    "ConfigMap": _table("1 metadata ObjectMeta\n2 data map\n4 immutable bool"),
    "Service": _table(_OBJECT.format("ServiceSpec")),
    "ServiceSpec": _table("""
        1 ports []ServicePort
        2 selector map
        3 clusterIP string
        4 type string
        5 externalIPs []string
        7 sessionAffinity string
        8 loadBalancerIP string
        9 loadBalancerSourceRanges []string
        10 externalName string
        11 externalTrafficPolicy string
        12 healthCheckNodePort int
        13 publishNotReadyAddresses bool
        17 ipFamilyPolicy string
        18 clusterIPs []string
        19 ipFamilies []string
        20 allocateLoadBalancerNodePorts bool
        21 loadBalancerClass string
        22 internalTrafficPolicy string
        23 trafficDistribution string
    """),
    "ServicePort": _table("""
        1 name string
        2 protocol string
        3 port int
        4 targetPort intstr
        5 nodePort int
        6 appProtocol string
    """),
    "SelfSubjectAccessReview": _table(_OBJECT.format("SelfSubjectAccessReviewSpec")),
    "SelfSubjectAccessReviewSpec": _table("""
        1 resourceAttributes ResourceAttributes
        2 nonResourceAttributes NonResourceAttributes
    """),
    "ResourceAttributes": _table("""
        1 namespace string
        2 verb string
        3 group string
        4 version string
        5 resource string
        6 subresource string
        7 name string
    """),
    "NonResourceAttributes": _table("1 path string\n2 verb string"),
    "SelfSubjectRulesReview": _table(_OBJECT.format("SelfSubjectRulesReviewSpec")),
    "SelfSubjectRulesReviewSpec": _table("1 namespace string"),
    "SelfSubjectReview": _table("1 metadata ObjectMeta\n2 status -"),
    "DeleteOptions": _table("""
        1 gracePeriodSeconds int
        2 preconditions Preconditions
        3 orphanDependents bool
        4 propagationPolicy string
        5 dryRun []string
    """),
    "Preconditions": _table("1 uid string\n2 resourceVersion string"),
}


def read_protobuf(body: bytes) -> dict[str, Any]:
    """The object in a request's body, as JSON would have it. Raises ProtobufError."""
    if not body.startswith(_MAGIC):
        raise ProtobufError("the body does not begin as a Kubernetes protobuf message")
    envelope = _message("Unknown", body[len(_MAGIC) :])
    meta = envelope.get("typeMeta", {})
    kind = meta.get("kind", "")
    if kind not in MESSAGES:
        raise ProtobufError(f"a {kind or 'message without a kind'} is taken as JSON only")
    object_ = {"kind": kind, "apiVersion": meta.get("apiVersion", "")}
    return {**object_, **_message(kind, envelope.get("raw", b""))}


def _message(name: str, data: bytes) -> dict[str, Any]:
    fields = MESSAGES[name]
    read: dict[str, Any] = {}
    for number, value in _entries(data):
        if number not in fields and not value:
            continue  # Go writes empty fields as well
        if number not in fields:
            raise ProtobufError(f"field {number} of {name} is taken as JSON only")
        field, type_ = fields[number]
        if type_ == "-":
            continue
        if type_ == "map":
            entry = dict(_entries(_bytes(value)))
            key, item = (_bytes(entry.get(index, b"")).decode() for index in (1, 2))
            read.setdefault(field, {})[key] = item
        elif type_.startswith("[]"):
            read.setdefault(field, []).append(_value(type_.removeprefix("[]"), value))
        else:
            read[field] = _value(type_, value)
    return read


def _value(type_: str, value: int | bytes) -> Any:
    reader = _SCALARS.get(type_)
    return reader(value) if reader else _message(type_, _bytes(value))


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("a number stands where text or a message should")
    return value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ProtobufError("text or a message stands where a number should")
    return value - 2**64 if value >= 2**63 else value


def _int_or_string(value: int | bytes) -> int | str:
    """IntOrString: which of the two it is, the number, the text."""
    parts = dict(_entries(_bytes(value)))
    if _int(parts.get(1, 0)) == 0:
        return _int(parts.get(2, 0))
    return _bytes(parts.get(3, b"")).decode()


_SCALARS: Mapping[str, Callable[[int | bytes], Any]] = {
    "string": lambda value: _bytes(value).decode(),
    "bytes": _bytes,
    "int": _int,
    "bool": lambda value: bool(_int(value)),
    "intstr": _int_or_string,
}


def _entries(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in order: number, and a varint or bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        match key & 7:
            case 0:
                value, place = _varint(data, place)
                yield key >> 3, value
            case 2:
                length, place = _varint(data, place)
                if place + length > len(data):
                    raise ProtobufError("the message is cut short")
                yield key >> 3, data[place : place + length]
                place += length
            case other:
                raise ProtobufError(f"wire type {other} is not used by these messages")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value & (2**64 - 1), place
        shift += 7
    raise ProtobufError("the message is cut short")
