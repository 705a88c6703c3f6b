"""How long it is from one probe to the next."""

from nplb.health import table
from nplb.health.probe import Probe
from nplb.health.table import History, State
from nplb.model.health import HealthSettings
from nplb.model.keys import Address
from nplb.model.verdict import ProbeTarget

HEALTH = HealthSettings(interval_seconds=10.0, fast_seconds=2.0, slow_seconds=30.0, jitter=0.1)


def probe(state: State, health: HealthSettings = HEALTH, count: int = 5) -> Probe:
    made = Probe(ProbeTarget(address=Address("192.0.2.1", 30080), health=health))
    made.history = History(state=state, streak=1 if state in (table.FALLING, table.RISING) else 0)
    made.count = count
    return made


def test_the_interval_goes_by_the_state() -> None:
    gaps = {state: probe(state).gap(0.0) for state in State}
    assert gaps[State.UP] == gaps[State.NEW] == gaps[State.TRUSTED] == 10.0
    assert gaps[State.FALLING] == gaps[State.RISING] == 2.0
    assert gaps[State.DOWN] == 30.0


def test_without_a_slow_interval_it_is_the_usual_one_and_fast_is_never_slower() -> None:
    plain = HealthSettings(interval_seconds=0.5, fast_seconds=1.0)
    assert probe(State.DOWN, plain).gap(0.0) == 0.5
    assert probe(State.FALLING, plain).gap(0.0) == 0.5


def test_jitter_only_brings_probes_forward_so_that_the_bound_holds() -> None:
    for state in State:
        longest, shortest = probe(state).gap(0.0), probe(state).gap(0.999)
        assert shortest < longest
        assert shortest > longest * 0.89


def test_targets_that_came_together_drift_apart() -> None:
    assert probe(State.UP, count=1).gap(0.0) == 1.0
    assert probe(State.UP, count=1).gap(1.0) == 10.0


def test_who_shares_is_probed_alone_only_while_in_doubt() -> None:
    doubtful = {state for state in State if probe(state).in_doubt}
    assert doubtful == set(State) - {State.UP, State.TRUSTED}
