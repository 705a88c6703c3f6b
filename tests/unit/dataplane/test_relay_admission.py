"""What a worker remembers of clients: how many, how often, and where they went."""

from array import array

from nplb.dataplane.relay.worker.admission import Admission
from nplb.dataplane.relay.worker.affinity import ENTRIES, FILE_BYTES, PROBES, AffinityTable


def test_connections_of_a_client_are_counted_and_forgotten() -> None:
    admission = Admission(None, 2, 0.0)
    assert [admission.take("a") for _ in range(3)] == [True, True, False]
    assert admission.take("b")
    admission.give("a")
    assert admission.take("a")
    for _ in range(2):
        admission.give("a")
    admission.give("b")
    assert admission.clients == {}


def test_a_rate_lets_a_seconds_worth_come_at_once() -> None:
    admission = Admission(None, 0, 3.0)
    assert [admission.admits_rate("a", 100.0) for _ in range(4)] == [True, True, True, False]
    assert admission.admits_rate("b", 100.0)
    assert not admission.admits_rate("a", 100.2)
    assert admission.admits_rate("a", 100.4)
    assert [admission.admits_rate("a", 200.0) for _ in range(4)] == [True, True, True, False]


def test_a_rate_below_one_a_second_still_admits_the_first() -> None:
    admission = Admission(None, 0, 0.5)
    assert admission.admits_rate("a", 100.0)
    assert not admission.admits_rate("a", 101.0)
    assert admission.admits_rate("a", 102.1)


def test_buckets_of_clients_that_went_are_forgotten() -> None:
    admission = Admission(None, 0, 1.0)
    for number in range(30_000):
        admission.admits_rate(str(number), number * 0.01)
    assert len(admission.rates) <= 20_002


def make_table() -> AffinityTable:
    return AffinityTable(memoryview(array("Q", bytes(FILE_BYTES))))


def test_an_affinity_is_found_until_it_ends() -> None:
    table = make_table()
    assert table.find(77, now=10) == -1
    table.keep(77, row=5, now=10, until=20)
    assert table.find(77, now=19) == 5
    assert table.find(77, now=20) == -1
    table.keep(77, row=6, now=21, until=30)
    assert table.find(77, now=22) == 6


def test_keys_that_meet_have_places_until_there_are_too_many() -> None:
    table = make_table()
    keys = [7 + ENTRIES * i for i in range(PROBES + 1)]
    for order, key in enumerate(keys[:-1]):
        table.keep(key, row=order, now=1, until=100 + order)
    assert [table.find(key, now=2) for key in keys[:-1]] == list(range(PROBES))
    table.keep(keys[-1], row=99, now=3, until=200)
    assert table.find(keys[-1], now=4) == 99
    assert table.find(keys[0], now=4) == -1  # it would have ended first
    assert [table.find(key, now=4) for key in keys[1:-1]] == list(range(1, PROBES))


def test_an_entry_that_has_ended_makes_way_first() -> None:
    table = make_table()
    keys = [7 + ENTRIES * i for i in range(PROBES + 1)]
    for order, key in enumerate(keys[:-1]):
        table.keep(key, row=order, now=1, until=5 if order == 3 else 100)
    table.keep(keys[-1], row=99, now=50, until=200)
    assert table.find(keys[3], now=2) == -1
    assert [table.find(keys[i], now=51) for i in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]


def test_the_key_zero_is_a_key_like_any_other() -> None:
    table = make_table()
    assert table.find(0, now=1) == -1
    table.keep(0, row=3, now=1, until=9)
    assert table.find(0, now=2) == 3
