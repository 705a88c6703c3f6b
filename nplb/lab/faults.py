"""Faults on command: what is broken now, of nodes, of pods and of the API server.

A fault is a level: it lasts until it is cleared (or for the seconds it was given), several may be
on one target, and what the target is like follows from all of them together.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Protocol

from nplb.lab.catalogue import API, FLAP_SECONDS, NODE, POD, Fault, read_spec
from nplb.lab.fabric import Impairment
from nplb.lab.interface import Reach
from nplb.lab.node import Condition
from nplb.model.errors import ConfigurationError

log = logging.getLogger(__name__)


class UnknownTargetError(ConfigurationError):
    """There is no such node, pod or fault; the message says what there is."""


class Targets(Protocol):
    """What faults act on: the lab."""

    def node_names(self) -> tuple[str, ...]:
        """Every machine."""

    def set_node_condition(self, name: str, condition: Condition) -> None:
        """Make a machine be so."""

    def reset_node_connections(self, name: str) -> None:
        """Reset every connection through a node."""

    def set_autoscaler_taint(self, name: str, tainted: bool) -> None:
        """Put the autoscaler's taint on a Node, or take it off."""

    def evict_pods(self, name: str) -> None:
        """Delete the pods of a node, with their grace."""

    def delete_node(self, name: str) -> None:
        """Delete the Node object."""

    def pod_keys(self) -> tuple[tuple[str, str], ...]:
        """Namespace and name of every pod that runs."""

    def crash_pod(self, key: tuple[str, str]) -> None:
        """Let a pod die."""

    def set_pod(self, key: tuple[str, str], *, ready: bool, silent: bool) -> None:
        """Make a pod be so."""

    def begin_api_fault(self, name: str, seconds: float | None) -> None:
        """Turn a fault of the API server on."""

    def end_api_fault(self, name: str) -> None:
        """Turn it off."""


class _Active:
    __slots__ = ("fault", "phase", "timers")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.phase = True  # of a flap: down; of a drain: not yet deleted
        self.timers: dict[str, asyncio.TimerHandle] = {}

    def cancel(self) -> None:
        """Nothing of it is due any more."""
        for timer in self.timers.values():
            timer.cancel()


