"""Create, update and delete of a Service take, carry over and give back what kube-apiserver's
do, and are refused with its words."""

import random
from dataclasses import replace

import pytest

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import Refused
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.services import begin_create, begin_update, carry_over, release
from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.keys import Protocol, ServiceKey

TCP, UDP = Protocol.TCP, Protocol.UDP
NODE_PORT, LOAD_BALANCER = ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER
CLUSTER_IP, EXTERNAL_NAME = ServiceType.CLUSTER_IP, ServiceType.EXTERNAL_NAME
LOCAL = TrafficPolicy.LOCAL
TAKEN = "provided port is already allocated"


def new_allocator(text: str = "30000-32767") -> PortAllocator:
    return PortAllocator(parse_port_range(text), random.Random(7))


def port(number: int, node_port: int = 0, protocol: Protocol = TCP, name: str = "p") -> ServicePort:
    return ServicePort(name=name, port=number, protocol=protocol, node_port=node_port)


def service(
    *ports: ServicePort,
    type: ServiceType = NODE_PORT,  # noqa: A002 - the field's own name
    allocate: bool = True,
    policy: TrafficPolicy = TrafficPolicy.CLUSTER,
    health_check: int = 0,
) -> Service:
    return Service(
        key=ServiceKey("c", "default", "foo"),
        type=type,
        ports=ports or (port(80),),
        allocate_load_balancer_node_ports=allocate,
        external_traffic_policy=policy,
        health_check_node_port=health_check,
    )


def numbers(of: Service) -> list[int]:
    return [p.node_port for p in of.ports]


def create(allocator: PortAllocator, of: Service) -> Service:
    change = begin_create(allocator, of)
    change.commit()
    return change.service


def update(allocator: PortAllocator, old: Service, new: Service) -> Service:
    change = begin_update(allocator, old, new)
    change.commit()
    return change.service


# -- create ------------------------------------------------------------------

TWO_TCP = (port(80, name="p"), port(443, name="q"))
TWO_PROTOCOLS = (port(53, name="p"), port(53, protocol=UDP, name="q"))

CREATED = {
    "ExternalName": (service(type=EXTERNAL_NAME), "none"),
    "ClusterIP": (service(type=CLUSTER_IP), "none"),
    "NodePort single unspecified": (service(), "all"),
    "NodePort single specified": (service(port(80, 30080)), "all"),
    "NodePort multiport unspecified": (service(*TWO_TCP), "all"),
    "NodePort multiport specified": (
        service(port(80, 30080, name="p"), port(443, 30443, name="q")),
        "all",
    ),
    "NodePort multiport partly specified": (
        service(port(80, 30080, name="p"), port(443, name="q")),
        "all",
    ),
    "NodePort multiproto unspecified": (service(*TWO_PROTOCOLS), "shared"),
    "NodePort multiproto specified": (
        service(port(53, 30053, name="p"), port(53, 30054, UDP, "q")),
        "all",
    ),
    "NodePort multiproto same": (
        service(port(53, 30053, name="p"), port(53, 30053, UDP, "q")),
        "shared",
    ),
    "LoadBalancer single unspecified": (service(type=LOAD_BALANCER), "all"),
    "LoadBalancer single unspecified, no allocation": (
        service(type=LOAD_BALANCER, allocate=False),
        "none",
    ),
    "LoadBalancer single specified, no allocation": (
        service(port(80, 30080), type=LOAD_BALANCER, allocate=False),
        "all",
    ),
    "LoadBalancer multiport unspecified": (service(*TWO_TCP, type=LOAD_BALANCER), "all"),
    "LoadBalancer multiport unspecified, no allocation": (
        service(*TWO_TCP, type=LOAD_BALANCER, allocate=False),
        "none",
    ),
    "LoadBalancer multiport specified, no allocation": (
        service(
            port(80, 30080, name="p"),
            port(443, 30443, name="q"),
            type=LOAD_BALANCER,
            allocate=False,
        ),
        "all",
    ),
    "LoadBalancer multiproto unspecified": (
        service(*TWO_PROTOCOLS, type=LOAD_BALANCER),
        "shared",
    ),
    "LoadBalancer multiproto same": (
        service(port(53, 30053, name="p"), port(53, 30053, UDP, "q"), type=LOAD_BALANCER),
        "shared",
    ),
    "LoadBalancer multiproto specified": (
        service(port(53, 30053, name="p"), port(53, 30054, UDP, "q"), type=LOAD_BALANCER),
        "all",
    ),
}


