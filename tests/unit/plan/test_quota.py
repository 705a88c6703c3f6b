"""How many frontends one namespace may have, and who goes without."""

from dataclasses import replace

from nplb.model.cluster import Service
from nplb.model.keys import Address
from nplb.model.plan import Plan
from nplb.model.reasons import SkipReason
from nplb.model.settings import FrontendSettings, Settings
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot

SETTINGS = Settings(clusters=(a_cluster(),), frontends_per_namespace=2)
OLD = a_service("z-old", a_port(30080), created=100.0)
MIDDLE = a_service("middle", a_port(30081), created=200.0)
NEW = a_service("a-new", a_port(30082), created=300.0)
OTHER = a_service("other", a_port(30083), namespace="calm", created=400.0)


def plan(*services: Service, settings: Settings = SETTINGS, previous: Plan | None = None) -> Plan:
    snapshots = {"prod": a_snapshot(services, [a_node(1)])}
    return make_plan(settings, snapshots, {}, previous or Plan(), 1.0)


def names(made: Plan) -> list[str]:
    return [frontend.key.service.name for frontend in made.frontends]


def test_the_services_created_earlier_are_served_and_other_namespaces_notice_nothing() -> None:
    made = plan(OLD, MIDDLE, NEW, OTHER)
    assert names(made) == ["other", "middle", "z-old"]
    (skipped,) = made.skipped
    assert skipped.key.service.name == "a-new"
    assert skipped.reason is SkipReason.NAMESPACE_LIMIT
    assert "the namespace default has 2 frontends" in skipped.detail


def test_who_is_served_stays_whatever_comes() -> None:
    first = plan(MIDDLE, NEW)
    second = plan(OLD, MIDDLE, NEW, previous=first)
    assert names(second) == ["a-new", "middle"]


def test_what_the_file_pins_has_a_place() -> None:
    pinned = FrontendSettings(service="default/a-new", listen=(Address("0.0.0.0", 443),))
    made = plan(OLD, MIDDLE, NEW, settings=replace(SETTINGS, frontends=(pinned,)))
    assert names(made) == ["a-new", "z-old"]


def test_a_place_that_comes_free_is_given_away() -> None:
    first = plan(OLD, MIDDLE, NEW)
    assert names(plan(OLD, NEW, previous=first)) == ["a-new", "z-old"]
    assert names(plan(OLD, MIDDLE, NEW, settings=replace(SETTINGS, frontends_per_namespace=0))) == [
        "a-new",
        "middle",
        "z-old",
    ]
