"""The form in which a client asked for objects: whole, as a table, or their metadata alone.

Mirrors `apiserver/pkg/endpoints/handlers/response.go` and the negotiation before it: the first
form of the Accept header that the server knows is used.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nplb.lab.api import errors
from nplb.lab.api.listing import Page
from nplb.lab.api.registry import Resource, Served
from nplb.lab.api.store import JsonObject, Record, encode
from nplb.lab.api.tables import cells, column_definitions
from nplb.lab.api.versions import to_served

JSON = "application/json"


class Form(StrEnum):
    """What an object becomes, as the Accept header's `as` spells it."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"


def negotiate(accept: str) -> Form:
    """The form that an Accept header asks for. Raises ApiError 406."""
    if not accept:
        return Form.OBJECT
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media not in (JSON, "application/*", "*/*"):
            continue
        wanted = values.get("as", "")
        if not wanted:
            return Form.OBJECT
        known = wanted in tuple(Form) and values.get("g") == "meta.k8s.io"
        if known and values.get("v") == "v1":
            return Form(wanted)
    raise errors.not_acceptable([JSON])


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Writes objects of one resource in one form and version. `include` is how much of each
    object a table carries: `None`, `Metadata` or `Object`."""

    resource: Resource
    served: Served
    form: Form = Form.OBJECT
    include: str = "Metadata"

    def body(self, record: Record) -> bytes:
        """One object, as the answer to a get, or in an event of a watch."""
        if self.form is Form.OBJECT:
            return self._whole(record)
        if self.form is Form.TABLE:
            version = record.object["metadata"]["resourceVersion"]
            return encode(self._table([record], {"resourceVersion": version}))
        return encode(self._partial(record.object))

    def event(self, record: Record, *, first: bool) -> bytes:
        """One object in an event of a watch; the columns of a table come with the first."""
        if self.form is not Form.TABLE:
            return self.body(record)
        version = record.object["metadata"]["resourceVersion"]
        table = self._table([record], {"resourceVersion": version})
        if not first:
            table["columnDefinitions"] = None
        return encode(table)

    def page(self, page: Page) -> bytes:
        """A list."""
        metadata: JsonObject = {"resourceVersion": str(page.revision)}
        if page.token:
            metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        if self.form is Form.TABLE:
            return encode(self._table(page.records, metadata))
        if self.form is Form.OBJECT:
            head = encode(
                {
                    "kind": f"{self.resource.kind}List",
                    "apiVersion": self.served.api_version,
                    "metadata": metadata,
                }
            )
            items = b",".join(self._item(record) for record in page.records)
            return head[:-1] + b',"items":[' + items + b"]}"
        return encode(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": [{"metadata": record.object["metadata"]} for record in page.records],
            }
        )

    def _whole(self, record: Record) -> bytes:
        if self.served == self.resource.served[0]:
            return record.body
        return encode(to_served(self.resource, self.served, record.object))

    def _item(self, record: Record) -> bytes:
        """An object in a list: without kind and apiVersion, which stand first."""
        identity = {"kind": self.resource.kind, "apiVersion": self.served.api_version}
        prefix = encode(identity)[:-1] + b","
        whole = self._whole(record)
        assert whole.startswith(prefix)
        return b"{" + whole[len(prefix) :]

    def _table(self, records: Sequence[Record], metadata: JsonObject) -> JsonObject:
        now = time.time()
        name = self.resource.name
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": column_definitions(name),
            "rows": [
                {"cells": cells(name, record.object, now), "object": self._included(record.object)}
                for record in records
            ],
        }

    def _included(self, object_: JsonObject) -> JsonObject | None:
        match self.include:
            case "None":
                return None
            case "Object":
                return to_served(self.resource, self.served, object_)
            case _:
                return self._partial(object_)

    def _partial(self, object_: JsonObject) -> JsonObject:
        return {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": object_["metadata"],
        }