class Faults:
    """What is broken now. `real_network` says whether the machines' network can be broken."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, targets: Targets, *, real_network: bool = False
    ) -> None:
        self._loop = loop
        self._real_network = real_network
        self._targets = targets
        self._active: dict[tuple[str, str], _Active] = {}

    @property
    def active(self) -> tuple[Fault, ...]:
        """Every fault that is on, sorted by target and name."""
        self._forget_gone_pods()
        return tuple(self._active[key].fault for key in sorted(self._active))

    def apply(self, target: str, spec: str, *, seconds: float | None = None) -> Fault:
        """Turn a fault on, for `seconds` if given.

        `target`: a node's name (or `node/NAME`), `pod/NAME` (or `pod/NAMESPACE/NAME`), `api`.
        `spec`: a name from the catalogue, `slow=200ms` with its duration. A fault that is on
        already is renewed. Raises UnknownTargetError or ConfigurationError.
        """
        fault = self.understand(target, spec, seconds=seconds)
        self.turn_on(fault)
        return fault

    def understand(self, target: str, spec: str, *, seconds: float | None = None) -> Fault:
        """What `apply` would turn on, without doing it. Raises as it does."""
        target = self._resolve(target)
        kind, argument = read_spec(target, spec)
        if kind.network and not self._real_network:
            raise ConfigurationError(
                f"{kind.name} needs a network between the machines, which this lab on loopback "
                "has not: run it as root with --netns"
            )
        if seconds is not None and seconds <= 0:
            raise ConfigurationError(f"a fault lasts longer than {seconds:g} seconds")
        now = time.time()
        return Fault(
            target=target,
            name=kind.name,
            argument=argument,
            since=now,
            until=now + seconds if seconds is not None else None,
        )

    def turn_on(self, fault: Fault) -> None:
        """Turn on what was understood just now."""
        key = (fault.target, fault.name)
        self._take_off(key)
        log.info("fault on: %s", fault)
        if fault.kind.momentary:
            if fault.target == API:
                self._targets.begin_api_fault(fault.name, None)
            else:
                self._targets.crash_pod(_pod_key(fault.target))
            return
        active = self._active[key] = _Active(fault)
        try:
            self._begin(active)
        except BaseException:
            self._take_off(key)
            raise
        if fault.until is not None:
            active.timers["end"] = self._loop.call_later(
                fault.until - fault.since, self._expire, key, active
            )

    def clear(self, target: str | None = None, name: str | None = None) -> tuple[Fault, ...]:
        """Turn faults off: all, all of a target, or one. Returns those that were on."""
        if target is not None:
            target = self._resolve(target, gone_too=True)
        cleared = []
        for key in sorted(self._active):
            if target in (None, key[0]) and name in (None, key[1]):
                cleared.append(self._active[key].fault)
                self._take_off(key)
        return tuple(cleared)

    def close(self) -> None:
        """Forget everything without undoing it: the lab ends."""
        for active in self._active.values():
            active.cancel()
        self._active.clear()

    # -- on and off --------------------------------------------------------------------

    def _begin(self, active: _Active) -> None:
        fault = active.fault
        kind, _, name = fault.target.partition("/")
        if kind == API:
            self._targets.begin_api_fault(fault.name, fault.argument)
            if fault.argument is not None:
                active.timers["step"] = self._loop.call_later(
                    fault.argument, self._expire, (fault.target, fault.name), active
                )
            return
        if kind == POD:
            self._settle_pod(fault.target)
            return
        if fault.name == "drain":
            self._targets.set_autoscaler_taint(name, True)
            self._targets.evict_pods(name)
            active.timers["step"] = self._loop.call_later(
                fault.argument or 0.0, self._end_drain, active
            )
        elif fault.name == "delete":
            self._targets.delete_node(name)
        self._settle_node(name)
        if fault.name == "reset":
            self._targets.reset_node_connections(name)
        elif fault.name == "flap":
            self._again(active)

    def _take_off(self, key: tuple[str, str]) -> None:
        active = self._active.pop(key, None)
        if active is None:
            return
        active.cancel()
        fault = active.fault
        log.info("fault off: %s", fault)
        kind, _, name = fault.target.partition("/")
        if kind == API:
            self._targets.end_api_fault(fault.name)
        elif kind == POD:
            self._settle_pod(fault.target)
        else:
            if fault.name == "drain" and active.phase:
                self._targets.set_autoscaler_taint(name, False)
            self._settle_node(name)

    def _expire(self, key: tuple[str, str], active: _Active) -> None:
        if self._active.get(key) is active:
            self._take_off(key)

    def _end_drain(self, active: _Active) -> None:
        _, _, name = active.fault.target.partition("/")
        active.phase = False
        self._targets.delete_node(name)
        self._settle_node(name)

    def _again(self, active: _Active) -> None:
        period = active.fault.argument or FLAP_SECONDS
        active.timers["step"] = self._loop.call_later(period, self._flap, active)

    def _flap(self, active: _Active) -> None:
        active.phase = not active.phase
        self._settle_node(active.fault.target.partition("/")[2])
        self._again(active)

    def _on(self, target: str) -> dict[str, _Active]:
        return {name: active for (at, name), active in self._active.items() if at == target}

    def _settle_node(self, name: str) -> None:
        on = self._on(f"{NODE}/{name}")
        flap, drain = on.get("flap"), on.get("drain")
        slow, loss = on.get("slow"), on.get("loss")
        reach = Reach.UP
        if "refuse" in on or "reset" in on or (flap is not None and flap.phase):
            reach = Reach.REFUSING
        if "silent" in on:
            reach = Reach.SILENT
        gone = "dead" in on or "delete" in on or (drain is not None and not drain.phase)
        condition = Condition(
            powered=not gone,
            reach=reach,
            delay_seconds=(slow.fault.argument or 0.0) if slow is not None else 0.0,
            impairment=Impairment(
                loss=(loss.fault.argument or 0.0) if loss is not None else 0.0,
                partitioned="partition" in on,
                detour="detour" in on,
            ),
            kubelet="not-ready" not in on,
            ready="not-ready-but-serving" not in on,
            proxy_stuck="proxy-stuck" in on,
        )
        self._targets.set_node_condition(name, condition)

    def _settle_pod(self, target: str) -> None:
        on = self._on(target)
        self._targets.set_pod(_pod_key(target), ready="not-ready" not in on, silent="silent" in on)

    # -- names -------------------------------------------------------------------------

    def _resolve(self, target: str, *, gone_too: bool = False) -> str:
        """A target in full. `gone_too` takes what a fault is on even if it is no more."""
        kind, slash, rest = target.partition("/")
        if target == API:
            return target
        if kind == POD and slash:
            return self._resolve_pod(rest, gone_too)
        name = rest if kind == NODE and slash else target
        nodes = self._targets.node_names()
        if name in nodes:
            return f"{NODE}/{name}"
        raise UnknownTargetError(
            f"there is no node {name!r}; there are {_listed(nodes)}. "
            "Other targets are pod/NAMESPACE/NAME and api"
        )

    def _resolve_pod(self, rest: str, gone_too: bool) -> str:
        namespace, slash, name = rest.partition("/")
        key = (namespace, name) if slash else ("default", rest)
        target = f"{POD}/{key[0]}/{key[1]}"
        if key in self._targets.pod_keys() or (gone_too and self._on(target)):
            return target
        raise UnknownTargetError(
            f"there is no running pod {key[0]}/{key[1]}; `kubectl get pods -A` lists them"
        )

    def _forget_gone_pods(self) -> None:
        running = set(self._targets.pod_keys())
        for key in tuple(self._active):
            if key[0].startswith(f"{POD}/") and _pod_key(key[0]) not in running:
                self._active.pop(key).cancel()


def _pod_key(target: str) -> tuple[str, str]:
    _, namespace, name = target.split("/")
    return namespace, name


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
