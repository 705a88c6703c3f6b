"""How the lab's own controllers write to its API: in process, level by level, never in a hurry.

They write what they see; that an object has gone meanwhile is no error to them.
"""

import asyncio
import datetime
import logging
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from nplb.lab.api.errors import ApiError
from nplb.lab.api.server import ApiServer

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
K = TypeVar("K", bound=Hashable)


def timestamp(seconds: float) -> str:
    """A time (epoch seconds) as `metav1.Time`: whole seconds."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(seconds: float) -> str:
    """A time (epoch seconds) as `metav1.MicroTime`."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def patch(
    api: ApiServer,
    resource: str,
    name: str,
    change: dict[str, Any],
    *,
    namespace: str | None = None,
    subresource: str = "",
) -> bool:
    """Merge a change into an object. False if there is no such object."""
    try:
        api.patch(resource, name, change, namespace=namespace, subresource=subresource)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    return True


def delete(
    api: ApiServer,
    resource: str,
    name: str,
    *,
    namespace: str | None = None,
    grace_seconds: int | None = None,
) -> bool:
    """Delete an object. False if there is no such object. A pod that runs is told to stop first,
    and has `grace_seconds` (its own unless given; 0 removes it at once)."""
    try:
        api.delete(resource, name, namespace, grace_seconds=grace_seconds)
    except ApiError as error:
        if error.code != 404:
            raise
        return False
    return True


def bind(api: ApiServer, name: str, namespace: str, node: str) -> None:
    """Bind a pod to a node, as `pods/binding` does for a scheduler: the one way in which a
    pod's nodeName changes, so no update would be allowed to."""
    pod = api.store.get("pods", name, namespace)
    if pod is not None and not pod["spec"].get("nodeName"):
        pod["spec"]["nodeName"] = node
        api.store.put("pods", pod)


class WorkQueue(Generic[K]):
    """Keys to be looked at, each once however often it was added, one turn of the loop later.

    A key whose handler raised is tried again.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, handle: Callable[[K], None]
    ) -> None:
        self._loop = loop
        self._name = name
        self._handle = handle
        self._keys: dict[K, None] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: K) -> None:
        """Look at a key soon."""
        if self._closed:
            return
        if not self._keys:
            self._loop.call_soon(self._run)
        self._keys[key] = None

    def add_later(self, key: K, seconds: float) -> None:
        """Look at a key after a while."""
        if self._closed:
            return

        def due() -> None:
            self._timers.discard(timer)
            self.add(key)

        timer = self._loop.call_later(seconds, due)
        self._timers.add(timer)

    def close(self) -> None:
        """Look at nothing any more."""
        self._closed = True
        self._keys.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _run(self) -> None:
        keys, self._keys = self._keys, {}
        for key in keys:
            if self._closed:
                return
            try:
                self._handle(key)
            except Exception:
                log.exception("%s failed on %s, and will try again", self._name, key)
                self.add_later(key, RETRY_SECONDS)
