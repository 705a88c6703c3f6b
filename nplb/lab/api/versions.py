"""One stored form, several served ones: Events are core/v1 and events.k8s.io/v1.

Mirrors `pkg/apis/events/v1/conversion.go`. Every other kind is served as it is stored.
"""

from collections.abc import Mapping

from nplb.lab.api.registry import CORE, Resource, Served
from nplb.lab.api.schema import Type
from nplb.lab.api.store import JsonObject
from nplb.lab.api.types import SCHEMA

# Stored name -> name in events.k8s.io/v1.
_EVENT_FIELDS: Mapping[str, str] = {
    "eventTime": "eventTime",
    "series": "series",
    "reportingComponent": "reportingController",
    "reportingInstance": "reportingInstance",
    "action": "action",
    "reason": "reason",
    "involvedObject": "regarding",
    "related": "related",
    "message": "note",
    "type": "type",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}


def struct_of(resource: Resource, served: Served) -> Type:
    """The type of the objects of a resource in one version."""
    if resource.name == "events" and served != CORE:
        return SCHEMA["EventsV1Event"]
    return SCHEMA[resource.kind]


def to_served(resource: Resource, served: Served, object_: JsonObject) -> JsonObject:
    """A stored object in the version in which it is asked for."""
    if served == resource.served[0]:
        return object_
    converted = {
        "kind": resource.kind,
        "apiVersion": served.api_version,
        "metadata": object_["metadata"],
    }
    for stored, name in _EVENT_FIELDS.items():
        if stored in object_:
            converted[name] = object_[stored]
    return converted


def to_stored(resource: Resource, served: Served, object_: JsonObject) -> JsonObject:
    """An object in a served version as it is stored."""
    if served == resource.served[0]:
        return object_
    converted = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": object_["metadata"],
    }
    for stored, name in _EVENT_FIELDS.items():
        if name in object_:
            converted[stored] = object_[name]
    return converted
