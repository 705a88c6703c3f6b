"""The manifests source: files on disk as a cluster, read again when they change.

All files together are one state: they are read whole, checked whole and then taken, or not at
all. While anything in them is wrong, the last good state stays and the status has every place.
"""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

from nplb.alloc.portrange import parse_port_range
from nplb.model.cluster import Snapshot, SourceState, SourceStatus
from nplb.model.errors import HostError, NplbError
from nplb.model.settings import ClusterSettings, ManifestsSource
from nplb.policy.selectors import parse_selector
from nplb.sources import Now, Publish, Report
from nplb.sources.manifests.files import FileSet, ManifestError, find_files, read_files, stamp_files
from nplb.sources.manifests.objects import Objects, read_objects
from nplb.sources.portbook import Assignment, PortBook

POLL_SECONDS = 1.0
SETTLE_SECONDS = 0.2
CONFIRM_SECONDS = 30.0
_MAX_ERRORS = 5


class ManifestsReader:
    """Reads one cluster from its manifests; a `Source`.

    Looks once each `poll_seconds` whether a file has changed. Services without a nodePort get
    one from the port book, which `state_dir` keeps over restarts (None: in memory only).
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        publish: Publish,
        report: Report,
        now: Now,
        rng: random.Random,
        state_dir: Path | None,
        poll_seconds: float = POLL_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        assert isinstance(settings.source, ManifestsSource)
        self._settings = settings
        self._paths = settings.source.paths
        self._publish = publish
        self._report = report
        self._now = now
        self._rng = rng
        self._state_dir = state_dir
        self._poll_seconds = poll_seconds
        self._settle_seconds = settle_seconds
        self._book: PortBook | None = None
        self._files: FileSet | None = None
        self._bad: tuple[str, tuple[str, ...]] | None = None
        self._snapshot: Snapshot | None = None
        self._warnings: tuple[str, ...] = ()
        self._passed_over = ""
        self._status = SourceStatus(
            cluster=settings.name, state=SourceState.CONNECTING, since=now()
        )

    async def run(self) -> None:
        """Read, and go on reading through every failure. Returns only when cancelled."""
        self._report(self._status)
        attempts = 0
        # At the start nobody is writing, as far as we know; a start is not to be slow.
        settle_seconds = 0.0
        while True:
            try:
                files = await asyncio.to_thread(self._look, settle_seconds)
                if files is not None:
                    await self._take(files)
            except NplbError as error:
                attempts += 1
                self._stand(_shortened(error), attempts)
            else:
                attempts = 0
                self._stand("", 0)
            await asyncio.sleep(self._poll_seconds)
            settle_seconds = self._settle_seconds

    def _look(self, settle_seconds: float) -> FileSet | None:
        """The files, if they are not what was taken last. Runs in a thread."""
        if self._files is not None and self._status.error == "" and not self._unwritten:
            files = find_files(self._paths)
            if stamp_files(files) == self._files.stamp:
                return None
        return read_files(self._paths, settle_seconds=settle_seconds)

    @property
    def _unwritten(self) -> bool:
        """Whether the port book waits for its file to be written."""
        return self._book is not None and self._book.problem != ""

    async def _take(self, files: FileSet) -> None:
        """Make the files the state, if they say anything new.

        Errors: ManifestError, HostError for a port book that can't be read.
        """
        same = self._files is not None and files.digest == self._files.digest
        if not same or self._unwritten:
            objects = await asyncio.to_thread(self._read, files)
            if self._book is None:
                self._book = open_book(self._settings, self._state_dir, self._rng)
            # In a thread, since it syncs its file to the disk. Nobody else uses the book.
            assignment = await asyncio.to_thread(self._book.assign, objects.services)
            self._warnings = warnings_of(objects, assignment, self._book)
            self._passed_over = objects.passed_over
            snapshot = make_snapshot(self._settings, objects, assignment, self._now())
            before = self._snapshot
            if before is None or replace(before, taken_at=snapshot.taken_at) != snapshot:
                self._snapshot = snapshot
                self._publish(snapshot)
        self._files = files

    def _read(self, files: FileSet) -> Objects:
        """What the files mean. What is wrong is found out once, and told as long as it lasts."""
        if self._bad is not None and self._bad[0] == files.digest:
            raise ManifestError(self._bad[1])
        try:
            return read_objects(files.contents, cluster=self._settings.name)
        except ManifestError as error:
            self._bad = files.digest, error.errors
            raise

    def _stand(self, error: str, attempts: int) -> None:
        """Report how the source stands, if that has changed."""
        now = self._now()
        if self._snapshot is None:
            state = SourceState.CONNECTING
        else:
            state = SourceState.STALE if error else SourceState.LIVE
        before = self._status
        confirmed = before.last_snapshot_at if error or self._snapshot is None else now
        status = SourceStatus(
            cluster=self._settings.name,
            state=state,
            since=before.since if state is before.state else now,
            last_snapshot_at=confirmed,
            error=error,
            attempts=attempts,
            warnings=self._warnings,
            passed_over=self._passed_over,
        )
        # A state that holds is confirmed with each look; that alone is worth a word now and then.
        only_time = replace(status, last_snapshot_at=before.last_snapshot_at) == before
        if only_time and 0.0 <= (confirmed or 0.0) - (before.last_snapshot_at or 0.0) < (
            CONFIRM_SECONDS
        ):
            return
        self._status = status
        self._report(status)


def _shortened(error: NplbError) -> str:
    """An error as the status shows it. Each line has its place; many are much the same."""
    if not isinstance(error, ManifestError):
        return str(error)
    shown = "; ".join(error.errors[:_MAX_ERRORS])
    more = len(error.errors) - _MAX_ERRORS
    return f"{shown}; and {more} more" if more > 0 else shown


def open_book(settings: ClusterSettings, state_dir: Path | None, rng: random.Random) -> PortBook:
    """The port book of a cluster. Errors: HostError for a file that can't be read."""
    path = None
    if state_dir is not None:
        path = state_dir / "ports" / f"{settings.name}.json"
    return PortBook(path, parse_port_range(settings.port_range), rng)


