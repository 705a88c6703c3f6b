"""Annotations in the plan: what goes before what, and that nobody's port is taken."""

from dataclasses import replace

from nplb.model.annotations import Wish, Wishes
from nplb.model.cluster import Service
from nplb.model.keys import Address, FrontendKey
from nplb.model.plan import Plan, Timeouts
from nplb.model.reasons import Balance
from nplb.model.relay import Leave, RelayOptions
from nplb.model.settings import AnnotationSettings, FrontendSettings, Settings
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot

SETTINGS = Settings(
    clusters=(a_cluster(),), annotations=AnnotationSettings(ports=("443", "8000-8999", "30081"))
)
OLD = a_service("old", a_port(30080), created=100.0)
NEW = a_service("new", a_port(30081), created=200.0)


def asks(**ports: int) -> Wishes:
    """`old=443`: the Service old asks for port 443."""
    services = {"old": OLD, "new": NEW}
    return Wishes(
        by_service={
            services[name].key: Wish(ports={FrontendKey(services[name].key, 80): port})
            for name, port in ports.items()
        }
    )


def had(wishes: Wishes, service: Service, port: int) -> Wishes:
    """The Service has had this port before a restart."""
    return replace(wishes, held={FrontendKey(service.key, 80): port})


def plan(
    wishes: Wishes,
    previous: Plan | None = None,
    settings: Settings = SETTINGS,
    services: tuple[Service, ...] = (OLD, NEW),
) -> Plan:
    snapshots = {"prod": a_snapshot(services, [a_node(1)])}
    return make_plan(settings, snapshots, {}, previous or Plan(), 1.0, wishes=wishes)


def ports(made: Plan) -> dict[str, int]:
    return {f.key.service.name: f.listen[0].port for f in made.frontends}


def test_a_free_port_is_had() -> None:
    made = plan(asks(new=443))
    assert ports(made) == {"old": 30080, "new": 443}
    assert made.refusals == ()


def test_an_older_service_cannot_take_what_a_younger_one_has_by_now() -> None:
    first = plan(asks(new=443))
    second = plan(asks(new=443, old=443), first)
    assert ports(second) == {"old": 30080, "new": 443}
    [refusal] = second.refusals
    assert refusal.service == OLD.key
    assert "prod/default/new:80/TCP" in refusal.text
    assert "it has it already" in refusal.text
    assert "it is served at 0.0.0.0:30080" in refusal.text


def test_both_at_once_the_service_created_earlier_gets_it() -> None:
    made = plan(asks(new=443, old=443))
    assert ports(made) == {"old": 443, "new": 30081}
    assert [r.service for r in made.refusals] == [NEW.key]


def test_no_annotation_takes_the_port_that_a_service_has_by_its_node_port() -> None:
    made = plan(asks(old=30081))
    assert ports(made) == {"old": 30080, "new": 30081}
    [refusal] = made.refusals
    assert "no annotation takes another Service's port" in refusal.why


def test_who_had_a_port_by_an_annotation_keeps_it_when_the_next_wish_is_refused() -> None:
    first = plan(asks(new=443, old=8000))
    second = plan(asks(new=443, old=443), first)
    assert ports(second) == {"old": 8000, "new": 443}
    third = plan(asks(new=443, old=443), second)
    assert ports(third) == {"old": 8000, "new": 443}, "and goes on to"


def test_after_a_restart_everyone_has_the_port_of_before() -> None:
    made = plan(had(asks(new=443, old=443), NEW, 443))
    assert ports(made) == {"old": 30080, "new": 443}
    made = plan(had(asks(new=8000, old=8000), NEW, 443))
    assert ports(made) == {"old": 8000, "new": 443}, "also whose next wish had been refused"


def test_after_a_restart_a_port_waits_for_its_cluster() -> None:
    elsewhere = a_service("new", a_port(30081), cluster="west", created=200.0)
    settings = replace(SETTINGS, clusters=(a_cluster(), a_cluster("west")))
    made = plan(had(asks(old=443), elsewhere, 443), settings=settings, services=(OLD,))
    assert ports(made) == {"old": 30080}
    [refusal] = made.refusals
    assert "west/default/new:80/TCP" in refusal.text
    known = plan(had(asks(old=443), NEW, 443))
    assert ports(known) == {"old": 443, "new": 30081}, "it asks for it no more"


def test_who_follows_its_node_port_gets_it_back_from_an_annotation() -> None:
    first = plan(asks(old=30081), services=(OLD,))
    assert ports(first) == {"old": 30081}
    second = plan(asks(old=30081), first)
    assert ports(second) == {"old": 30080, "new": 30081}


def test_the_file_goes_before() -> None:
    pinned = FrontendSettings(service="default/new", listen=(Address("0.0.0.0", 444),))
    made = plan(asks(new=443), settings=replace(SETTINGS, frontends=(pinned,)))
    assert ports(made)["new"] == 444
    assert made.refusals == ()


def test_file_then_annotation_then_default_field_by_field() -> None:
    file = FrontendSettings(
        service="default/new",
        timeouts=Timeouts(idle=60.0),
        relay=RelayOptions(drain_seconds=1.0),
        given=frozenset({"idle", "drain_seconds"}),
    )
    wish = FrontendSettings(
        service="default/new",
        balance=Balance.FIRST,
        timeouts=Timeouts(idle=30.0, connect=1.0),
        relay=RelayOptions(drain_seconds=9.0, on_leave=Leave.CLOSE),
        given=frozenset({"idle", "connect", "drain_seconds", "on_leave"}),
    )
    made = plan(
        Wishes(by_service={NEW.key: Wish(options=wish)}),
        settings=replace(SETTINGS, frontends=(file,)),
    )
    new, old = made.frontends
    assert new.balance is Balance.FIRST
    assert new.timeouts == Timeouts(idle=60.0, connect=1.0)
    assert new.relay == RelayOptions(drain_seconds=1.0, on_leave=Leave.CLOSE)
    assert (old.balance, old.relay) == (SETTINGS.balance, SETTINGS.relay)


def test_whom_the_file_turns_away_no_annotation_lets_in() -> None:
    file = FrontendSettings(
        service="default/new",
        relay=RelayOptions(denied_ranges=("192.0.2.0/24",)),
        given=frozenset({"denied_ranges"}),
    )
    wish = FrontendSettings(
        service="default/new",
        relay=RelayOptions(source_ranges=("192.0.2.7/32",)),  # the longer prefix would decide
        given=frozenset({"source_ranges"}),
    )
    made = plan(
        Wishes(by_service={NEW.key: Wish(options=wish)}),
        settings=replace(SETTINGS, frontends=(file,)),
    )
    assert made.frontends[0].relay == RelayOptions(denied_ranges=("192.0.2.0/24",))
