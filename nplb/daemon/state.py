"""What one control process hands on to the next: written down again and again, restored at a start.

Four parts, each a piece of memory that the relay's workers keep (see `dataplane.relay.safe`), so
that it also outlives a control that was killed:

snapshots   the clusters' last known state: the next control plans with it at once, and goes on
            with it while an API server is away
plan        since when each backend is as it is
grants      what Services have by their annotations
history     verdicts, manual drains, findings, and the journal's last decisions

A part is written when it has changed, but never for more than a small share of the time. Each is
lines of JSON, a kind and a value; one that makes no sense is left out whole, and said.
"""

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.keeper import StatusKeeper
from nplb.control.reconciler import Reconciler
from nplb.daemon.codec import CannotBeCoded, decoder, encoder
from nplb.dataplane.relay.plane import RelayPlane
from nplb.health.prober import Prober
from nplb.model.annotations import Grant
from nplb.model.cluster import EndpointSlice, Node, Service, Snapshot, SourceStatus
from nplb.model.decision import Decision, DecisionKind
from nplb.model.drain import ManualDrain
from nplb.model.finding import Finding
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Plan, Skipped
from nplb.model.refusal import Refusal
from nplb.model.status import ReloadStatus
from nplb.model.verdict import ProbeTarget, Verdict
from nplb.observe.journal import Journal

log = logging.getLogger(__name__)

VERSION = 1
INTERVAL_SECONDS = 1.0
# Writing a part takes at most this share of one CPU.
SHARE = 0.02
DECISIONS = 2000
PARTS = ("snapshots", "plan", "grants", "history")

# Of what each kind of line is, and which fields of it stand in lines of their own.
_SPLIT: dict[str, tuple[Any, dict[str, Any]]] = {
    "snapshot": (Snapshot, {"services": Service, "nodes": Node, "slices": EndpointSlice}),
    "plan": (
        Plan,
        {"frontends": Frontend, "skipped": Skipped, "probes": ProbeTarget, "refusals": Refusal},
    ),
}
_SINGLE: dict[str, Any] = {
    "source": SourceStatus,
    "verdict": Verdict,
    "drain": ManualDrain,
    "finding": Finding,
    "decision": Decision,
    "grant": Grant,
    "reload": ReloadStatus,
}


@dataclass(kw_only=True)
class Inheritance:
    """What was handed on."""

    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    sources: dict[str, SourceStatus] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    grants: tuple[Grant, ...] = ()
    verdicts: dict[Address, Verdict] = field(default_factory=dict)
    drains: tuple[ManualDrain, ...] = ()
    findings: tuple[Finding, ...] = ()
    decisions: tuple[Decision, ...] = ()
    counts: dict[DecisionKind, int] = field(default_factory=dict)
    reload: ReloadStatus | None = None
    probed_once: bool = False
    identity: str = ""
    restarts: tuple[int, ...] = ()
    access_rest: bytes = b""


class Holders(Protocol):
    """Where the state is while a control runs."""

    inputs: Inputs
    reconciler: Reconciler
    keeper: StatusKeeper
    prober: Prober
    journal: Journal
    relay: RelayPlane
    findings: FindingBook
    identity: str


class StateWriter:
    """Writes the parts that have changed, until cancelled; `write_all` writes them now."""

    def __init__(self, holders: Holders) -> None:
        self._from = holders
        self._written: dict[str, Any] = {}
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        """Look for changes once a second."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            for name in PARTS:
                if self._state_of(name) != self._written.get(name):
                    await self._write(name)

    async def write_all(self) -> None:
        """Write everything as it is now."""
        for name in PARTS:
            self._not_before.pop(name, None)
            await self._write(name)

    def _state_of(self, name: str) -> Any:
        """Something that differs whenever the part may have changed."""
        inputs, reconciler = self._from.inputs, self._from.reconciler
        if name == "snapshots":
            # Statuses change all the time, and are not worth a write of their own.
            return [(c, id(one)) for c, one in sorted(inputs.snapshots.get().items())]
        if name == "plan":
            return reconciler.plan.generation
        if name == "grants":
            return reconciler.annotations.grants
        return (inputs.verdicts.version, inputs.drains.version, self._from.journal.last)

    async def _write(self, name: str) -> None:
        if time.monotonic() < self._not_before.get(name, 0.0):
            return
        seconds = 0.0
        state = self._state_of(name)
        lines = list(self._lines(name))
        try:
            # What is to be written does not change, so another thread may do it.
            data, seconds = await asyncio.to_thread(_encode, lines)
            self._from.relay.safe.put_bytes(name, data)
        except (OSError, CannotBeCoded) as error:
            log.warning("what the next nplb should go on from can't be kept (%s): %s", name, error)
        else:
            self._written[name] = state
        self._not_before[name] = time.monotonic() + seconds / SHARE

    def _lines(self, name: str) -> Iterator[tuple[str, Any]]:
        source = self._from
        yield "version", VERSION
        if name == "snapshots":
            for snapshot in source.inputs.snapshots.get().values():
                yield "snapshot", snapshot
            for status in source.inputs.sources.get().values():
                yield "source", status
        elif name == "plan":
            yield "plan", source.reconciler.plan
        elif name == "grants":
            for grant in source.reconciler.annotations.grants:
                yield "grant", grant
        else:
            for verdict in source.prober.verdicts().values():
                if verdict.healthy is not None:
                    yield "verdict", verdict
            for drain in source.inputs.drains.get():
                yield "drain", drain
            for finding in source.findings.findings:
                yield "finding", finding
            for decision in source.journal.latest(DECISIONS):
                yield "decision", decision
            yield "counts", {str(kind): n for kind, n in source.journal.counts.items()}
            yield "reload", source.keeper.reload
            yield "probed_once", source.keeper.probed_once
            yield "identity", source.identity
            yield "restarts", list(source.relay.restarts)
            yield "access_rest", source.relay.access.rest.decode(errors="replace")


def read_inheritance(read: Callable[[str], bytes | None]) -> Inheritance | None:
    """What a control before has left, `read` giving each part's bytes. None if there is nothing."""
    found = Inheritance()
    any_part = False
    for name, take in (
        ("snapshots", _take_snapshots),
        ("plan", _take_plan),
        ("grants", _take_grants),
        ("history", _take_history),
    ):
        data = read(name)
        if data is None:
            continue
        try:
            take(found, _decode(data))
            any_part = True
        except (KeyError, TypeError, ValueError) as error:
            log.warning(
                "what the nplb before has left of its %s can't be read (%r): it is found out anew",
                name,
                error,
            )
    return found if any_part else None


