"""Latency buckets."""

from math import inf

from nplb.health.latencies import Latencies


def test_a_duration_counts_in_the_first_bucket_that_holds_it() -> None:
    latencies = Latencies()
    for seconds in (0.0001, 0.0005, 0.03, 60.0):
        latencies.add(seconds)
    counts = {bound: count for bound, count in latencies.buckets() if count}
    assert counts == {0.0005: 2, 0.05: 1, inf: 1}
    assert latencies.seconds == 60.0306