@pytest.mark.parametrize("case", CREATED)
def test_create(case: str) -> None:
    wanted, expect = CREATED[case]
    allocator = new_allocator()
    got = numbers(create(allocator, wanted))
    held = set(allocator.ports())
    if expect == "none":
        assert got == [0] * len(got)
        assert not held
        return
    assert set(got) == held
    for asked, given in zip(numbers(wanted), got, strict=True):
        assert asked in (0, given)
    assert len(held) == (1 if expect == "shared" else len(got))


REFUSED = {
    "a number that is taken": (service(port(80, 30001)), 0, 30001, TAKEN),
    "NodePort multiport same": (
        service(port(80, 30080, name="p"), port(443, 30080, name="q")),
        1,
        30080,
        TAKEN,
    ),
    "LoadBalancer multiport same": (
        service(port(80, 30080, name="p"), port(443, 30080, name="q"), type=LOAD_BALANCER),
        1,
        30080,
        TAKEN,
    ),
    "NodePort multiproto conflict": (
        service(port(93, 30093, name="p"), port(76, 30093, UDP, "q")),
        1,
        30093,
        TAKEN,
    ),
    "LoadBalancer multiproto conflict": (
        service(port(93, 30093, name="p"), port(76, 30093, UDP, "q"), type=LOAD_BALANCER),
        1,
        30093,
        TAKEN,
    ),
    "another protocol of a number that is taken": (
        service(port(80, 30001, UDP)),
        0,
        30001,
        TAKEN,
    ),
    "told at the first of the ports that look ahead": (
        service(port(53, name="p"), port(53, 30001, UDP, "q")),
        0,
        30001,
        TAKEN,
    ),
    "below the range": (
        service(port(80, 29999)),
        0,
        29999,
        "provided port is not in the valid range. The range of valid ports is 30000-32767",
    ),
    "negative": (
        service(port(80, -1)),
        0,
        -1,
        "provided port is not in the valid range. The range of valid ports is 30000-32767",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_create_is_refused_and_leaves_nothing_behind(case: str) -> None:
    wanted, index, value, detail = REFUSED[case]
    allocator = new_allocator()
    allocator.allocate(30001)
    with pytest.raises(Refused) as caught:
        begin_create(allocator, wanted)
    refused = caught.value
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert refused.api_message("Service", "foo") == (
        f'Service "foo" is invalid: spec.ports[{index}].nodePort: Invalid value: {value}: {detail}'
    )
    assert list(allocator.ports()) == [30001]


def test_an_explicit_number_serves_the_ports_before_it() -> None:
    allocator = new_allocator()
    got = create(allocator, service(port(53, name="tcp"), port(53, 30053, UDP, "udp")))
    assert numbers(got) == [30053, 30053]
    assert list(allocator.ports()) == [30053]


def test_an_explicit_number_in_the_static_band_is_had() -> None:
    assert numbers(create(new_allocator(), service(port(80, 30000)))) == [30000]


def test_a_number_can_be_had_again_after_delete() -> None:
    allocator = new_allocator()
    first = create(allocator, service(port(80, 30093)))
    with pytest.raises(Refused):
        create(allocator, service(port(80, 30093)))
    release(allocator, first)
    create(allocator, service(port(80, 30093)))


def test_a_full_range_is_an_internal_error() -> None:
    allocator = new_allocator("30000-30000")
    create(allocator, service())
    with pytest.raises(Refused) as caught:
        create(allocator, service())
    assert (caught.value.code, caught.value.reason) == (500, "InternalError")
    assert caught.value.api_message("Service", "foo") == (
        "Internal error occurred: failed to allocate a nodePort: range is full"
    )


def test_a_second_port_that_finds_the_range_full_gives_the_first_back() -> None:
    allocator = new_allocator("30000-30000")
    with pytest.raises(Refused):
        create(allocator, service(*TWO_TCP))
    assert allocator.free == 1


def test_rolling_back_gives_back_what_was_taken() -> None:
    allocator = new_allocator()
    with begin_create(allocator, service(*TWO_TCP)) as change:
        assert set(change.allocated) == set(allocator.ports())
    assert allocator.used == 0


# -- health check ------------------------------------------------------------


def local(health_check: int = 0, *ports: ServicePort) -> Service:
    return service(*ports, type=LOAD_BALANCER, policy=LOCAL, health_check=health_check)


def test_a_local_load_balancer_gets_a_health_check_number_from_the_same_range() -> None:
    allocator = new_allocator()
    got = create(allocator, local())
    assert set(allocator.ports()) == {got.health_check_node_port, got.ports[0].node_port}
    release(allocator, got)
    assert allocator.used == 0


def test_an_explicit_health_check_number_is_had() -> None:
    assert create(new_allocator(), local(30020)).health_check_node_port == 30020


@pytest.mark.parametrize("of", [service(policy=LOCAL), service(type=LOAD_BALANCER)])
def test_nobody_else_gets_one(of: Service) -> None:
    allocator = new_allocator()
    assert create(allocator, of).health_check_node_port == 0
    assert allocator.used == 1


@pytest.mark.parametrize(
    ("of", "detail"),
    [
        (local(30001), TAKEN),
        (local(30080, port(80, 30080)), TAKEN),
        (
            local(-1),
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ],
)
def test_a_health_check_number_that_cant_be_had_is_an_internal_error(
    of: Service, detail: str
) -> None:
    allocator = new_allocator()
    allocator.allocate(30001)
    with pytest.raises(Refused) as caught:
        begin_create(allocator, of)
    assert (caught.value.code, caught.value.reason) == (500, "InternalError")
    assert caught.value.api_message("Service", "foo") == (
        "Internal error occurred: failed to allocate requested HealthCheck NodePort "
        f"{of.health_check_node_port}: {detail}"
    )
    assert list(allocator.ports()) == [30001]


def test_no_number_left_for_the_health_check() -> None:
    allocator = new_allocator("30000-30000")
    with pytest.raises(Refused) as caught:
        begin_create(allocator, local())
    assert caught.value.detail == ("failed to allocate a HealthCheck NodePort 0: range is full")
    assert allocator.free == 1


# -- carrying over -----------------------------------------------------------

CARRIED = {
    "all of a local load balancer": (
        local(31234, port(80, 30080)),
        local(),
        [30080],
        31234,
    ),
    "of a NodePort its ports only": (
        service(port(80, 30080), policy=LOCAL, health_check=31234),
        service(policy=LOCAL),
        [30080],
        0,
    ),
    "of a ClusterIP nothing": (
        service(port(80, 30080), type=CLUSTER_IP, health_check=31234),
        service(type=CLUSTER_IP),
        [0],
        0,
    ),
    "by name, whatever else changed": (
        service(port(80, 30080, name="a"), port(81, 30081, name="b")),
        service(port(8081, name="b"), port(8080, protocol=UDP, name="a"), port(9, name="c")),
        [30081, 30080, 0],
        0,
    ),
    "not a number that another port of the new one has": (
        service(port(80, 30080, name="a")),
        service(port(80, name="a"), port(81, 30080, name="b")),
        [0, 30080],
        0,
    ),
    "nothing when told not to allocate": (
        service(port(80, 30080), type=LOAD_BALANCER, allocate=False),
        service(type=LOAD_BALANCER, allocate=False),
        [0],
        0,
    ),
    "nothing of the ports left out when told not to allocate": (
        service(
            port(93, 30093, name=""), port(94, 30094, name=""), type=LOAD_BALANCER, allocate=False
        ),
        service(port(93, 30093, name=""), port(94, name=""), type=LOAD_BALANCER, allocate=False),
        [30093, 0],
        0,
    ),
}


@pytest.mark.parametrize("case", CARRIED)
def test_carries_over(case: str) -> None:
    old, new, ports, health_check = CARRIED[case]
    got = carry_over(old, new)
    assert numbers(got) == ports
    assert got.health_check_node_port == health_check


# -- update ------------------------------------------------------------------


def test_a_new_number_is_taken_at_once_and_the_old_one_given_back_late() -> None:
    allocator = new_allocator()
    old = create(allocator, service(port(80, 30080)))
    change = begin_update(allocator, old, service(port(80, 30081)))
    assert set(allocator.ports()) == {30080, 30081}
    assert change.released == (30080,)
    change.commit()
    assert list(allocator.ports()) == [30081]


def test_a_failed_write_keeps_the_old_numbers() -> None:
    allocator = new_allocator()
    old = create(allocator, service(port(80, 30080)))
    begin_update(allocator, old, service(port(80, 30081))).rollback()
    assert list(allocator.ports()) == [30080]


def test_an_update_that_is_refused_holds_and_releases_nothing() -> None:
    allocator = new_allocator()
    allocator.allocate(30010)
    old = create(allocator, service(port(80, 30080, name="a")))
    wanted = service(port(80, 30081, name="a"), port(81, 30010, name="b"))
    with pytest.raises(Refused) as caught:
        begin_update(allocator, old, wanted)
    assert caught.value.api_message("Service", "foo") == (
        'Service "foo" is invalid: spec.ports[1].nodePort: Invalid value: 30010: '
        "provided port is already allocated"
    )
    assert set(allocator.ports()) == {30010, 30080}


def test_protocols_do_not_share_a_drawn_number_on_update() -> None:
    allocator = new_allocator()
    old = create(allocator, service(*TWO_PROTOCOLS))
    assert allocator.used == 1
    wanted = service(
        *(replace(p, node_port=0) for p in old.ports),
        port(853, name="tls"),
        port(853, protocol=UDP, name="quic"),
    )
    got = update(allocator, old, wanted)
    assert numbers(got)[:2] == numbers(old)
    assert numbers(got)[2] != numbers(got)[3]
    assert allocator.used == 3


def test_an_explicit_number_may_be_shared_by_protocols_on_update() -> None:
    allocator = new_allocator()
    old = create(allocator, service())
    wanted = service(port(53, 30053, name="a"), port(53, 30053, UDP, "b"))
    assert numbers(update(allocator, old, wanted)) == [30053, 30053]
    assert list(allocator.ports()) == [30053]


def test_the_same_number_and_protocol_twice_is_a_plain_error() -> None:
    allocator = new_allocator()
    old = create(allocator, service(port(80, 30079)))
    wanted = service(port(80, 30080, name="a"), port(81, 30080, name="b"))
    with pytest.raises(Refused) as caught:
        begin_update(allocator, old, wanted)
    assert (caught.value.code, caught.value.reason) == (500, "")
    assert caught.value.api_message("Service", "foo") == "duplicate nodePort: {TCP 30080}"
    assert list(allocator.ports()) == [30079]


PORT_CHANGES = {
    "add": ([port(80, 30080, name="a")], [port(80, name="a"), port(81, name="b")]),
    "remove": (
        [port(80, 30080, name="a"), port(81, 30081, name="b")],
        [port(80, name="a")],
    ),
    "swap": (
        [port(80, 30080, name="a"), port(81, 30081, name="b")],
        [port(80, 30081, name="a"), port(81, 30080, name="b")],
    ),
    "modify": ([port(80, 30080, name="a")], [port(8080, name="a")]),
    "modify the protocol": (
        [port(80, 30080, name="a")],
        [port(80, protocol=UDP, name="a")],
    ),
    "modify the number": ([port(80, 30080, name="a")], [port(80, 30090, name="a")]),
    "add the other protocol": (
        [port(53, 30053, name="a")],
        [port(53, 30053, name="a"), port(53, 30053, UDP, "b")],
    ),
    "rename": ([port(80, 30080, name="a")], [port(80, name="b")]),
}


@pytest.mark.parametrize("type_", [NODE_PORT, LOAD_BALANCER])
@pytest.mark.parametrize("case", PORT_CHANGES)
def test_changing_ports_holds_exactly_what_the_service_has(case: str, type_: ServiceType) -> None:
    before, after = PORT_CHANGES[case]
    allocator = new_allocator()
    old = create(allocator, service(*before, type=type_))
    new = update(allocator, old, service(*after, type=type_))
    assert all(numbers(new))
    assert set(numbers(new)) == set(allocator.ports())
    kept = {p.name: p.node_port for p in old.ports}
    for asked, given in zip(after, new.ports, strict=True):
        assert given.node_port == (asked.node_port or kept.get(asked.name, given.node_port))
    release(allocator, new)
    assert allocator.used == 0


@pytest.mark.parametrize("to", [CLUSTER_IP, EXTERNAL_NAME])
@pytest.mark.parametrize("from_", [NODE_PORT, LOAD_BALANCER])
def test_leaving_node_ports_wipes_and_releases(from_: ServiceType, to: ServiceType) -> None:
    allocator = new_allocator()
    old = create(allocator, service(*TWO_TCP, type=from_))
    got = update(allocator, old, replace(old, type=to))
    assert numbers(got) == [0, 0]
    assert allocator.used == 0
    back = update(allocator, got, replace(got, type=NODE_PORT))
    assert set(numbers(back)) == set(allocator.ports())


def test_a_number_added_while_leaving_stays_for_validation_to_refuse() -> None:
    allocator = new_allocator()
    old = create(allocator, service(port(80, 30080)))
    got = update(allocator, old, service(port(80, 30090), type=CLUSTER_IP))
    assert numbers(got) == [30090]
    assert allocator.used == 0


def test_turning_allocation_off_keeps_what_is_listed_only() -> None:
    allocator = new_allocator()
    old = create(allocator, service(*TWO_TCP, type=LOAD_BALANCER))
    kept = replace(old, allocate_load_balancer_node_ports=False)
    assert numbers(update(allocator, old, kept)) == numbers(old)
    cleared = replace(kept, ports=(kept.ports[0], replace(kept.ports[1], node_port=0)))
    assert numbers(update(allocator, kept, cleared)) == [numbers(old)[0], 0]
    assert list(allocator.ports()) == [numbers(old)[0]]


def test_health_check_in_and_out() -> None:
    allocator = new_allocator()
    old = create(allocator, service(type=LOAD_BALANCER))
    within = update(allocator, old, replace(old, external_traffic_policy=LOCAL))
    number = within.health_check_node_port
    assert allocator.has(number)
    kept = update(allocator, within, replace(within, health_check_node_port=0))
    assert kept.health_check_node_port == number
    out = update(allocator, kept, replace(kept, external_traffic_policy=TrafficPolicy.CLUSTER))
    assert out.health_check_node_port == 0
    assert set(allocator.ports()) == set(numbers(out))


def test_health_check_with_a_number_of_ones_own_on_the_way_in() -> None:
    allocator = new_allocator()
    old = create(allocator, service(type=LOAD_BALANCER))
    wanted = replace(old, external_traffic_policy=LOCAL, health_check_node_port=30024)
    assert update(allocator, old, wanted).health_check_node_port == 30024
    assert allocator.has(30024)


def test_leaving_the_load_balancer_type_gives_all_back() -> None:
    allocator = new_allocator()
    old = create(allocator, local())
    got = update(allocator, old, replace(old, type=CLUSTER_IP))
    assert (numbers(got), got.health_check_node_port) == ([0], 0)
    assert allocator.used == 0


def test_a_health_check_number_is_immutable() -> None:
    allocator = new_allocator()
    old = create(allocator, local(30020))
    with pytest.raises(Refused) as caught:
        begin_update(allocator, old, replace(old, health_check_node_port=30024))
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert caught.value.api_message("Service", "lb-local-hc") == (
        'Service "lb-local-hc" is invalid: spec.healthCheckNodePort: Forbidden: field is immutable'
    )
    assert allocator.used == 2


# -- dry run -----------------------------------------------------------------


def test_dry_runs_change_nothing() -> None:
    allocator = new_allocator()
    begin_create(allocator, local(30020), dry_run=True).commit()
    assert allocator.used == 0
    old = create(allocator, local(30020))
    begin_update(allocator, old, replace(old, type=CLUSTER_IP), dry_run=True).commit()
    assert allocator.used == 2


def test_a_dry_run_draws_placeholders_and_takes_any_number() -> None:
    allocator = new_allocator()
    change = begin_create(allocator, service(*TWO_TCP), dry_run=True)
    assert numbers(change.service) == [32769, 32770]
    change = begin_create(allocator, service(port(80, 12345)), dry_run=True)
    assert numbers(change.service) == [12345]


def test_a_dry_run_knows_what_is_taken() -> None:
    allocator = new_allocator()
    create(allocator, service(port(80, 30080)))
    with pytest.raises(Refused, match=TAKEN):
        begin_create(allocator, service(port(80, 30080)), dry_run=True)
