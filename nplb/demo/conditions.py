"""Conditions of a status, as `/api/v1/status` gives it: what scripts wait for."""

from collections.abc import Callable
from typing import Any

Check = Callable[[dict[str, Any]], bool]


def backends_of(status: dict[str, Any], node: str) -> list[dict[str, Any]]:
    """A node's backend in every frontend."""
    return [
        backend
        for frontend in status["plan"]["frontends"]
        for backend in frontend["backends"]
        if backend["key"]["node"] == node
    ]


def is_out(node: str) -> Check:
    """Whether no service sends new clients to a node."""
    return lambda status: all(b["state"] != "active" for b in backends_of(status, node))


def is_in(node: str) -> Check:
    """Whether every service that may use a node does."""
    return lambda status: all(
        b["state"] == "active" or b["reason"] in ("no_local_endpoint", "local_terminating")
        for b in backends_of(status, node)
    )


def is_as(node: str, state: str, reason: str) -> Check:
    """Whether a node is in this state, for this reason, in every service."""
    return lambda status: all(
        (b["state"], b["reason"]) == (state, reason) for b in backends_of(status, node)
    )


def is_gone(node: str) -> Check:
    """Whether no service knows a node."""
    return lambda status: not backends_of(status, node)


def is_served(port: int) -> Check:
    """Whether a listener on this port sends clients to working nodes."""
    return lambda status: any(
        frontend["state"] == "serving"
        for frontend in status["plan"]["frontends"]
        if any(address["port"] == port for address in frontend["listen"])
    )


def has_reloaded(count: int) -> Check:
    """Whether so many reloads have been tried."""
    return lambda status: bool(status["reload"]["count"] >= count)


def sources_are(state: str) -> Check:
    """Whether every cluster's source is in a state (a word of SourceState)."""
    return lambda status: all(source["state"] == state for source in status["sources"])
