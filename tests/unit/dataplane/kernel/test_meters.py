"""Sums of what the kernel counts never go backwards, and belong to the right frontend."""

from nplb.dataplane.kernel.meters import Meters, Reading, reading
from nplb.model.reasons import FastPathEvent
from tests.support.kernelplans import a_frontend

KEY = "10.72.1.2 . tcp . 30080"


def counted(packets: int, size: int) -> Reading:
    return Reading(
        sets={"opened4": {KEY: (packets, 0)}, "sent4": {KEY: (0, size)}, "answered4": {}}
    )


def test_a_flushed_table_begins_anew_and_the_sums_go_on() -> None:
    meters, frontend = Meters(), a_frontend(ips=("10.72.1.2",))
    for read, accepted, size in (
        (counted(5, 500), 5, 500),
        (counted(7, 700), 7, 700),
        (counted(1, 10), 8, 710),
        (counted(2, 20), 9, 720),
    ):
        meters.take(read)
        counters = meters.traffic([frontend], {KEY: 3}).frontends[frontend.key]
        assert (counters.accepted, counters.bytes_in, counters.active) == (accepted, size, 3)


def test_a_node_port_that_is_given_away_begins_at_zero() -> None:
    meters = Meters()
    one, two = a_frontend("one", ips=("10.72.1.2",)), a_frontend("two", ips=("10.72.1.2",))
    meters.take(counted(5, 500))
    meters.traffic([one], {})
    assert meters.traffic([two], {}).frontends[two.key].accepted == 0
    meters.take(counted(6, 600))
    assert meters.traffic([two], {}).frontends[two.key].accepted == 1
    gone = a_frontend("one", ips=())
    assert meters.traffic([gone], {}).frontends[one.key].accepted == 5


def test_what_the_fast_path_says_of_itself() -> None:
    meters = Meters()
    assert meters.fast_path({}, {}) is None
    for number, packets, total in ((5, 3, 3), (4, 4, 4), (0, 1, 5)):
        connections = {4: number, 6: 1}
        found = meters.fast_path(connections, {FastPathEvent.NO_ROOM: packets})
        assert found is not None
        assert (found.connections, found.events) == (connections, {FastPathEvent.NO_ROOM: total})
    gone = meters.fast_path({4: 0, 6: 0}, {})
    assert gone is not None
    assert gone.events == {FastPathEvent.NO_ROOM: 5}


def test_nfts_json_is_read() -> None:
    value = {"concat": ["10.72.1.2", "tcp", 30080]}
    element = {"elem": {"val": value, "counter": {"packets": 3, "bytes": 180}}}
    read = reading(
        [
            {"metainfo": {}},
            {"set": {"name": "opened4", "elem": [element]}},
            {"counter": {"name": "no_backend-x", "packets": 2}},
        ]
    )
    assert read.sets == {"opened4": {KEY: (3, 180)}}
    assert read.refused == {"no_backend-x": 2}
