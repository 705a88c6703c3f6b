"""The allocator under any sequence of creates, updates, deletes, dry runs, failed writes, crashes
and repairs: no number is held twice, none is lost or leaks, and the counts add up."""

import random
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import Refused
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.repair import ROUNDS_BEFORE_CLEANUP, Problem, Repair
from nplb.alloc.services import Change, begin_create, begin_update, release
from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.keys import Protocol, ServiceKey

LOW, HIGH = 30000, 30039
wishes = st.one_of(st.just(0), st.just(0), st.integers(LOW - 2, HIGH + 2))


@st.composite
def specs(draw: st.DrawFn) -> Service:
    """Any Service that the decoder would let through, valid or not."""
    count = draw(st.integers(1, 3))
    return Service(
        key=ServiceKey("c", "n", "unnamed"),
        type=draw(st.sampled_from(ServiceType)),
        external_traffic_policy=draw(st.sampled_from(TrafficPolicy)),
        allocate_load_balancer_node_ports=draw(st.booleans()),
        ports=tuple(
            ServicePort(
                name=f"p{i}",
                port=draw(st.sampled_from([53, 80])),
                protocol=draw(st.sampled_from([Protocol.TCP, Protocol.UDP])),
                node_port=draw(wishes),
            )
            for i in range(count)
        ),
        health_check_node_port=draw(wishes),
    )


def numbers_of(service: Service) -> set[int]:
    """What a stored Service holds."""
    if not service.uses_node_ports:
        return set()
    numbers = {p.node_port for p in service.ports}
    if service.needs_health_check_node_port:
        numbers.add(service.health_check_node_port)
    return numbers - {0}


def stored(service: Service) -> Service:
    """As validation would let it be stored: nothing where the type has no use for it."""
    if not service.uses_node_ports:
        service = replace(service, ports=tuple(replace(p, node_port=0) for p in service.ports))
    if not service.needs_health_check_node_port:
        service = replace(service, health_check_node_port=0)
    return service


def valid(service: Service) -> bool:
    """What of `ValidateService` keeps a Service from colliding with itself."""
    keys = [(p.port, p.protocol) for p in service.ports]
    numbers = [(p.protocol, p.node_port) for p in service.ports if p.node_port]
    return len(keys) == len(set(keys)) and len(numbers) == len(set(numbers))


