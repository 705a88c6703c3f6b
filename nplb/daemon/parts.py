"""The parts of a balancer, wired together; nothing runs yet."""

import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from nplb.aio.tasks import TaskOwner
from nplb.control.books import Books
from nplb.control.drains import Drains
from nplb.control.feeds import Feeds
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.keeper import StatusKeeper
from nplb.control.outbox import Outbox
from nplb.control.reconciler import Reconciler
from nplb.daemon.grants import GrantsFile
from nplb.dataplane.kernel.plane import KernelPlane, left_behind
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.dataplane.split import SplitPlane
from nplb.health.prober import Prober
from nplb.lab.portcheck import ManifestCheck
from nplb.model.cluster import Service
from nplb.model.decision import Decision, DecisionKind
from nplb.model.outbound import WriterStatus
from nplb.model.settings import ClusterSettings, Settings
from nplb.observe.accesslog import AccessLog
from nplb.observe.journal import Journal
from nplb.sources import Source, Writer
from nplb.sources.factory import make_source, make_writer
from nplb.web.server import AdminServer

log = logging.getLogger(__name__)


class Parts:
    """Everything that a balancer is made of. `settings` are those in force; `identity` is what it
    is called where only one of several may act."""

    def __init__(
        self,
        settings: Settings,
        config_path: Path,
        runtime: RuntimeDirectory | None,
        *,
        successor: bool,
    ) -> None:
        self.settings = settings
        self.config_path = config_path
        self.runtime = runtime
        self.successor = successor
        self.tasks = TaskOwner("daemon")
        self.inputs = Inputs(settings)
        self.drains = Drains(
            settings.state_dir and settings.state_dir / "drains.json",
            self.inputs.drains,
            time.time,
        )
        self.journal = Journal()
        self.books = Books(own_pids=self._own_pids, not_written=self._not_written)
        self.findings = FindingBook()
        self.rng = random.Random()
        self.prober = Prober(
            publish=self.inputs.verdicts.set,
            hurry=self.inputs.hurry,
            rng=self.rng,
            now=time.time,
        )
        self.access = AccessLog(settings.log.access_file)
        self.relay = RelayPlane(
            workers=settings.workers,
            max_connections=settings.max_connections,
            runtime=runtime,
            successor=successor,
            orphan_seconds=settings.orphan_seconds,
            on_failure=self.prober.report,  # a connect that failed is probed at once
            on_decision=self.record,
            on_access=self.access.write,
        )
        self.plane = SplitPlane(
            self.relay, lambda: KernelPlane(on_damage=self.inputs.hurry), left_behind
        )
        self.identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self.outbox = Outbox(self._make_writer, self.inputs.changed.set)
        self.reconciler = Reconciler(
            inputs=self.inputs,
            plane=self.plane,
            prober=self.prober,
            journal=self.journal,
            books=self.books,
            findings=self.findings,
            now=time.time,
            outbox=self.outbox,
        )
        self.grants = (
            GrantsFile(
                settings.state_dir / "annotations.json",
                lambda: self.reconciler.annotations.grants,
            )
            if settings.state_dir is not None
            else None
        )
        self.keeper = StatusKeeper(
            inputs=self.inputs,
            reconciler=self.reconciler,
            plane=self.plane,
            journal=self.journal,
            books=self.books,
            findings=self.findings,
            prober=self.prober,
            outbox=self.outbox,
            config_path=str(config_path),
            now=time.time,
        )
        self.feeds = Feeds(self.inputs, self._make_source)
        self.admin: AdminServer | None = None

    def make_admin(self, settings: Settings) -> AdminServer | None:
        """The admin server that these settings ask for, not started."""
        if settings.admin.listen is None:
            return None
        return AdminServer(
            status=self.keeper.status,
            listen=settings.admin.listen,
            journal=self.journal,
            settings=settings.admin,
            drains=self.drains,
            check_manifest=ManifestCheck(self.inputs.settings.get, self._services),
        )

    def admin_socket(self) -> socket.socket | None:
        """A copy of the admin server's listening socket, which the caller owns."""
        fd = self.admin.listener if self.admin is not None else -1
        return socket.socket(fileno=os.dup(fd)) if fd >= 0 else None

    def note(self, kind: DecisionKind, text: str) -> None:
        """Record what happened to the balancer as a whole."""
        self.record(Decision(at=time.time(), kind=kind, subject="nplb", text=text))

    def record(self, decision: Decision) -> None:
        """Put it into the journal."""
        self.journal.append(decision)

    def _make_source(self, cluster: ClusterSettings, settings: Settings) -> Source:
        return make_source(
            cluster,
            publish=self.inputs.publish,
            report=self.inputs.report,
            now=time.time,
            rng=self.rng,
            state_dir=settings.state_dir,
        )

    def _make_writer(
        self, cluster: ClusterSettings, report: Callable[[WriterStatus], None]
    ) -> Writer:
        return make_writer(
            cluster, identity=self.identity, report=report, now=time.time, rng=self.rng
        )

    def _services(self, cluster: str) -> tuple[Service, ...]:
        """A cluster's Services as they were last seen."""
        snapshot = self.inputs.snapshots.get().get(cluster)
        return snapshot.services if snapshot is not None else ()

    def _not_written(self) -> Mapping[str, str]:
        """What could not be written, which is tried again by and by."""
        self.drains.write_again()
        return {
            "drains": self.drains.problem,
            "access log": self.access.problem,
            "annotations": self.grants.problem if self.grants is not None else "",
        }

    def _own_pids(self) -> set[int]:
        return {os.getpid(), *(worker.pid for worker in self.plane.traffic().workers)}
