"""Asks what an API server would answer to the Services of a manifest, without sending any."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from nplb.alloc.answers import Answer, Answers
from nplb.alloc.predict import settle
from nplb.lab.portfiles import RawService, raw_services
from nplb.lab.portread import ReadCluster, read_cluster
from nplb.model.cluster import Service
from nplb.model.errors import NplbError
from nplb.model.settings import Settings

MAX_SERVICES = 500
"""In one pasted manifest."""


def check_services(
    services: Sequence[RawService],
    cluster: ReadCluster,
    *,
    apply: bool = False,
    transaction: bool = False,
    namespace: str = "default",
    service_cidr: str | None = None,
) -> Answers:
    """The answers for Services sent in this order. `namespace` is for those that name none."""
    # Most of the lab's API comes with it, which an nplb that is never asked does without.
    from nplb.lab.rehearsal import Rehearsal

    found = cluster.found
    cidrs = found.service_cidrs or ()
    rehearsal = Rehearsal(
        cluster.ledger,
        found.raws,
        namespaces=found.namespaces,
        service_cidr=service_cidr or (cidrs[0] if len(cidrs) == 1 else None),
        apply=apply,
    )
    predictions = settle(
        [rehearsal.send(one.value, one.namespace or namespace) for one in services],
        transaction=transaction,
    )
    return Answers(
        cluster=cluster.ledger.cluster,
        port_range=str(cluster.ledger.port_range),
        apply=apply,
        transaction=transaction,
        services=tuple(
            Answer(place=one.place, prediction=prediction)
            for one, prediction in zip(services, predictions, strict=True)
        ),
        notes=cluster.notes,
    )


class ManifestCheck:
    """Checks pasted manifests against the clusters of a running nplb. `settings` and `known`
    (a cluster's Services as they were last seen) are asked for each time."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        known: Callable[[str], Iterable[Service]],
    ) -> None:
        self._settings = settings
        self._known = known

    async def __call__(
        self,
        text: str,
        *,
        cluster: str | None = None,
        apply: bool = False,
        transaction: bool = False,
        namespace: str = "default",
    ) -> Answers:
        """The answers. The cluster may be left out where there is one.

        Errors: NplbError; ConfigurationError for a text that is no manifest; ClusterError for a
        cluster that can't be read now.
        """
        settings = self._settings()
        names = [one.name for one in settings.clusters]
        if cluster is None and len(names) > 1:
            raise NplbError(f"there are several clusters: name one of {', '.join(names)}")
        wanted = [one for one in settings.clusters if cluster in (None, one.name)]
        if not wanted:
            raise NplbError(f"there is no cluster {cluster!r}: there are {', '.join(names)}")
        read = await asyncio.to_thread(raw_services, [("manifest", text.encode())])
        if not read.services:
            raise NplbError("there is no Service in it: write apiVersion: v1, kind: Service")
        if len(read.services) > MAX_SERVICES:
            raise NplbError(
                f"{len(read.services)} Services are more than the {MAX_SERVICES} that are checked "
                "here at once; `nplb ports check` checks any number"
            )
        found = await read_cluster(
            wanted[0], settings.state_dir, known=self._known(wanted[0].name), timeout_seconds=10.0
        )
        return await asyncio.to_thread(
            check_services,
            read.services,
            found,
            apply=apply,
            transaction=transaction,
            namespace=namespace,
        )