class Cluster(RuleBasedStateMachine):
    """An API server with its allocator, and a dictionary of what it should have."""

    names = Bundle("names")

    @initialize(seed=st.integers(0, 2**16), size=st.sampled_from([10, 20, 40]))
    def start(self, seed: int, size: int) -> None:
        self.range = parse_port_range(f"{LOW}-{LOW + size - 1}")
        self.dice = random.Random(seed)
        self.allocator = PortAllocator(self.range, self.dice)
        self.repair = Repair(self.range)
        self.services: dict[str, Service] = {}
        self.leaked: dict[int, int] = {}
        self.count = 0

    # -- what clients do ----------------------------------------------------

    @rule(target=names, spec=specs(), fails=st.booleans())
    def create(self, spec: Service, fails: bool) -> object:
        self.count += 1
        name = f"s{self.count}"
        spec = stored(replace(spec, key=ServiceKey("c", "n", name)))
        before = set(self.allocator.ports())
        try:
            change = begin_create(self.allocator, spec)
        except Refused as refused:
            self.check_refusal(refused, spec, set(), before)
            return multiple()
        self.check_numbers(change, spec, before)
        if fails or not valid(change.service):
            change.rollback()
            assert set(self.allocator.ports()) == before
            return multiple()
        change.commit()
        self.services[name] = change.service
        return name

    @rule(name=names, spec=specs(), fails=st.booleans())
    def update(self, name: str, spec: Service, fails: bool) -> None:
        if name not in self.services:
            return
        old = self.services[name]
        spec = stored(replace(spec, key=old.key))
        before = set(self.allocator.ports())
        try:
            change = begin_update(self.allocator, old, spec)
        except Refused as refused:
            self.check_refusal(refused, spec, numbers_of(old), before)
            return
        assert before <= set(self.allocator.ports()), "releases wait for the commit"
        if fails or not valid(change.service):
            change.rollback()
            assert set(self.allocator.ports()) == before
            return
        change.commit()
        self.services[name] = change.service
        assert set(change.allocated) == numbers_of(change.service) - numbers_of(old)

    @rule(name=consumes(names))
    def delete(self, name: str) -> None:
        service = self.services.pop(name, None)
        if service is not None:
            release(self.allocator, service)
            assert not numbers_of(service) & set(self.allocator.ports())

    @rule(name=names, spec=specs())
    def dry_run(self, name: str, spec: Service) -> None:
        before = self.allocator.snapshot()
        for commits in (True, False):
            try:
                change = begin_create(self.allocator, spec, dry_run=True)
                (change.commit if commits else change.rollback)()
                if name in self.services:
                    old = self.services[name]
                    spec = replace(spec, key=old.key)
                    begin_update(self.allocator, old, spec, dry_run=True).commit()
            except Refused:
                pass
            assert self.allocator.snapshot() == before

    # -- what goes wrong ----------------------------------------------------

    @rule(spec=specs())
    def crash_before_the_write(self, spec: Service) -> None:
        """Numbers are taken, and the Service is never written: they leak."""
        before = set(self.allocator.ports())
        try:
            begin_create(self.allocator, stored(spec))
        except Refused:
            return
        for number in set(self.allocator.ports()) - before:
            self.leaked[number] = 0

    @precondition(lambda self: self.services)
    @rule(data=st.data())
    def an_old_backup_is_restored(self, data: st.DataObject) -> None:
        """Bits of numbers that Services have are lost; the next repair must come first."""
        held = sorted(set().union(*map(numbers_of, self.services.values())))
        if not held:
            return
        lost = data.draw(st.sets(st.sampled_from(held), min_size=1), label="lost")
        for number in lost:
            self.allocator.release(number)
        report = self.run_repair()
        assert report[Problem.REPAIR] == len(lost)

    @rule()
    def repair_runs(self) -> None:
        assert self.run_repair()[Problem.REPAIR] == 0

    @rule()
    def the_process_restarts(self) -> None:
        self.allocator = PortAllocator.from_snapshot(self.allocator.snapshot(), self.dice)

    def run_repair(self) -> dict[Problem, int]:
        listed = [self.services[name] for name in sorted(self.services)]
        report = self.repair.check(self.allocator.snapshot(), listed)
        self.allocator.restore(self.range, report.snapshot.data)
        freed = {n for n, rounds in self.leaked.items() if rounds + 1 == ROUNDS_BEFORE_CLEANUP}
        assert set(report.freed) >= freed, "a leak lives for two rounds at most"
        # The original's counter outlives a leak, so a later one may be freed at once.
        assert set(report.freed) <= set(self.leaked)
        assert set(report.suspects) == set(self.leaked) - set(report.freed)
        self.leaked = {n: rounds + 1 for n, rounds in self.leaked.items() if n not in report.freed}
        assert report.errors.get(Problem.DUPLICATE, 0) == 0
        assert report.errors.get(Problem.OUT_OF_RANGE, 0) == 0
        return {problem: report.errors.get(problem, 0) for problem in Problem}

    # -- what must hold -----------------------------------------------------

    def check_refusal(
        self, refused: Refused, spec: Service, had: set[int], before: set[int]
    ) -> None:
        """Refused for a reason, and nothing taken or released."""
        assert set(self.allocator.ports()) == before
        if refused.cause_message.startswith("Forbidden"):
            assert spec.needs_health_check_node_port
            return
        if "range is full" in refused.detail:
            wanted = len(spec.ports) + 1
            assert self.range.size - len(before) < wanted
            return
        if refused.detail.startswith("duplicate nodePort"):
            return
        assert refused.bad_value is not None
        if refused.bad_value in self.range:
            assert "already allocated" in refused.detail
            others = before - had
            own_draws = any(not p.node_port for p in spec.ports)
            asked = [p.node_port for p in spec.ports] + [spec.health_check_node_port]
            twice = asked.count(refused.bad_value) > 1
            # The health check may also ask for a number that the Service's ports had.
            assert refused.bad_value in others | had or own_draws or twice
        else:
            assert "not in the valid range" in refused.detail

    def check_numbers(self, change: Change, spec: Service, before: set[int]) -> None:
        """What a create took is new, what was asked for, and drawn from the right band."""
        taken = set(change.allocated)
        assert taken == numbers_of(change.service)
        assert not taken & before
        assert len(change.allocated) == len(taken)
        asked = {p.node_port for p in spec.ports} | {spec.health_check_node_port}
        for wanted, given in zip(spec.ports, change.service.ports, strict=True):
            assert wanted.node_port in (0, given.node_port)
        free_dynamic = set(self.range.dynamic.numbers) - before - taken
        for number in taken - asked:
            assert number in self.range.dynamic or not free_dynamic

    @invariant()
    def the_book_is_right(self) -> None:
        if not hasattr(self, "services"):
            return
        held: set[int] = set()
        for service in self.services.values():
            numbers = numbers_of(service)
            assert not numbers & held, "held twice"
            held |= numbers
        taken = set(self.allocator.ports())
        assert taken == held | set(self.leaked), "lost or leaked"
        assert not held & set(self.leaked)
        assert self.allocator.used == len(taken)
        assert self.allocator.free + self.allocator.used == self.range.size


Cluster.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCluster = Cluster.TestCase
