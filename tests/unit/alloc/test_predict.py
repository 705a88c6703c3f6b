"""Before a Service is sent: its number, the set it would be drawn from, or the refusal."""

import random

import pytest

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import CauseType, Refused
from nplb.alloc.ledger import Ledger
from nplb.alloc.outcome import Origin
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.predict import Prediction, predict, suggest
from nplb.alloc.services import begin_create
from nplb.model.cluster import Service, ServicePort, ServiceType, Snapshot, TrafficPolicy
from nplb.model.keys import Protocol, ServiceKey
from nplb.model.ledger import Band

TCP, UDP = Protocol.TCP, Protocol.UDP


def service(
    name: str, *node_ports: int, same_port: bool = False, local: int | None = None
) -> Service:
    return Service(
        key=ServiceKey("prod", "shop", name),
        type=ServiceType.NODE_PORT if local is None else ServiceType.LOAD_BALANCER,
        external_traffic_policy=TrafficPolicy.CLUSTER if local is None else TrafficPolicy.LOCAL,
        ports=tuple(
            ServicePort(
                name=f"p{i}",
                port=53 if same_port else 80 + i,
                protocol=UDP if same_port and i else TCP,
                node_port=number,
            )
            for i, number in enumerate(node_ports)
        ),
        health_check_node_port=local or 0,
    )


def ledger(*services: Service, text: str = "30000-32767") -> Ledger:
    made = Ledger("prod", parse_port_range(text))
    made.observe(Snapshot(cluster="prod", taken_at=0.0, services=services), 0.0)
    return made


def only(answers: tuple[Prediction, ...]) -> Prediction:
    (answer,) = answers
    return answer


def test_an_explicit_number_that_is_free_is_accepted() -> None:
    answer = only(predict(ledger(), [service("a", 30080)]))
    assert answer.accepted
    assert answer.code == 201
    (port,) = answer.ports
    assert (port.origin, port.node_port, port.drawn_from) == (Origin.CHOSEN, 30080, None)


def test_a_number_that_is_taken_is_refused_with_the_holder_as_hint() -> None:
    answer = only(predict(ledger(service("web", 30080)), [service("a", 30080)]))
    assert (answer.accepted, answer.code, answer.reason) == (False, 422, "Invalid")
    assert answer.message == (
        'Service "a" is invalid: spec.ports[0].nodePort: Invalid value: 30080: '
        "provided port is already allocated"
    )
    assert answer.hint == "30080 is held by shop/web (p0 80/TCP); 30000 is free"


def test_a_number_asked_for_twice_is_told_so() -> None:
    answer = only(predict(ledger(), [service("a", 30080, 30080)]))
    assert answer.message.endswith("provided port is already allocated")
    assert answer.hint == "this Service itself asks for 30080 more than once"


def test_a_number_outside_of_the_range_is_refused_with_the_band_as_hint() -> None:
    answer = only(predict(ledger(), [service("a", 29999)]))
    assert answer.message.endswith("The range of valid ports is 30000-32767")
    assert answer.hint == "numbers to choose by hand are 30000-30085; 30000 is free"


def test_a_drawn_number_comes_from_the_dynamic_band() -> None:
    answer = only(predict(ledger(service("web", 30086, 30100)), [service("a", 0)]))
    (port,) = answer.ports
    assert (port.origin, port.node_port) == (Origin.DRAWN, 0)
    assert port.drawn_from is not None
    assert port.drawn_from.band is Band.DYNAMIC
    assert port.drawn_from.size == 2680
    assert port.drawn_from.text == "30087-30099, 30101-32767"


def test_a_full_dynamic_band_means_the_static_one() -> None:
    full = service("full", *range(30086, 32768))
    (port,) = only(predict(ledger(full, service("web", 30000)), [service("a", 0)])).ports
    assert port.drawn_from is not None
    assert port.drawn_from.band is Band.STATIC
    assert port.drawn_from.text == "30001-30085"


def test_the_last_number_is_known_exactly() -> None:
    full = service("full", *range(30000, 32767))
    (port,) = only(predict(ledger(full), [service("a", 0)])).ports
    assert (port.origin, port.node_port) == (Origin.DRAWN, 32767)


