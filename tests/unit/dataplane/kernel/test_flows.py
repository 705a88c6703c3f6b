"""Whose connections end, and when."""

from dataclasses import replace

import pytest

from nplb.dataplane.kernel.flows import Leavers, source
from nplb.model.kernel import KernelOptions
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendReason, BackendState
from nplb.model.relay import Leave, RelayOptions
from tests.support.kernelplans import a_frontend, with_state, without


def leaving(policy: Leave) -> Frontend:
    return a_frontend(relay=RelayOptions(on_leave=policy, drain_seconds=60.0))


def test_active_backends_are_left_alone() -> None:
    due = Leavers().observe([a_frontend()], 100.0)
    assert (due.sources, due.next_seconds) == (frozenset(), None)


@pytest.mark.parametrize(
    ("frontend", "reason", "ends"),
    [
        (a_frontend(), BackendReason.TIMEOUT, True),
        (a_frontend(kernel=KernelOptions(end_on_down=False)), BackendReason.TIMEOUT, False),
        # It is not known to be bad: a balancer that has just started has probed nothing.
        (a_frontend(), BackendReason.PROBING, False),
    ],
)
def test_down(frontend: Frontend, reason: BackendReason, ends: bool) -> None:
    down = with_state(frontend, 1, BackendState.DOWN, reason, since=90.0)
    due = Leavers().observe([down], 100.0)
    assert due.sources == ({source(frontend.backends[0])} if ends else set())


def test_a_drain_ends_at_its_deadline() -> None:
    leavers = Leavers()
    draining = with_state(leaving(Leave.DRAIN), 1, BackendState.DRAINING, since=90.0)
    assert leavers.observe([draining], 100.0).next_seconds == 50.0
    due = leavers.observe([draining], 150.0)
    assert due.sources == {source(draining.backends[0])}


def test_kept_connections_are_kept() -> None:
    leavers = Leavers()
    frontend = leaving(Leave.KEEP)
    for now in (with_state(frontend, 1, BackendState.DRAINING), without(frontend, 1)):
        leavers.observe([frontend], 0.0)
        assert not leavers.observe([now], 1e9).sources


def test_udp_flows_do_not_stay_with_a_node_that_is_no_more() -> None:
    leavers = Leavers()
    frontend = a_frontend(protocol=Protocol.UDP, relay=RelayOptions(on_leave=Leave.KEEP))
    leavers.observe([frontend], 0.0)
    draining = with_state(frontend, 1, BackendState.DRAINING)
    assert not leavers.observe([draining], 1.0).sources
    due = leavers.observe([without(frontend, 1)], 2.0)
    assert due.sources == {source(frontend.backends[0])}


def test_what_left_the_plan_ends_by_the_policy_it_had() -> None:
    leavers = Leavers()
    frontend = leaving(Leave.DRAIN)
    leavers.observe([frontend], 0.0)
    assert leavers.observe([without(frontend, 1)], 10.0).next_seconds == 60.0
    due = leavers.observe([without(frontend, 1)], 70.0)
    assert due.sources == {source(frontend.backends[0])}
    leavers.forget(due.sources)
    assert not leavers.observe([without(frontend, 1)], 71.0).sources


def test_a_frontend_that_is_gone_is_all_its_backends() -> None:
    leavers = Leavers()
    frontend = leaving(Leave.CLOSE)
    leavers.observe([frontend], 0.0)
    assert leavers.observe([], 1.0).sources == {source(b) for b in frontend.backends}


def test_who_comes_back_is_forgiven() -> None:
    leavers = Leavers()
    frontend = leaving(Leave.DRAIN)
    leavers.observe([frontend], 0.0)
    leavers.observe([without(frontend, 1)], 10.0)
    again = replace(frontend, port_name="again")
    assert leavers.observe([again], 20.0).next_seconds is None
    assert not leavers.observe([again], 1e9).sources