Lines = Mapping[str, list[Any]]


def _take_snapshots(found: Inheritance, lines: Lines) -> None:
    snapshots = {one.cluster: one for one in lines.get("snapshot", ())}
    found.sources = {one.cluster: one for one in lines.get("source", ())}
    found.snapshots = snapshots


def _take_plan(found: Inheritance, lines: Lines) -> None:
    (found.plan,) = lines["plan"]


def _take_grants(found: Inheritance, lines: Lines) -> None:
    found.grants = tuple(lines.get("grant", ()))


def _take_history(found: Inheritance, lines: Lines) -> None:
    decisions = tuple(lines.get("decision", ()))
    for before, after in itertools.pairwise(decisions):
        if after.sequence != before.sequence + 1:
            raise ValueError("decisions are missing")
    found.counts = {
        DecisionKind(kind): int(n)
        for counts in lines.get("counts", ())
        for kind, n in counts.items()
        if kind in set(DecisionKind)
    }
    found.decisions = decisions
    found.verdicts = {one.address: one for one in lines.get("verdict", ())}
    found.drains = tuple(lines.get("drain", ()))
    found.findings = tuple(lines.get("finding", ()))
    (found.reload,) = lines["reload"]
    found.probed_once = lines.get("probed_once") == [True]
    found.identity = str(lines.get("identity", [""])[0])
    found.restarts = tuple(int(n) for n in lines.get("restarts", [[]])[0])
    found.access_rest = str(lines.get("access_rest", [""])[0]).encode()


def _encode(lines: Iterable[tuple[str, Any]]) -> tuple[bytes, float]:
    """The bytes, and how many seconds of CPU that took."""
    begun = time.thread_time()
    data = bytearray()
    for kind, value in lines:
        for name, one in _pieces(kind, value):
            data += json.dumps([name, one], separators=(",", ":")).encode()
            data += b"\n"
    return bytes(data), time.thread_time() - begun


def _pieces(kind: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The lines of a value: of one that is large, each item of its large fields by itself, so
    that no step takes long."""
    if kind in _SPLIT:
        whole, parts = _SPLIT[kind]
        yield kind, encoder(whole)(replace(value, **dict.fromkeys(parts, ())))
        for name, of in parts.items():
            code = encoder(of)
            for item in getattr(value, name):
                yield f"{kind}.{name}", code(item)
    elif kind in _SINGLE:
        yield kind, encoder(_SINGLE[kind])(value)
    else:
        yield kind, value


def _decode(data: bytes) -> Lines:
    found: dict[str, list[Any]] = {}
    items: dict[str, list[Any]] = {}
    for line in data.splitlines():
        kind, value = json.loads(line)
        whole, _, part = kind.partition(".")
        if part:
            items[part].append(decoder(_SPLIT[whole][1][part])(value))
            continue
        if kind == "version" and value != VERSION:
            raise ValueError(f"version {value}")
        if items:
            _put_together(found, items)
        if kind in _SPLIT:
            items = {name: [] for name in _SPLIT[kind][1]}
            found.setdefault(kind, []).append(decoder(_SPLIT[kind][0])(value))
            found["."] = [kind]
        else:
            code = decoder(_SINGLE[kind]) if kind in _SINGLE else None
            found.setdefault(kind, []).append(code(value) if code is not None else value)
    if items:
        _put_together(found, items)
    return found


def _put_together(found: dict[str, list[Any]], items: dict[str, list[Any]]) -> None:
    """Give the last large value its items."""
    (kind,) = found["."]
    found[kind][-1] = replace(found[kind][-1], **{n: tuple(them) for n, them in items.items()})
    items.clear()
