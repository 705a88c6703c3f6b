"""What the lab's nodes know of the cluster: Services with their slices, decoded once for all.

Follows the API server's store and tells its readers which Services changed, gathered per turn of
the event loop: a hundred changes at once are one sync.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from nplb.lab.api.store import Store
from nplb.model.cluster import EndpointSlice, Service
from nplb.model.errors import ClusterError
from nplb.model.keys import ServiceKey
from nplb.sources.decode import decode_service, decode_slice

log = logging.getLogger(__name__)

CLUSTER = "lab"
DELETED = "DELETED"

OnChange = Callable[[frozenset[ServiceKey]], None]


class ClusterView:
    """Services and endpoint slices as they are now. `start` subscribes, `stop` ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        self._loop = loop
        self._store = store
        self._services: dict[ServiceKey, Service] = {}
        self._slices: dict[tuple[str, str], EndpointSlice] = {}
        self._slices_of: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        # By namespace and the least item of the selector, or thousands of Services would be
        # looked through for every change of a pod.
        self._by_selector: dict[tuple[str, tuple[str, str]], set[ServiceKey]] = {}
        self._readers: list[OnChange] = []
        self._dirty: set[ServiceKey] = set()
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Follow the store; what exists now is taken in before this returns."""
        self._unsubscribe = [
            self._store.subscribe("services", self._on_service),
            self._store.subscribe("endpointslices", self._on_slice),
        ]

    def stop(self) -> None:
        """Follow it no longer."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._readers = []

    def service(self, key: ServiceKey) -> Service | None:
        """A Service, None if there is none."""
        return self._services.get(key)

    def services(self) -> tuple[Service, ...]:
        """Every Service, sorted by namespace and name."""
        return tuple(self._services[key] for key in sorted(self._services))

    def slices(self, key: ServiceKey) -> tuple[EndpointSlice, ...]:
        """The endpoint slices of a Service, sorted by name."""
        of = self._slices_of.get(key, {})
        return tuple(of[name] for name in sorted(of))

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> tuple[Service, ...]:
        """The Services of a namespace whose selector matches these labels."""
        found = [
            service
            for item in labels.items()
            for key in self._by_selector.get((namespace, item), ())
            if (service := self._services[key]).selector.items() <= labels.items()
        ]
        return tuple(sorted(found, key=lambda service: service.key))

    def subscribe(self, reader: OnChange) -> Callable[[], None]:
        """Call `reader` with every key at once, then with the keys that changed. Returns the
        function that ends it."""
        self._readers.append(reader)
        reader(frozenset(self._services))

        def unsubscribe() -> None:
            if reader in self._readers:
                self._readers.remove(reader)

        return unsubscribe

    @property
    def settled(self) -> bool:
        """Whether every reader has been told of everything."""
        return not self._dirty

    def _on_service(self, type_: str, raw: dict[str, Any]) -> None:
        meta = raw["metadata"]
        key = ServiceKey(CLUSTER, meta["namespace"], meta["name"])
        new = None
        if type_ != DELETED:
            try:
                new = decode_service(raw, cluster=CLUSTER)
            except ClusterError:
                log.exception("a Service that the API server has taken makes no sense")
                return
        old = self._services.pop(key, None)
        if old is not None and old.selector:
            index = (key.namespace, min(old.selector.items()))
            self._by_selector[index].discard(key)
            if not self._by_selector[index]:
                del self._by_selector[index]
        if new is not None:
            self._services[key] = new
            if new.selector:
                index = (key.namespace, min(new.selector.items()))
                self._by_selector.setdefault(index, set()).add(key)
        self._touch(key)

    def _on_slice(self, type_: str, raw: dict[str, Any]) -> None:
        meta = raw["metadata"]
        id_ = (meta["namespace"], meta["name"])
        old = self._slices.pop(id_, None)
        if old is not None:
            key = ServiceKey(CLUSTER, old.namespace, old.service)
            of = self._slices_of[key]
            of.pop(old.name, None)
            if not of:
                del self._slices_of[key]
            self._touch(key)
        if type_ == DELETED:
            return
        try:
            new = decode_slice(raw)
        except ClusterError:
            log.exception("an EndpointSlice that the API server has taken makes no sense")
            return
        if new.service:
            self._slices[id_] = new
            key = ServiceKey(CLUSTER, new.namespace, new.service)
            self._slices_of.setdefault(key, {})[new.name] = new
            self._touch(key)

    def _touch(self, key: ServiceKey) -> None:
        if not self._dirty:
            self._loop.call_soon(self._tell)
        self._dirty.add(key)

    def _tell(self) -> None:
        dirty, self._dirty = frozenset(self._dirty), set()
        for reader in tuple(self._readers):
            try:
                reader(dirty)
            except Exception:
                # The others must learn of it all the same: nodes, controllers, ClusterIPs.
                log.exception("a reader failed on changes of %s", ", ".join(map(str, dirty)))