def test_a_full_range_is_the_internal_error() -> None:
    full = service("full", *range(30000, 32768))
    answer = only(predict(ledger(full), [service("a", 0)]))
    assert (answer.code, answer.reason) == (500, "InternalError")
    assert answer.message == (
        "Internal error occurred: failed to allocate a nodePort: range is full"
    )


def test_protocols_of_one_port_share_one_draw() -> None:
    answer = only(predict(ledger(), [service("dns", 0, 0, same_port=True)]))
    assert [p.origin for p in answer.ports] == [Origin.DRAWN, Origin.SHARED]
    assert answer.ports[0].drawn_from == answer.ports[1].drawn_from


def test_the_health_check_is_part_of_it() -> None:
    answer = only(predict(ledger(), [service("lb", 0, local=30020)]))
    assert answer.health_check is not None
    assert answer.health_check.node_port == 30020
    drawn = only(predict(ledger(), [service("lb", 0, local=0)])).health_check
    assert drawn is not None
    assert drawn.drawn_from is not None
    assert drawn.drawn_from.unknown == 1, "the port was drawn before it"
    taken = only(predict(ledger(service("web", 30020)), [service("lb", 0, local=30020)]))
    assert taken.message == (
        "Internal error occurred: failed to allocate requested HealthCheck NodePort 30020: "
        "provided port is already allocated"
    )
    assert taken.hint == "30020 is held by shop/web (p0 80/TCP); 30000 is free"


# -- several -------------------------------------------------------------------


def test_an_accepted_one_holds_its_number_for_those_after_it() -> None:
    answers = predict(ledger(), [service("a", 30080), service("b", 30080)])
    assert [a.accepted for a in answers] == [True, False]
    assert answers[1].hint == "30080 is taken by shop/a, which comes before it; 30000 is free"


def test_a_refused_one_holds_nothing() -> None:
    answers = predict(
        ledger(service("web", 30001)),
        [service("a", 30080, 30001), service("b", 30080)],
    )
    assert [a.accepted for a in answers] == [False, True]


def test_a_transaction_is_given_up_as_a_whole() -> None:
    sent = [service("a", 30080), service("b", 30080), service("c", 30081)]
    answers = predict(ledger(), sent, transaction=True)
    assert [(a.accepted, a.rolled_back) for a in answers] == [
        (True, True),
        (False, False),
        (True, True),
    ]
    assert not any(a.rolled_back for a in predict(ledger(), sent))
    assert not any(a.rolled_back for a in predict(ledger(), sent[:1], transaction=True))


def test_an_earlier_draw_may_have_the_number_first_and_it_says_so() -> None:
    answers = predict(ledger(), [service("a", 0), service("b", 31000)])
    assert answers[1].accepted
    assert answers[1].ports[0].chance_taken == pytest.approx(1 / 2682)
    before = predict(ledger(), [service("b", 31000), service("a", 0)])
    assert before[0].ports[0].chance_taken == 0
    assert before[1].ports[0].drawn_from is not None
    assert 31000 not in before[1].ports[0].drawn_from.numbers


def test_draws_that_must_have_used_up_the_set_refuse_for_certain() -> None:
    almost = service("full", *range(30000, 32766))
    answers = predict(
        ledger(almost), [service("a", 0), service("b", 0), service("c", 32766), service("d", 0)]
    )
    assert [a.accepted for a in answers] == [True, True, False, False]
    assert answers[0].ports[0].node_port == 0, "one of two"
    assert answers[2].message.endswith("provided port is already allocated")
    assert answers[3].message.endswith("range is full")


def test_a_rolled_back_draw_is_free_again() -> None:
    almost = service("full", *range(30000, 32766))
    answers = predict(ledger(almost), [service("a", 0, 29999), service("b", 0), service("c", 0)])
    assert [a.accepted for a in answers] == [False, True, True]


# -- existing ones -------------------------------------------------------------


def test_creating_what_exists_is_told_after_the_numbers_as_the_api_server_does() -> None:
    known = ledger(service("web", 30080))
    assert only(predict(known, [service("web", 0)])).message == 'services "web" already exists'
    assert only(predict(known, [service("web", 0)])).code == 409
    own = only(predict(known, [service("web", 30080)]))
    assert own.message.endswith("provided port is already allocated")
    assert own.hint == "30080 is held by this Service itself, shop/web (p0 80/TCP)"


