"""What the Services' annotations ask for, with the last good value in place of a wrong one."""

from collections.abc import Mapping

from nplb.config.annotations import AnnotationReader, Reading, annotated
from nplb.model.annotations import Wish, Wishes
from nplb.model.cluster import Service, Snapshot
from nplb.model.keys import ServiceKey
from nplb.model.refusal import Refusal
from nplb.model.settings import Settings


class AnnotationBook:
    """Reads the annotations of every Service that changed since it was asked last, and remembers
    what was good. A Service that was made anew under its name starts afresh."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._reader: AnnotationReader | None = None
        self._services: dict[str, tuple[Service, ...]] = {}
        self._entries: dict[ServiceKey, _Entry] = {}
        self._wishes = Wishes()

    def read(self, settings: Settings, snapshots: Mapping[str, Snapshot]) -> Wishes:
        """What all Services ask for now; the same object as before if nothing changed."""
        services = {name: snapshot.services for name, snapshot in snapshots.items()}
        same_settings = settings is self._settings
        if same_settings and _same(services, self._services):
            return self._wishes
        if self._reader is None or not same_settings:
            self._reader = AnnotationReader(settings)
        entries: dict[ServiceKey, _Entry] = {}
        for listed in services.values():
            for service in listed:
                if not service.annotations or not service.uses_node_ports:
                    continue
                entry = self._entries.get(service.key)
                if entry is None or entry.service is not service or not same_settings:
                    texts = annotated(service)
                    if not texts:
                        continue
                    entry = _read(self._reader, service, texts, entry)
                entries[service.key] = entry
        self._settings, self._services, self._entries = settings, services, entries
        wishes = Wishes(
            by_service={key: e.wish for key, e in entries.items() if e.wish != Wish()},
            refusals=tuple(refusal for key in sorted(entries) for refusal in entries[key].refusals),
        )
        if wishes != self._wishes:
            self._wishes = wishes
        return self._wishes


class _Entry:
    """One Service's annotations as they were read; `good` are the texts in force."""

    __slots__ = ("good", "refusals", "service", "wish")

    def __init__(
        self, service: Service, wish: Wish, good: dict[str, str], refusals: tuple[Refusal, ...]
    ) -> None:
        self.service = service
        self.wish = wish
        self.good = good
        self.refusals = refusals


def _read(
    reader: AnnotationReader, service: Service, texts: Mapping[str, str], before: _Entry | None
) -> _Entry:
    reading = reader.read(service, texts)
    good = {name: text for name, text in texts.items() if name not in reading.refused}
    wish = reading.wish
    stand_ins = _stand_ins(service, reading, before)
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
    return _Entry(service, wish, good, refusals)


def _stand_ins(service: Service, reading: Reading, before: _Entry | None) -> dict[str, str]:
    """The last good texts of annotations that are wrong now. What the configuration does not
    allow has none."""
    if before is None or before.service.uid != service.uid:
        return {}
    wrong = reading.refused.keys() - reading.forbidden
    return {name: before.good[name] for name in wrong if name in before.good}


def _instead(name: str, stand_ins: Mapping[str, str]) -> str:
    if name in stand_ins:
        return f"its last good value {stand_ins[name]!r} stays"
    return "the edge's own configuration holds"


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether both hold the same objects, without a look into them."""
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)
