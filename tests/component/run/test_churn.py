"""Hours of a busy cluster's changes, compressed: nothing is left behind of them."""

import pytest

from tests.chaos.churn import follow, grown
from tests.support.lab import Networks, make_lab


@pytest.mark.timeout(300)
async def test_after_hours_of_changes_the_plan_is_a_fresh_starts_and_nothing_has_grown(
    networks: Networks,
) -> None:
    async with make_lab(networks, nodes=4) as lab:
        hours = await follow(3, 30, lab, lambda _: None)
    assert [hour.difference for hour in hours] == [""] * 3
    assert not grown(hours), hours
