"""OpenAPI documents, drawn from the tables of types.

kubectl reads them to learn whether the server checks unknown fields and can run dry (the
`fieldValidation` and `dryRun` parameters of a patch), and for `kubectl explain`. Old kubectls
want version 2 as protobuf; they get one without models, and so leave validation to the server.
"""

from collections.abc import Mapping

from nplb.lab.api.discovery import VERSION
from nplb.lab.api.patch import PATCH_TYPES
from nplb.lab.api.registry import REGISTRY, Resource, Served
from nplb.lab.api.schema import Shape, Type
from nplb.lab.api.store import JsonObject, encode
from nplb.lab.api.versions import struct_of

PROTOBUF_V2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_SCALARS: Mapping[str, JsonObject] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "Time": {"type": "string", "format": "date-time"},
    "intstr": {"type": "string", "format": "int-or-string"},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}


def version_2() -> JsonObject:
    """`/openapi/v2` as JSON: no models."""
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": {},
        "definitions": {},
    }


def version_2_protobuf() -> bytes:
    """`/openapi/v2` as protobuf: no models, and of the paths only what says that a kind can be
    patched dry. Field numbers after gnostic's `openapiv2/OpenAPIv2.proto`."""
    parameter = _field(1, _field(2, _field(3, _field(2, b"query") + _field(4, b"dryRun"))))
    paths = b""
    for served in REGISTRY.groups():
        for resource in REGISTRY.in_group(served):
            gvk = {"group": served.group, "version": served.version, "kind": resource.kind}
            name = _field(1, b"x-kubernetes-group-version-kind")
            extension = name + _field(2, _field(2, encode(gvk)))
            patch = _field(8, parameter) + _field(13, extension)
            path = f"{served.path}/{resource.name}/{{name}}".encode()
            paths += _field(2, _field(1, path) + _field(2, _field(8, patch)))
    info = _field(1, b"Kubernetes") + _field(2, VERSION["gitVersion"].encode())
    return _field(1, b"2.0") + _field(2, info) + _field(8, paths)


def _field(number: int, content: bytes) -> bytes:
    """One length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def version_3_index() -> JsonObject:
    """`/openapi/v3`: where the documents of the groups are."""
    paths = (served.path.removeprefix("/") for served in REGISTRY.groups())
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}


def version_3(served: Served) -> JsonObject:
    """`/openapi/v3/<path of a group and version>`."""
    schemas: JsonObject = {}
    paths: JsonObject = {}
    for resource in REGISTRY.in_group(served):
        _add(struct_of(resource, served), schemas)
        group = {"group": served.group, "version": served.version, "kind": resource.kind}
        schemas[_model(struct_of(resource, served))]["x-kubernetes-group-version-kind"] = [group]
        paths.update(_paths(resource, served, group))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def served_at(path: str) -> Served | None:
    """The group and version whose document is asked for, None if there is none."""
    for served in REGISTRY.groups():
        if f"/openapi/v3{served.path}" == path:
            return served
    return None


def _paths(resource: Resource, served: Served, group: JsonObject) -> JsonObject:
    inside = "/namespaces/{namespace}" if resource.namespaced else ""
    reference = {"$ref": f"#/components/schemas/{_model(struct_of(resource, served))}"}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]

    def operation(action: str, body: JsonObject | None) -> JsonObject:
        content = {"application/json": {"schema": reference}}
        written: JsonObject = {
            "operationId": f"{action}{resource.kind}",
            "parameters": parameters if body else [],
            "responses": {"200": {"description": "OK", "content": content}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": group,
        }
        if body:
            written["requestBody"] = {"content": body}
        return written

    whole = {"application/json": {"schema": reference}}
    patches: JsonObject = {type_: {"schema": {"type": "object"}} for type_ in PATCH_TYPES}
    base = f"{served.path}{inside}/{resource.name}"
    return {
        base: {"get": operation("list", None), "post": operation("post", whole)},
        f"{base}/{{name}}": {
            "get": operation("get", None),
            "put": operation("put", whole),
            "patch": operation("patch", patches),
            "delete": operation("delete", None),
        },
    }


def _model(struct: Type) -> str:
    name = "Event" if struct.name == "EventsV1Event" else struct.name
    return f"io.k8s.api.{name}"


def _add(struct: Type, schemas: JsonObject) -> None:
    """Add the model of a struct and of those that it refers to."""
    name = _model(struct)
    if name in schemas:
        return
    model: JsonObject = {"type": "object", "properties": {}}
    schemas[name] = model
    for field in struct.fields.values():
        model["properties"][field.name] = _property(field.type, schemas)
    required = [field.name for field in struct.fields.values() if field.always]
    if required:
        model["required"] = required


def _property(type_: Type, schemas: JsonObject) -> JsonObject:
    match type_.shape:
        case Shape.SCALAR:
            return dict(_SCALARS[type_.name])
        case Shape.STRUCT:
            _add(type_, schemas)
            return {"allOf": [{"$ref": f"#/components/schemas/{_model(type_)}"}]}
        case Shape.MAP:
            return {
                "type": "object", "additionalProperties": _property(type_.element, schemas),
            }  # fmt: skip
        case Shape.LIST:
            listed: JsonObject = {"type": "array", "items": _property(type_.element, schemas)}
            listed["x-kubernetes-list-type"] = (
                "set" if type_.is_set else "map" if type_.keys else "atomic"
            )
            if type_.keys:
                listed["x-kubernetes-list-map-keys"] = list(type_.keys)
            if type_.merges:
                listed["x-kubernetes-patch-strategy"] = "merge"
            if type_.merge_key:
                listed["x-kubernetes-patch-merge-key"] = type_.merge_key
            return listed
