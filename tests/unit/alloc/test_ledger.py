"""The ledger follows a cluster from snapshots: holders, since when, and what is wrong."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from nplb.alloc.allocator import PortAllocator, RangeSnapshot
from nplb.alloc.ledger import Ledger
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.repair import RepairError
from nplb.model.cluster import Service, ServicePort, ServiceType, Snapshot, TrafficPolicy
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import Protocol, ServiceKey
from nplb.model.ledger import Band, LedgerEntry, LedgerView

T0 = 1_000_000.0
HOUR = 3600.0


def service(
    name: str,
    *node_ports: int,
    protocols: Sequence[Protocol] = (),
    health_check: int = 0,
    created: float | None = None,
    uid: str = "",
) -> Service:
    namespace, _, name = name.rpartition("/")
    return Service(
        key=ServiceKey("prod", namespace or "shop", name),
        uid=uid or name,
        type=ServiceType.LOAD_BALANCER,
        external_traffic_policy=TrafficPolicy.LOCAL if health_check else TrafficPolicy.CLUSTER,
        ports=tuple(
            ServicePort(
                name=f"p{i}",
                port=80 + i,
                node_port=number,
                protocol=protocols[i] if protocols else Protocol.TCP,
            )
            for i, number in enumerate(node_ports)
        ),
        health_check_node_port=health_check,
        created=created,
    )


def new_ledger(text: str = "30000-32767") -> Ledger:
    return Ledger("prod", parse_port_range(text))


def observe(
    ledger: Ledger, now: float, *services: Service, stored: RangeSnapshot | None = None
) -> LedgerView:
    ordered = sorted(services, key=lambda s: s.key)
    return ledger.observe(
        Snapshot(cluster="prod", taken_at=now, services=tuple(ordered)), now, stored=stored
    )


def entry(view: LedgerView, number: int) -> LedgerEntry:
    (found,) = [e for e in view.entries if e.number == number]
    return found


def found(view: LedgerView) -> dict[tuple[FindingKind, str], Finding]:
    return {(f.kind, f.subject): f for f in view.findings}


def test_knows_who_holds_a_number_and_for_what() -> None:
    view = observe(
        new_ledger(),
        T0,
        service("dns", 30053, 30053, protocols=(Protocol.TCP, Protocol.UDP)),
        service("lb", 31000, health_check=30020),
    )
    (dns,) = entry(view, 30053).holders
    assert dns.service.short == "shop/dns"
    assert [(p.name, p.port, p.protocol) for p in dns.ports] == [
        ("p0", 80, Protocol.TCP),
        ("p1", 81, Protocol.UDP),
    ]
    assert not dns.health_check
    (health_check,) = entry(view, 30020).holders
    assert health_check.health_check
    assert not health_check.ports
    assert [e.number for e in view.entries] == [30020, 30053, 31000]
    assert [e.band for e in view.entries] == [Band.STATIC, Band.STATIC, Band.DYNAMIC]
    assert not view.findings


def test_counts_by_band_and_namespace() -> None:
    view = observe(
        new_ledger(),
        T0,
        service("shop/a", 30000, 31000),
        service("test/b", 32767, health_check=30085),
        service("test/c", 0),
    )
    assert [(b.band, b.first, b.last, b.used, b.free) for b in view.bands] == [
        (Band.STATIC, 30000, 30085, 2, 84),
        (Band.DYNAMIC, 30086, 32767, 2, 2680),
    ]
    assert (view.used, view.free, view.size) == (4, 2764, 2768)
    assert [(n.namespace, n.used) for n in view.namespaces] == [("shop", 2), ("test", 2)]


def test_a_small_range_has_one_band() -> None:
    view = observe(new_ledger("30000-30009"), T0)
    assert [b.band for b in view.bands] == [Band.DYNAMIC]
    assert view.free == 10


def test_remembers_since_when() -> None:
    ledger = new_ledger()
    old = service("a", 30001, created=T0 - HOUR)
    view = observe(ledger, T0, old)
    assert entry(view, 30001).since == T0 - HOUR, "what was there before is as old as its Service"
    view = observe(ledger, T0 + 10, old, service("b", 30002, created=T0 + 9))
    assert entry(view, 30002).since == T0 + 10
    moved = replace(old, ports=(replace(old.ports[0], node_port=30003),))
    view = observe(ledger, T0 + 20, moved)
    assert entry(view, 30003).since == T0 + 20
    relabelled = replace(moved, labels={"x": "1"})
    assert entry(observe(ledger, T0 + 30, relabelled), 30003).since == T0 + 20
    recreated = replace(relabelled, uid="another")
    assert entry(observe(ledger, T0 + 40, recreated), 30003).since == T0 + 40


def test_a_deleted_services_numbers_are_free() -> None:
    ledger = new_ledger()
    observe(ledger, T0, service("a", 30001, health_check=30002))
    view = observe(ledger, T0 + 1)
    assert not view.entries
    assert view.free == 2768
    assert ledger.holders(30001) == ()


def test_a_duplicate_names_who_keeps_it() -> None:
    ledger = new_ledger()
    view = observe(ledger, T0, service("a", 30080), service("b", 30080), service("c", 30081))
    (finding,) = view.findings
    assert (finding.kind, finding.subject) == (FindingKind.PORT_DUPLICATE, "30080")
    assert finding.severity is Severity.ERROR
    assert finding.text == (
        "Port 30080 was assigned to multiple services; please recreate service: "
        "shop/a (p0 80/TCP) keeps it, shop/b (p0 80/TCP) has it too"
    )
    assert entry(view, 30080).holders[0].service.name == "a"
    assert view.used == 2
    assert not observe(ledger, T0 + 1, service("a", 30080)).findings


@pytest.mark.parametrize(
    ("of", "duplicate"),
    [
        (service("a", 30080, 30080, protocols=(Protocol.TCP, Protocol.UDP)), False),
        (service("a", 30080, 30080), True),
        (service("a", 30080, health_check=30080), True),
        (service("a", 30080, protocols=(Protocol.UDP,), health_check=30080), False),
    ],
)
def test_a_service_may_collide_with_itself(of: Service, duplicate: bool) -> None:
    view = observe(new_ledger(), T0, of)
    assert bool(view.findings) is duplicate
    assert view.used == 1


def test_a_number_outside_of_the_range_is_found_and_not_counted() -> None:
    view = observe(new_ledger(), T0, service("a", 8080))
    (finding,) = view.findings
    assert (finding.kind, finding.subject) == (FindingKind.PORT_OUT_OF_RANGE, "8080")
    assert finding.text == (
        "Port 8080 is not within the port range 30000-32767; please recreate service: "
        "shop/a (p0 80/TCP)"
    )
    assert entry(view, 8080).band is Band.OUTSIDE
    assert view.used == 0
    assert not view.namespaces


def test_a_full_range_is_found_with_the_api_servers_words() -> None:
    view = observe(new_ledger("30000-30001"), T0, service("a", 30000, 30001))
    (finding,) = view.findings
    assert finding.kind is FindingKind.PORT_RANGE_FULL
    assert finding.text == (
        "Port range 30000-30001 is full; you must widen the port range in order to create new "
        "services"
    )


def test_a_band_that_fills_up_is_found_and_does_not_flap() -> None:
    ledger = new_ledger("30000-30063")
    kind = (FindingKind.PORT_RANGE_FILLING, "static band")

    def use(count: int, now: float) -> LedgerView:
        return observe(ledger, now, service("a", *range(30000, 30000 + count)))

    assert kind not in found(use(14, T0))
    view = use(15, T0 + 1)
    assert found(view)[kind].text == "the static band 30000-30015 is 94% full, 1 left"
    assert found(use(14, T0 + 2))[kind].since == T0 + 1, "it calms down later than it started"
    assert kind not in found(use(13, T0 + 3))


def test_findings_keep_the_time_they_were_opened() -> None:
    ledger = new_ledger()
    observe(ledger, T0, service("a", 30080), service("b", 30080))
    view = observe(ledger, T0 + 50, service("a", 30080), service("b", 30080), service("c", 1))
    by_kind = {f.kind: f.since for f in view.findings}
    assert by_kind == {
        FindingKind.PORT_DUPLICATE: T0,
        FindingKind.PORT_OUT_OF_RANGE: T0 + 50,
    }


def test_forecasts_when_a_band_will_be_full() -> None:
    ledger = new_ledger("30000-30063")
    observe(ledger, T0, service("a", *range(30016, 30026)))
    view = observe(ledger, T0 + 300, service("a", *range(30016, 30027)))
    assert view.bands[1].per_hour is None, "five minutes are no rate"
    view = observe(ledger, T0 + 2 * HOUR, service("a", *range(30016, 30042)))
    dynamic = view.bands[1]
    assert dynamic.per_hour == pytest.approx(8.0)
    assert dynamic.free == 22
    assert dynamic.full_at == pytest.approx(T0 + 2 * HOUR + 22 / 8 * HOUR)
    assert view.bands[0].full_at is None
    (namespace,) = view.namespaces
    assert namespace.per_hour == pytest.approx(8.0)
    assert found(view)[FindingKind.PORT_RANGE_FILLING, "dynamic band"].text == (
        "the dynamic band 30016-30063 will be full in about 2.8 h at 8.0 an hour"
    )


def test_a_band_that_empties_has_no_end() -> None:
    ledger = new_ledger()
    observe(ledger, T0, service("a", *range(31000, 31050)))
    view = observe(ledger, T0 + HOUR, service("a", 31000))
    assert view.bands[1].per_hour == pytest.approx(-49.0)
    assert view.bands[1].full_at is None


def test_the_rate_looks_back_one_day() -> None:
    ledger = new_ledger()
    for hour in range(49):
        view = observe(ledger, T0 + hour * HOUR, service("a", *range(31000, 31001 + 2 * hour)))
    assert view.bands[1].per_hour == pytest.approx(2.0)
    for hour in range(49, 49 + 25):
        view = observe(ledger, T0 + hour * HOUR, service("a", *range(31000, 31097)))
    assert view.bands[1].per_hour == pytest.approx(0.0)


def test_a_clock_that_goes_back_starts_the_rate_over() -> None:
    ledger = new_ledger()
    observe(ledger, T0, service("a", 31000))
    view = observe(ledger, T0 - 10 * HOUR, service("a", 31000))
    assert view.bands[1].per_hour is None
    assert view.watched_since == T0 - 10 * HOUR


# -- with what the allocator has stored ---------------------------------------


def stored(*ports: int, text: str = "30000-32767") -> RangeSnapshot:
    allocator = PortAllocator(parse_port_range(text), random.Random(1))
    for port in ports:
        allocator.allocate(port)
    return allocator.snapshot()


def test_a_leak_is_an_entry_without_holder_until_it_is_freed() -> None:
    ledger = new_ledger()
    a = service("a", 30080)
    for round_ in range(2):
        view = observe(ledger, T0 + round_ * 180, a, stored=stored(30080, 30099))
        assert entry(view, 30099).holders == ()
        assert found(view)[FindingKind.PORT_LEAK, "30099"].since == T0
        assert view.used == 2
    view = observe(ledger, T0 + 360, a, stored=stored(30080, 30099))
    assert [e.number for e in view.entries] == [30080]
    assert not view.findings


def test_between_two_rounds_the_last_check_stands() -> None:
    ledger = new_ledger()
    for now in (T0, T0 + 60, T0 + 120, T0 + 179):
        view = observe(ledger, now, stored=stored(30099))
        assert (FindingKind.PORT_LEAK, "30099") in found(view)


def test_a_number_that_comes_into_use_is_no_leak_any_more() -> None:
    ledger = new_ledger()
    observe(ledger, T0, stored=stored(30099))
    view = observe(ledger, T0 + 10, service("a", 30099), stored=stored(30099))
    assert not view.findings


def test_a_number_that_is_not_allocated_is_found() -> None:
    ledger = new_ledger()
    view = observe(ledger, T0, service("a", 30080), stored=stored())
    (finding,) = view.findings
    assert finding.kind is FindingKind.PORT_NOT_ALLOCATED
    assert finding.text == (
        "Port 30080 is not allocated; repairing: shop/a has it, and it could be given to "
        "another Service"
    )
    assert not observe(ledger, T0 + 200, service("a", 30080), stored=stored(30080)).findings


def test_a_stored_range_that_is_narrower_now_shows_no_ghosts() -> None:
    ledger = new_ledger("30000-30100")
    view = observe(ledger, T0, stored=stored(32000))
    assert not view.entries


def test_a_stored_range_that_makes_no_sense_changes_nothing() -> None:
    ledger = new_ledger()
    observe(ledger, T0)
    with pytest.raises(RepairError):
        observe(ledger, T0 + 1, service("a", 30080), stored=RangeSnapshot(range="none"))
    view = observe(ledger, T0 + 2, service("a", 30080))
    assert [e.number for e in view.entries] == [30080]


def test_a_view_stands_while_no_service_changes() -> None:
    ledger = new_ledger()
    same = (service("a", 30080),)
    snapshot = Snapshot(cluster="prod", taken_at=T0, services=same)
    first = ledger.observe(snapshot, T0)
    assert ledger.observe(replace(snapshot, taken_at=T0 + 1), T0 + 1) is first
    assert ledger.observe(snapshot, T0 + 6).observed_at == T0 + 6
    changed = replace(snapshot, services=(service("a", 30081),))
    assert [e.number for e in ledger.observe(changed, T0 + 7).entries] == [30081]


def test_says_which_part_of_the_cluster_it_sees() -> None:
    ledger = new_ledger()
    snapshot = Snapshot(cluster="prod", taken_at=T0, services=())
    assert ledger.observe(snapshot, T0).limited_to == ""
    assert ledger.observe(snapshot, T0, limited_to="namespaces a").limited_to == "namespaces a"
