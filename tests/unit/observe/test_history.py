"""The last hour in rings."""

from nplb.model.applied import FrontendCounters, Traffic
from nplb.model.keys import FrontendKey, ServiceKey
from nplb.model.reasons import EndReason
from nplb.observe.history import POINTS, STEP_SECONDS, History


def key(name: str) -> FrontendKey:
    return FrontendKey(ServiceKey("prod", "shop", name), 80)


def traffic(**accepted: int) -> Traffic:
    return Traffic(
        frontends={
            key(name): FrontendCounters(
                accepted=count,
                active=2,
                bytes_in=count * 10,
                bytes_out=count * 100,
                ends={EndReason.CLIENT_CLOSED: count, EndReason.CONNECT_TIMEOUT: count // 10},
            )
            for name, count in accepted.items()
        }
    )


def test_counters_become_rates() -> None:
    history = History()
    history.observe(1000.0, traffic(web=100, api=0))
    history.observe(1005.0, traffic(web=150, api=10))
    assert history.read(key("web")) == {
        "at": [1000.0, 1005.0],
        "active": [2.0, 2.0],
        "accepted": [0.0, 10.0],
        "failed": [0.0, 1.0],
        "bytes_in": [0.0, 100.0],
        "bytes_out": [0.0, 1000.0],
    }
    total = history.read()
    assert total is not None
    assert total["accepted"] == [0.0, 12.0]


def test_ends_are_kept_by_their_reason() -> None:
    history = History()
    history.observe(1000.0, traffic(web=100, api=0))
    history.observe(1005.0, traffic(web=150, api=10))
    history.observe(1010.0, traffic(web=150, api=10))
    assert history.read_ends() == {
        EndReason.CLIENT_CLOSED: [0.0, 12.0, 0.0],
        EndReason.CONNECT_TIMEOUT: [0.0, 1.2, 0.0],
    }
    # A frontend that leaves takes its counts along, which is no end.
    history.observe(1015.0, traffic(api=11))
    assert history.read_ends()[EndReason.CLIENT_CLOSED][-1] == 0.0


def test_it_holds_an_hour_and_no_more() -> None:
    history = History()
    for n in range(POINTS + 50):
        history.observe(1000.0 + n * STEP_SECONDS, traffic(web=n))
    total = history.read()
    assert total is not None
    assert len(total["at"]) == POINTS == len(total["bytes_out"])
    assert total["at"] == sorted(total["at"], key=lambda at: at or 0)
    assert total["at"][0] == 1000.0 + 50 * STEP_SECONDS


def test_memory_is_bounded_and_idle_frontends_take_none() -> None:
    history = History(max_frontends=3)
    history.observe(1.0, Traffic())
    history.observe(2.0, Traffic(frontends={key("idle"): FrontendCounters()}))
    assert history.read(key("idle")) is None
    history.observe(3.0, traffic(a=1, b=1, c=1, d=1))
    assert history.read(key("c")) is not None
    assert history.read(key("d")) is None
    # A new frontend's first clients count.
    first = history.read(key("a"))
    assert first is not None
    assert first["accepted"][-1] == 1.0


def test_a_frontend_that_left_is_kept_for_an_hour() -> None:
    history = History()
    history.observe(1.0, traffic(web=1))
    for n in range(POINTS - 1):
        history.observe(2.0 + n, Traffic())
    kept = history.read(key("web"))
    assert kept is not None
    assert kept["active"][0] == 2.0
    assert kept["active"][-1] is None
    history.observe(2000.0, Traffic())
    assert history.read(key("web")) is None


def test_a_clock_that_goes_back_leaves_no_mark() -> None:
    history = History()
    for at in (10.0, 5.0, 10.0, 11.0):
        history.observe(at, traffic(web=1))
    total = history.read()
    assert total is not None
    assert total["at"] == [10.0, 11.0]