def test_a_created_one_exists_for_those_after_it() -> None:
    answers = predict(ledger(), [service("a", 30080), service("a", 30081)])
    assert answers[1].message == 'services "a" already exists'


def test_applying_updates_what_exists() -> None:
    known = ledger(service("web", 30080, 30081))
    answer = only(predict(known, [service("web", 0, 30090, 0)], apply=True))
    assert answer.accepted
    assert answer.code == 200
    assert [(p.origin, p.node_port) for p in answer.ports] == [
        (Origin.KEPT, 30080),
        (Origin.CHOSEN, 30090),
        (Origin.DRAWN, 0),
    ]


def test_applying_frees_what_is_given_up_for_those_after_it() -> None:
    known = ledger(service("web", 30080))
    answers = predict(known, [service("web", 30090), service("b", 30080)], apply=True)
    assert all(a.accepted for a in answers)


def test_applying_twice_keeps_what_the_first_one_drew() -> None:
    answers = predict(ledger(), [service("a", 0), service("a", 0)], apply=True)
    (first,), (second,) = answers[0].ports, answers[1].ports
    assert second.origin is Origin.KEPT
    assert second.drawn_from == first.drawn_from


def test_the_rest_of_validation_comes_after_allocation() -> None:
    def review(index: int, of: Service) -> Refused | None:
        if of.key.name != "Bad_Name":
            return None
        return Refused(
            code=422,
            reason="Invalid",
            field="metadata.name",
            detail="no such name",
            cause=CauseType.FORBIDDEN,
        )

    known = ledger(service("web", 30080))
    answers = predict(
        known,
        [service("Bad_Name", 30080), service("Bad_Name", 30081), service("b", 30081)],
        review=review,
    )
    assert "already allocated" in answers[0].message
    assert answers[1].message == (
        'Service "Bad_Name" is invalid: metadata.name: Forbidden: no such name'
    )
    assert answers[2].accepted, "what validation refuses holds no number"


def test_predicting_changes_nothing() -> None:
    known = ledger(service("web", 30080))
    before = known.taken
    first = predict(known, [service("a", 0), service("b", 30081)])
    assert predict(known, [service("a", 0), service("b", 30081)]) == first
    assert known.taken == before


def test_what_is_predicted_is_what_happens() -> None:
    """A random batch, predicted and then done: same answers, numbers out of the sets told."""
    for seed in range(60):
        dice = random.Random(seed)
        taken = dice.sample(range(30000, 30064), dice.randrange(40, 64))
        known = ledger(service("web", *taken), text="30000-30063")
        batch = [
            service(
                f"s{i}",
                *(dice.choice([0, 0, dice.randrange(29999, 30066)]) for _ in range(2)),
                local=dice.choice([None, 0, dice.randrange(30000, 30064)]),
            )
            for i in range(6)
        ]
        answers = predict(known, batch)
        real = PortAllocator.from_snapshot(known.taken, dice)
        for of, answer in zip(batch, answers, strict=True):
            risky = any(p.chance_taken for p in answer.ports) or (
                answer.health_check is not None and answer.health_check.chance_taken
            )
            refusal = ""
            try:
                change = begin_create(real, of)
            except Refused as refused:
                refusal = refused.api_message("Service", of.key.name)
            if refusal and risky:
                break  # chance struck, as it was told; what follows is another story
            assert answer.message == refusal
            if refusal:
                continue
            change.commit()
            for port, told in zip(change.service.ports, answer.ports, strict=True):
                if told.node_port:
                    assert port.node_port == told.node_port
                else:
                    assert told.drawn_from is not None
                    assert port.node_port in told.drawn_from.numbers


# -- suggesting ----------------------------------------------------------------


def test_suggests_the_lowest_static_and_the_highest_dynamic_numbers() -> None:
    span = parse_port_range("30000-32767")
    taken = {30000, 30002, 32767}
    assert suggest(span, taken, 3) == (30001, 30003, 30004)
    assert suggest(span, taken, 2, Band.DYNAMIC) == (32766, 32765)
    assert len(suggest(span, taken, 1000)) == 84
    assert suggest(parse_port_range("30000-30009"), (), 1) == ()
