"""`SplitPlane`: each frontend on the plane that it asks for, and moves without a gap.

Rules go before sockets, and both planes keep old connections where they are. So a frontend
that moves to the kernel gets its rules before the relay gives up its listener, and one that
moves to the relay its listener before the rules go. The listener stays a moment longer than it
gets new clients: those whose handshake it had begun would be reset with it.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Protocol, TypeVar

from nplb.model.applied import Applied, BackendCounters, FrontendCounters, ListenError, Traffic
from nplb.model.errors import HostError
from nplb.model.kernel import PlaneKind
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import EndReason

log = logging.getLogger(__name__)

# How long a listener stays once rules take its clients: until every handshake that it had begun
# has ended or been given up for lost by its client.
LINGER_SECONDS = 3.0


class RelaySide(Protocol):
    """What is used of the relay plane."""

    def inherited_frontends(self) -> frozenset[FrontendKey]:
        """Those that it serves from a plan of before, until its first one."""

    async def apply(self, plan: Plan) -> Applied:
        """Make the plan so."""

    def traffic(self) -> Traffic:
        """All counters."""


class KernelSide(Protocol):
    """What is used of the kernel plane."""

    async def start(self, *, fast_path: bool = False) -> None:
        """Check the host, for the fast path too if `fast_path`, and begin."""

    async def stop(self) -> None:
        """End; the rules stay."""

    async def apply(self, plan: Plan) -> Applied:
        """Make the plan so."""

    def traffic(self) -> Traffic:
        """All counters."""


class SplitPlane:
    """Splits plans between the relay and the kernel. `make_kernel` is called when the first
    frontend asks for the kernel, so that an edge without one needs no right for it.
    `left_behind` says whether an earlier process left rules, which would go before the relay's
    listeners: they are emptied."""

    def __init__(
        self,
        relay: RelaySide,
        make_kernel: Callable[[], KernelSide],
        left_behind: Callable[[], Awaitable[bool]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._lingering: dict[FrontendKey, float] = {}
        self._left_behind: Callable[[], Awaitable[bool]] | None = left_behind
        self._relay = relay
        self._make_kernel = make_kernel
        self._kernel: KernelSide | None = None
        # None before the first plan.
        self._on_relay: tuple[Frontend, ...] | None = None

    async def start_kernel(self, *, fast_path: bool = False) -> None:
        """Start the kernel plane now, so that what it lacks (for its fast path too, if
        `fast_path`) is said at once.

        Errors: HostPermissionError that names every right and feature that is missing.
        """
        if self._kernel is None:
            kernel = self._make_kernel()
            await kernel.start(fast_path=fast_path)
            self._kernel = kernel

    async def stop(self) -> None:
        """End what the kernel plane runs in this process; its rules and connections stay. The
        relay is its owner's to stop."""
        if self._kernel is not None:
            await self._kernel.stop()

    async def apply(self, plan: Plan) -> Applied:
        """Make the plan so on both planes.

        A kernel plane that can't be had is said of each of its frontends, and the others are
        served. Errors: those of the planes.
        """
        to_kernel = tuple(f for f in plan.frontends if f.plane is PlaneKind.KERNEL)
        to_relay = tuple(f for f in plan.frontends if f.plane is not PlaneKind.KERNEL)
        on_relay = self._keys_on_relay() if to_kernel else frozenset()
        leaving = tuple(f for f in to_kernel if f.key in on_relay)
        both = _sorted(to_relay, leaving)
        applied = await self._relay.apply(replace(plan, frontends=both))
        self._on_relay = both
        in_kernel = await self._apply_kernel(plan, to_kernel)
        now = self._now()
        kept = self._still_on_relay(leaving, in_kernel, now)
        to_relay = _sorted(to_relay, kept)
        if len(kept) < len(leaving):
            applied = await self._relay.apply(replace(plan, frontends=to_relay))
        self._on_relay = to_relay
        waits = [w for w in (applied.retry_seconds, in_kernel.retry_seconds) if w is not None]
        waits += [max(0.0, until - now) for until in self._lingering.values()]
        return Applied(
            generation=plan.generation,
            listen_errors={**applied.listen_errors, **in_kernel.listen_errors},
            retry_seconds=min(waits, default=None),
        )

    def _keys_on_relay(self) -> frozenset[FrontendKey]:
        if self._on_relay is None:  # the process before may have served it there
            return self._relay.inherited_frontends()
        return frozenset(frontend.key for frontend in self._on_relay)

    def _still_on_relay(
        self, leaving: tuple[Frontend, ...], in_kernel: Applied, now: float
    ) -> tuple[Frontend, ...]:
        """Those that keep their listener for now. Who can't have rules keeps it for good: better
        the other plane than none."""
        before, self._lingering = self._lingering, {}
        kept = []
        for frontend in leaving:
            if frontend.key not in in_kernel.listen_errors:
                until = before.get(frontend.key, now + LINGER_SECONDS)
                if until <= now:
                    continue
                self._lingering[frontend.key] = until
            kept.append(frontend)
        return tuple(kept)

    async def _apply_kernel(self, plan: Plan, frontends: tuple[Frontend, ...]) -> Applied:
        if self._kernel is None and not frontends:
            if self._left_behind is not None and await self._left_behind():
                log.info("an earlier process left rules of the kernel plane: they are emptied")
                kernel = self._make_kernel()
                try:
                    await kernel.apply(replace(plan, frontends=()))
                finally:
                    await kernel.stop()
            self._left_behind = None
            return Applied(generation=plan.generation)
        try:
            await self.start_kernel()
        except HostError as error:
            log.error("%s", error)
            return Applied(
                generation=plan.generation,
                listen_errors={f.key: _all_failed(f, str(error)) for f in frontends},
                retry_seconds=30.0,
            )
        assert self._kernel is not None
        return await self._kernel.apply(replace(plan, frontends=frontends))

    def traffic(self) -> Traffic:
        """The counters of both planes; those of a frontend that moved are added."""
        relay = self._relay.traffic()
        if self._kernel is None:
            return relay
        kernel = self._kernel.traffic()
        return Traffic(
            frontends=_merged(relay.frontends, kernel.frontends, _add_frontends),
            backends=_merged(relay.backends, kernel.backends, _add_backends),
            workers=relay.workers,
            fast_path=kernel.fast_path,
        )