def warnings_of(objects: Objects, assignment: Assignment, book: PortBook) -> tuple[str, ...]:
    """What to tell of a state that was taken: Services that can't have their numbers, what was
    left out, and a port book that can't be written."""
    places = {
        service.key: place for service, place in zip(objects.services, objects.places, strict=True)
    }
    refused = [
        f"{places[refusal.service]}: {refusal.text}; change the number or the Service"
        for refusal in assignment.refused
    ]
    return (*refused, *objects.warnings, *((book.problem,) if book.problem else ()))


def make_snapshot(
    settings: ClusterSettings, objects: Objects, assignment: Assignment, taken_at: float
) -> Snapshot:
    """The state as a snapshot: with the configured namespaces and service selector applied, as
    an API server would, and sorted."""
    namespaces = set(settings.namespaces)
    selector = parse_selector(settings.service_selector)
    services = [
        service
        for service in assignment.services
        if (not namespaces or service.key.namespace in namespaces)
        and selector.matches(service.labels)
    ]
    slices = [s for s in objects.slices if not namespaces or s.namespace in namespaces]
    return Snapshot(
        cluster=settings.name,
        taken_at=taken_at,
        services=tuple(sorted(services, key=lambda service: service.key)),
        nodes=tuple(sorted(objects.nodes, key=lambda node: node.name)),
        slices=tuple(sorted(slices, key=lambda piece: (piece.namespace, piece.name))),
    )


def read_manifests(
    settings: ClusterSettings, *, now: Now, rng: random.Random, state_dir: Path | None
) -> Snapshot:
    """The cluster as its files say now; blocks. Services without a nodePort are shown with the
    one that the port book in `state_dir` has for them; a number that has to be drawn is not
    kept, since the book belongs to the balancer that runs.

    Errors: ManifestError with everything that is wrong, HostError for a port book that can't be
    read.
    """
    objects, assignment, _ = _look(settings, rng, state_dir)
    return make_snapshot(settings, objects, assignment, now())


def check_manifests(
    settings: ClusterSettings, *, rng: random.Random, state_dir: Path | None
) -> tuple[str, ...]:
    """What the source would warn of, with its files as they are now; blocks, and keeps nothing.
    A port book that only the balancer may read is done without.

    Errors: ManifestError with everything that is wrong.
    """
    try:
        objects, assignment, book = _look(settings, rng, state_dir)
    except HostError:
        objects, assignment, book = _look(settings, rng, None)
    passed_over = (objects.passed_over,) if objects.passed_over else ()
    return (*warnings_of(objects, assignment, book), *passed_over)


def _look(
    settings: ClusterSettings, rng: random.Random, state_dir: Path | None
) -> tuple[Objects, Assignment, PortBook]:
    assert isinstance(settings.source, ManifestsSource)
    files = read_files(settings.source.paths, settle_seconds=0.0)
    objects = read_objects(files.contents, cluster=settings.name)
    book = open_book(settings, state_dir, rng)
    book.path = None
    return objects, book.assign(objects.services), book
