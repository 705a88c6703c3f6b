"""What the Services' annotations ask for, with the last good value in place of a wrong one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from nplb.config.annotations import AnnotationReader, Reading, annotated
from nplb.model.annotations import Grant, Wish, Wishes
from nplb.model.cluster import Service, Snapshot
from nplb.model.difference import difference
from nplb.model.keys import FrontendKey, ServiceKey
from nplb.model.plan import Frontend
from nplb.model.refusal import Refusal
from nplb.model.settings import Settings

_NOTHING = Wish()


class AnnotationBook:
    """Reads the annotations of every Service that changed since it was asked last, and remembers
    what was good, and which ports were had by it. A Service that was made anew under its name
    starts afresh.

    `grants` is what is to outlive a restart: another object whenever it is something else.
    """

    def __init__(self) -> None:
        self.grants: tuple[Grant, ...] = ()
        self._settings: Settings | None = None
        self._reader: AnnotationReader | None = None
        self._services: dict[str, tuple[Service, ...]] = {}
        self._entries: dict[ServiceKey, _Entry] = {}
        # Of Services that have not been read since the start.
        self._restored: dict[ServiceKey, Grant] = {}
        self._wishes = Wishes()
        self._noted: tuple[Frontend, ...] | None = None

    def restore(self, grants: Iterable[Grant]) -> None:
        """Go on from what another book has granted. Services are read after this."""
        self._restored = {grant.service: grant for grant in grants}
        self._collect()

    def read(self, settings: Settings, snapshots: Mapping[str, Snapshot]) -> Wishes:
        """What all Services ask for now; the same object as before if nothing changed."""
        services = {name: snapshot.services for name, snapshot in snapshots.items()}
        same_settings = settings is self._settings
        if same_settings and _same(services, self._services):
            return self._wishes
        if self._reader is None or not same_settings:
            self._reader = AnnotationReader(settings)
        known = self._entries
        entries = dict(known) if same_settings else {}
        for name in services.keys() | self._services.keys():
            listed = self._services.get(name, ()) if same_settings else ()
            gone, come = difference(listed, services.get(name, ()), attrgetter("key"))
            for service in gone:
                entries.pop(service.key, None)
            for service in come:
                texts = annotated(service) if service.uses_node_ports else {}
                if texts:
                    entry = known.get(service.key)
                    before = entry.grant if entry is not None else self._restored.get(service.key)
                    entries[service.key] = _read(self._reader, service, texts, before)
        self._settings, self._services, self._entries = settings, services, entries
        self._noted = None
        unknown = {cluster.name for cluster in settings.clusters} - snapshots.keys()
        self._restored = {k: g for k, g in self._restored.items() if k.cluster in unknown}
        self._collect()
        wishes = Wishes(
            by_service={key: e.wish for key, e in entries.items() if e.wish != _NOTHING},
            refusals=tuple(refusal for key in sorted(entries) for refusal in entries[key].refusals),
            held={key: port for grant in self.grants for key, port in grant.ports.items()},
        )
        if wishes != self._wishes:
            self._wishes = wishes
        return self._wishes

    def note(self, frontends: tuple[Frontend, ...]) -> None:
        """Note which ports the Services have got by what they ask for."""
        if frontends is self._noted:
            return
        self._noted = frontends
        asked = {key for entry in self._entries.values() for key in entry.wish.ports}
        ports: dict[ServiceKey, dict[FrontendKey, int]] = {}
        for frontend in frontends if asked else ():
            if frontend.key in asked and frontend.listen:
                of = ports.setdefault(frontend.key.service, {})
                of[frontend.key] = frontend.listen[0].port
        changed = {
            key: entry._replace(grant=replace(entry.grant, ports=ports.get(key, {})))
            for key, entry in self._entries.items()
            if entry.grant.ports != ports.get(key, {})
        }
        if changed:
            self._entries.update(changed)
            self._collect()

    def _collect(self) -> None:
        grants = {
            **self._restored,
            **{key: e.grant for key, e in self._entries.items() if e.grant.good},
        }
        collected = tuple(grants[key] for key in sorted(grants))
        if collected != self.grants:
            self.grants = collected


class _Entry(NamedTuple):
    """One Service's annotations as they were read, and what it has by them."""

    service: Service
    wish: Wish
    grant: Grant
    refusals: tuple[Refusal, ...]


def _read(
    reader: AnnotationReader, service: Service, texts: Mapping[str, str], before: Grant | None
) -> _Entry:
    reading = reader.read(service, texts)
    good = {name: text for name, text in texts.items() if name not in reading.refused}
    wish = reading.wish
    if before is None or before.uid != service.uid:
        before = Grant(service=service.key, uid=service.uid)
    stand_ins = _stand_ins(reading, before)
    if stand_ins:
        second = reader.read(service, {**good, **stand_ins})
        wish = second.wish
        stand_ins = {n: text for n, text in stand_ins.items() if n not in second.refused}
        good = {n: text for n, text in good.items() if n not in second.refused} | stand_ins
    refusals = tuple(
        Refusal(
            service=service.key,
            name=name,
            value=texts[name],
            why=why,
            instead=_instead(name, stand_ins),
        )
        for name, why in sorted(reading.refused.items())
    )
    return _Entry(service, wish, replace(before, good=good), refusals)


def _stand_ins(reading: Reading, before: Grant) -> dict[str, str]:
    """The last good texts of annotations that are wrong now. What the configuration does not
    allow has none."""
    wrong = reading.refused.keys() - reading.forbidden
    return {name: before.good[name] for name in wrong if name in before.good}


def _instead(name: str, stand_ins: Mapping[str, str]) -> str:
    if name in stand_ins:
        return f"its last good value {stand_ins[name]!r} stays"
    return "the edge's own configuration holds"


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether both hold the same objects, without a look into them."""
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)
