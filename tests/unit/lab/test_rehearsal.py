"""What a rehearsal answers is what the API server answers then, for every recorded request."""

import random
from typing import Any

import pytest

from nplb.alloc.ledger import Ledger
from nplb.alloc.outcome import Origin
from nplb.alloc.portrange import parse_port_range
from nplb.lab.api.errors import ApiError
from nplb.lab.api.server import ApiServer
from nplb.lab.rehearsal import Rehearsal
from nplb.model.cluster import Snapshot
from nplb.model.ledger import Band
from nplb.sources.kubernetes.services import sort_out
from tests.support.golden import load


def rehearsal_of(api: ApiServer, **options: Any) -> Rehearsal:
    """A rehearsal over the cluster as it is now."""
    found = sort_out(api.store.list("services"), cluster="c")
    ledger = Ledger("c", parse_port_range("30000-32767"))
    ledger.observe(Snapshot(cluster="c", taken_at=0.0, services=found.services), 0.0)
    names = [one["metadata"]["name"] for one in api.store.list("namespaces")]
    return Rehearsal(ledger, found.raws, **{"namespaces": names, **options})


@pytest.fixture
def api() -> ApiServer:
    return ApiServer(rng=random.Random(1), token="t")


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    spec = {"type": "NodePort", "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def test_every_recorded_create_is_foretold_word_for_word(api: ApiServer) -> None:
    creates = [
        exchange
        for exchange in load("02-service-create.json")
        if exchange["request"]["method"] == "POST"
        and isinstance(exchange["request"]["body"], dict)
        and "dryRun" not in exchange["request"]["path"]
    ]
    refused = 0
    for exchange in creates:
        body = exchange["request"]["body"]
        namespace = exchange["request"]["path"].split("/")[4]
        recorded = exchange["response"]
        told = rehearsal_of(api).send(body, namespace)
        assert told.code == recorded["status"]
        assert told.accepted is (recorded["status"] == 201)
        if not told.accepted:
            refused += 1
            assert told.reason == recorded["body"]["reason"]
            assert told.message == recorded["body"]["message"]
            with pytest.raises(ApiError) as caught:
                api.create("services", body, namespace)
            assert str(caught.value) == told.message
            continue
        created = api.create("services", body, namespace)
        for port, foretold in zip(created["spec"]["ports"], told.ports, strict=True):
            number = port.get("nodePort", 0)
            if foretold.node_port or foretold.drawn_from is None:
                assert number == foretold.node_port
            else:
                assert number in foretold.drawn_from.numbers
    assert (len(creates), refused) == (41, 24)


def test_a_batch_is_sent_on_top_of_itself(api: ApiServer) -> None:
    rehearsal = rehearsal_of(api)
    assert rehearsal.send(service("a", ports=[{"port": 80, "nodePort": 30080}])).accepted
    taken = rehearsal.send(service("b", ports=[{"port": 80, "nodePort": 30080}]))
    assert taken.hint == "30080 is taken by default/a, which comes before it; 30000 is free"
    again = rehearsal.send(service("a", ports=[{"port": 80}]))
    assert again.message == 'services "a" already exists'


def test_applying_keeps_numbers_by_port_and_protocol(api: ApiServer) -> None:
    api.create(
        "services",
        service(ports=[{"name": "a", "port": 80, "nodePort": 30080}]),
        "default",
    )
    told = rehearsal_of(api, apply=True).send(
        service(ports=[{"name": "renamed", "port": 80}, {"name": "new", "port": 81}])
    )
    assert told.code == 200
    assert [(p.origin, p.node_port) for p in told.ports] == [
        (Origin.KEPT, 30080),
        (Origin.DRAWN, 0),
    ]


def test_applying_is_refused_as_an_update_is(api: ApiServer) -> None:
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    api.create("services", service(**local, healthCheckNodePort=30020), "default")
    told = rehearsal_of(api, apply=True).send(service(**local, healthCheckNodePort=30024))
    assert told.message == (
        'Service "web" is invalid: spec.healthCheckNodePort: Forbidden: field is immutable'
    )
    kept = rehearsal_of(api, apply=True).send(service(**local))
    assert kept.health_check is not None
    assert (kept.health_check.origin, kept.health_check.node_port) == (Origin.KEPT, 30020)


def test_applying_to_a_manifest_whose_numbers_are_not_known_tells_what_they_are_drawn_from() -> (
    None
):
    raw = service(type="LoadBalancer", externalTrafficPolicy="Local")
    raw["metadata"]["namespace"] = "default"
    ledger = Ledger("c", parse_port_range("30000-32767"))
    told = Rehearsal(ledger, sort_out([raw], cluster="c").raws, apply=True).send(raw)
    assert told.code == 200
    for one in (*told.ports, told.health_check):
        assert one is not None
        assert (one.origin, one.node_port) == (Origin.DRAWN, 0)


def test_applying_what_is_not_there_creates_it(api: ApiServer) -> None:
    assert rehearsal_of(api, apply=True).send(service()).code == 201


def test_unknown_fields_are_refused_as_kubectl_has_them_refused(api: ApiServer) -> None:
    told = rehearsal_of(api).send(service(port=80))
    assert told.code == 400
    assert 'unknown field "spec.port"' in told.message


def test_a_namespace_is_known_or_may_be_there(api: ApiServer) -> None:
    assert rehearsal_of(api).send(service(), "nowhere").code == 404
    assert rehearsal_of(api, namespaces=None).send(service(), "nowhere").accepted


def test_a_health_check_number_is_drawn_after_the_ports(api: ApiServer) -> None:
    told = rehearsal_of(api).send(service(type="LoadBalancer", externalTrafficPolicy="Local"))
    assert told.health_check is not None
    assert told.health_check.drawn_from is not None
    assert told.health_check.drawn_from.band is Band.DYNAMIC
    assert told.health_check.drawn_from.unknown == 1


def test_a_dual_stack_cluster_is_not_refused_for_its_families(api: ApiServer) -> None:
    found = sort_out(
        [
            {
                "metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {"clusterIPs": ["fd00::1"], "ipFamilies": ["IPv6"]},
            }
        ],
        cluster="c",
    )
    ledger = Ledger("c", parse_port_range("30000-32767"))
    ledger.observe(Snapshot(cluster="c", taken_at=0.0, services=found.services), 0.0)
    both = service(ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6", "IPv4"])
    assert Rehearsal(ledger, found.raws).send(both).accepted


@pytest.mark.parametrize(
    ("cidr", "address", "accepted"),
    [
        (None, "10.96.200.1", True),
        (None, "10.111.0.1", True),
        (None, "10.112.0.1", False),
        ("10.96.0.0/24", "10.96.200.1", False),
        (None, "10.96.0.1", False),
    ],
)
def test_the_service_cidr_is_told_or_guessed_wide(
    cidr: str | None, address: str, accepted: bool
) -> None:
    found = sort_out(
        [
            {
                "metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {"clusterIPs": ["10.96.0.1"], "clusterIP": "10.96.0.1"},
            }
        ],
        cluster="c",
    )
    ledger = Ledger("c", parse_port_range("30000-32767"))
    ledger.observe(Snapshot(cluster="c", taken_at=0.0, services=found.services), 0.0)
    told = Rehearsal(ledger, found.raws, service_cidr=cidr).send(service(clusterIP=address))
    assert told.accepted is accepted
    if not accepted:
        assert f"failed to allocate IP {address}: " in told.message


@pytest.mark.parametrize("junk", [None, 5, [], {}, {"spec": 5}, {"metadata": {"name": 5}}])
def test_junk_is_refused_and_not_raised(api: ApiServer, junk: Any) -> None:
    for apply in (False, True):
        told = rehearsal_of(api, apply=apply).send(junk)
        assert not told.accepted
        assert told.code in (400, 422)
