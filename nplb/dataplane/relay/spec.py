"""What of a plan's frontend a worker is told, and what of a change."""

import hashlib
from dataclasses import fields
from functools import lru_cache
from typing import Any

from nplb.model.keys import Address, BackendKey, FrontendKey, Protocol, ServiceKey
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendState
from nplb.model.relay import RelayOptions
from nplb.policy.prefixes import admitted_sources

Change = list[int | float]
# What a row is kept under: a frontend's key as text, or what `row_name` makes of a backend's.
RowName = str | tuple[str, str, str, int]

# As `worker.backend` has them.
STATES = {BackendState.DOWN: 0, BackendState.ACTIVE: 1, BackendState.DRAINING: 2}


# Workers are told of the set of addresses that these amount to.
_RANGES = frozenset(
    f"{of}_ranges{file}" for of in ("source", "denied", "service") for file in ("", "_file")
)


@lru_cache(maxsize=256)
def _options(options: RelayOptions) -> dict[str, Any]:
    told = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in _RANGES}
    return {**told, "sources": sources_name(options)}


@lru_cache(maxsize=4096)
def sources_name(options: RelayOptions) -> str:
    """What workers know the clients that are admitted by; empty if everybody is."""
    sources = admitted_sources(options)
    return "" if sources is None else hashlib.sha256(sources.to_bytes()).hexdigest()[:16]


def row_name(name: str, key: BackendKey) -> tuple[str, str, str, int]:
    """What a backend's row is kept under: equal for equal keys, and hashed much faster.
    `name` is the frontend's key as text."""
    return name, key.node, key.address.ip, key.address.port


def key_of(name: RowName) -> FrontendKey | BackendKey:
    """The key that a row is kept under, back from its name. Errors: ValueError."""
    if not isinstance(name, str):
        frontend, node, ip, port = name
        return BackendKey(_frontend_key(frontend), node, Address(ip, int(port)))
    return _frontend_key(name)


def _frontend_key(text: str) -> FrontendKey:
    rest, _, protocol = text.rpartition("/")
    service, _, port = rest.rpartition(":")
    cluster, namespace, name = service.split("/")
    return FrontendKey(ServiceKey(cluster, namespace, name), int(port), Protocol(protocol))


def frontend_message(frontend: Frontend, row: int, rows: list[int]) -> dict[str, Any]:
    """The frame that tells a worker of a whole frontend. `rows` are those of its backends."""
    timeouts = frontend.timeouts
    service = frontend.key.service
    relay = _options(frontend.relay)
    return {
        "op": "frontend",
        "row": row,
        "name": str(frontend.key),
        "balance": frontend.balance.value,
        "attempts": frontend.connect_attempts,
        "timeouts": [timeouts.connect, timeouts.idle, timeouts.half_closed],
        "relay": {**relay, "service": [service.cluster, service.namespace, service.name]},
        "backends": [
            [
                backend_row,
                backend.key.address.ip,
                backend.key.address.port,
                STATES[backend.state],
                backend.weight,
                backend.since,
                backend.tier,
            ]
            for backend, backend_row in zip(frontend.backends, rows, strict=True)
        ],
    }


def quick_changes(old: Frontend, new: Frontend, row: int, rows: list[int]) -> list[Change] | None:
    """The changed states and weights, when nothing else has changed; None otherwise. `rows`
    are those of the backends."""
    if len(old.backends) != len(new.backends) or not _same_settings(old, new):
        return None
    changes: list[Change] = []
    for index, (before, after) in enumerate(zip(old.backends, new.backends, strict=True)):
        if before is after:
            continue
        if before.key is not after.key and not _same_backend(before, after):
            return None
        if before.tier != after.tier:
            return None
        if before.weight != after.weight or before.state is not after.state:
            state = STATES[after.state]
            changes.append([row, rows[index], state, after.weight, after.since])
    return changes


def _same_settings(old: Frontend, new: Frontend) -> bool:
    return (
        (old.listen is new.listen or old.listen == new.listen)
        and old.balance is new.balance
        and old.connect_attempts == new.connect_attempts
        and (old.timeouts is new.timeouts or old.timeouts == new.timeouts)
        and (old.relay is new.relay or old.relay == new.relay)
    )


def _same_backend(before: Backend, after: Backend) -> bool:
    """Whether two backends of one frontend are the same one (the frontend's key is)."""
    one, two = before.key, after.key
    return (
        one.node == two.node
        and one.address.ip == two.address.ip
        and one.address.port == two.address.port
    )
