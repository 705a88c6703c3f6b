"""ApiServer: kube-apiserver's HTTP interface on loopback, and the same operations in process."""

import datetime
import json
import uuid
from typing import Any

from aiohttp import web

from nplb.lab.api import errors
from nplb.lab.api.faults import ApiFaults
from nplb.lab.api.registry import REGISTRY, Resource
from nplb.lab.api.store import JsonObject, Store


class ApiServer:
    """One API server. `rng` draws ports and addresses; `token` is the bearer token."""

    def __init__(
        self,
        *,
        node_port_range: str = "30000-32767",
        service_cidr: str = "10.96.0.0/16",
        rng: Any,
        token: str,
    ) -> None:
        self.token = token
        self.url = ""
        self.store = Store()
        self.faults = ApiFaults()
        self._rng = rng
        self._node_port_range = node_port_range
        self._service_cidr = service_cidr
        self._runner: web.AppRunner | None = None
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create("namespaces", {"metadata": {"name": name}})

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. `url` is set when this returns."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        self.url = f"http://{bound_host}:{bound_port}"

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    # -- operations in process ----------------------------------------------

    def create(self, resource: str, obj: JsonObject, namespace: str | None = None) -> JsonObject:
        """Create an object and return it as stored. Raises ApiError."""
        kind = REGISTRY.resources[resource]
        object_: JsonObject = json.loads(json.dumps(obj))
        object_ = {"kind": kind.kind, "apiVersion": kind.api_version, **object_}
        metadata = object_.setdefault("metadata", {})
        if kind.namespaced:
            metadata.setdefault("namespace", namespace or "default")
        space = metadata.get("namespace", "")
        if self.store.record(resource, metadata["name"], space):
            raise errors.already_exists(resource, metadata["name"], kind.group)
        metadata["uid"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        now = datetime.datetime.now(datetime.UTC)
        metadata["creationTimestamp"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.store.put(resource, object_).copy()

    def update(self, resource: str, obj: JsonObject, namespace: str | None = None) -> JsonObject:
        """Replace an object (not its status) and return it as stored. Raises ApiError."""
        return self._replace(resource, obj, namespace, "status")

    def update_status(
        self, resource: str, obj: JsonObject, namespace: str | None = None
    ) -> JsonObject:
        """Replace an object's status and return the object as stored. Raises ApiError."""
        return self._replace(resource, obj, namespace, "spec")

    def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        content_type: str = "application/merge-patch+json",
        subresource: str = "",
    ) -> JsonObject:
        """Patch an object and return it as stored. Raises ApiError."""
        del content_type, subresource
        record = self._present(REGISTRY.resources[resource], name, namespace)
        merged = record.copy()
        _merge(merged, patch)
        return self.store.put(resource, merged).copy()

    def delete(self, resource: str, name: str, namespace: str | None = None) -> None:
        """Delete an object. Raises ApiError."""
        self.store.remove(resource, self._present(REGISTRY.resources[resource], name, namespace))

    def _present(self, kind: Resource, name: str, namespace: str | None) -> Any:
        space = (namespace or "default") if kind.namespaced else ""
        record = self.store.record(kind.name, name, space)
        if record is None:
            raise errors.not_found(kind.name, name, kind.group)
        return record

    def _replace(
        self, resource: str, obj: JsonObject, namespace: str | None, kept: str
    ) -> JsonObject:
        kind = REGISTRY.resources[resource]
        object_: JsonObject = json.loads(json.dumps(obj))
        metadata = object_["metadata"]
        space = namespace or metadata.get("namespace")
        live = self._present(kind, metadata["name"], space).object
        object_["metadata"] = {**live["metadata"], **metadata}
        if kept in live:
            object_[kept] = live[kept]
        object_ = {"kind": kind.kind, "apiVersion": kind.api_version, **object_}
        return self.store.put(resource, object_).copy()


def _merge(target: JsonObject, patch: JsonObject) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = value
