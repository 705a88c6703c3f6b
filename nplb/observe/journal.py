"""The journal: the last decisions, numbered, for whoever asks or waits for more.

Readers hold a position, not a queue: the journal is bounded, so a reader that is too slow
costs nothing and loses the oldest entries, which it can tell from their numbers.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from types import MappingProxyType, TracebackType
from typing import Self

from nplb.model.decision import Decision, DecisionKind

log = logging.getLogger("nplb.journal")

CAPACITY = 20_000
"""About 10 MB, and about a day of a busy cluster."""

_LEVELS = {
    DecisionKind.LISTEN_FAILED: logging.ERROR,
    DecisionKind.RELOAD_REFUSED: logging.ERROR,
    DecisionKind.UPGRADE_FAILED: logging.ERROR,
    DecisionKind.WORKER_DIED: logging.ERROR,
    DecisionKind.BACKEND_DOWN: logging.WARNING,
    DecisionKind.SOURCE_STALE: logging.WARNING,
    DecisionKind.SOURCE_FAILING: logging.WARNING,
    DecisionKind.FINDING_OPENED: logging.WARNING,
}


class Journal:
    """Keeps the last `capacity` decisions and writes each to the log.

    Entries are numbered from 1 without gaps: `sequence` of the n-th is n.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._entries: deque[Decision] = deque(maxlen=capacity)
        self._readers: set[Reader] = set()
        self.last = 0
        self.counts: Counter[DecisionKind] = Counter()

    @property
    def first(self) -> int:
        """The number of the oldest entry kept; `last + 1` if there is none."""
        return self.last - len(self._entries) + 1

    def append(self, decision: Decision) -> Decision:
        """Number a decision, keep it, log it and wake the readers."""
        self.last += 1
        numbered = decision.numbered(self.last)
        self._entries.append(numbered)
        self.counts[numbered.kind] += 1
        level = _LEVELS.get(numbered.kind, logging.INFO)
        if log.isEnabledFor(level):
            _write(level, numbered)
        for reader in self._readers:
            reader.wake()
        return numbered

    def extend(self, decisions: Iterable[Decision]) -> None:
        """Append several, in order."""
        for decision in decisions:
            self.append(decision)

    def restore(
        self, entries: Iterable[Decision], counts: Mapping[DecisionKind, int] = MappingProxyType({})
    ) -> None:
        """Take over entries that are numbered already, in order and without gaps, and how many
        there ever were of each kind."""
        for entry in entries:
            self._entries.append(entry)
            self.last = entry.sequence
        self.counts.update(counts)

    def since(
        self,
        sequence: int = 0,
        *,
        before: int | None = None,
        kinds: Collection[DecisionKind] = (),
        service: str = "",
        node: str = "",
        cluster: str = "",
        limit: int | None = None,
    ) -> tuple[Decision, ...]:
        """The entries numbered above `sequence` and below `before`, oldest first; with `limit`,
        the newest of them. Filters that are empty admit everything."""
        found: list[Decision] = []
        skip = 0 if before is None else max(self.last - before + 1, 0)
        # From the new end: a reader mostly wants the few that came last.
        for entry in islice(reversed(self._entries), skip, max(self.last - sequence, 0)):
            if limit is not None and len(found) >= limit:
                break
            if (
                (not kinds or entry.kind in kinds)
                and (not service or entry.service == service)
                and (not node or entry.node == node)
                and (not cluster or entry.cluster == cluster)
            ):
                found.append(entry)
        found.reverse()
        return tuple(found)

    def latest(self, limit: int = 200) -> tuple[Decision, ...]:
        """The newest entries, oldest of them first."""
        return self.since(limit=limit)

    def reader(self, after: int | None = None) -> "Reader":
        """Someone who waits for entries above `after`; None: for those yet to come."""
        return Reader(self, self.last if after is None else after)

    def attach(self, reader: "Reader") -> None:
        """Wake this reader at each entry, until it is detached."""
        self._readers.add(reader)

    def detach(self, reader: "Reader") -> None:
        """Wake it no more."""
        self._readers.discard(reader)


def _write(level: int, decision: Decision) -> None:
    log.log(
        level,
        "%s",
        # Some texts begin with what they are about, as an error in a file with its place.
        decision.text
        if decision.text.startswith(f"{decision.subject}: ")
        else f"{decision.subject}: {decision.text}",
        extra={
            name: str(value)
            for name in ("kind", "subject", "reason", "service", "node", "cluster")
            if (value := getattr(decision, name))
        },
    )


class Reader:
    """Waits for new entries: `async with journal.reader() as reader: await reader.next()`."""

    def __init__(self, journal: Journal, position: int) -> None:
        self._journal = journal
        self._news = asyncio.Event()
        self.position = position
        self.missed = 0
        """How many entries were dropped before this reader came to them."""

    def wake(self) -> None:
        """There is something new."""
        self._news.set()

    async def next(self, limit: int = 1000) -> tuple[Decision, ...]:
        """The entries since the last call, at least one, oldest first and `limit` at most."""
        while self._journal.last <= self.position:
            self._news.clear()
            await self._news.wait()
        self.missed += max(self._journal.first - 1 - self.position, 0)
        entries = self._journal.since(self.position)[:limit]
        self.position = entries[-1].sequence if entries else self._journal.last
        return entries

    async def __aenter__(self) -> Self:
        self._journal.attach(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.detach(self)