def _sorted(one: tuple[Frontend, ...], other: tuple[Frontend, ...]) -> tuple[Frontend, ...]:
    return tuple(sorted((*one, *other), key=attrgetter("key"))) if other else one


def _all_failed(frontend: Frontend, detail: str) -> tuple[ListenError, ...]:
    return tuple(ListenError(address=a, in_use=False, detail=detail) for a in frontend.listen)


K = TypeVar("K")
V = TypeVar("V")


def _merged(one: Mapping[K, V], other: Mapping[K, V], add: Callable[[V, V], V]) -> dict[K, V]:
    found = dict(one)
    for key, value in other.items():
        found[key] = add(found[key], value) if key in found else value
    return found


def _add_ends(one: Mapping[EndReason, int], other: Mapping[EndReason, int]) -> dict[EndReason, int]:
    return _merged(one, other, int.__add__)


def _add_frontends(one: FrontendCounters, other: FrontendCounters) -> FrontendCounters:
    return FrontendCounters(
        accepted=one.accepted + other.accepted,
        active=one.active + other.active,
        bytes_in=one.bytes_in + other.bytes_in,
        bytes_out=one.bytes_out + other.bytes_out,
        ends=_add_ends(one.ends, other.ends),
    )


def _add_backends(one: BackendCounters, other: BackendCounters) -> BackendCounters:
    return BackendCounters(
        connections=one.connections + other.connections,
        active=one.active + other.active,
        connect_failures=one.connect_failures + other.connect_failures,
        connect_seconds=one.connect_seconds + other.connect_seconds,
        bytes_in=one.bytes_in + other.bytes_in,
        bytes_out=one.bytes_out + other.bytes_out,
        ends=_add_ends(one.ends, other.ends),
    )
