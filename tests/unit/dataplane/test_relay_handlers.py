"""Handlers of exceptions that a worker can leave without memory."""

import dis
import sys
from collections.abc import Callable
from typing import Any

import pytest

from nplb.dataplane.relay.worker.listener import Listener
from nplb.dataplane.relay.worker.loop import Loop

SMALL = 256  # numbers up to here are always there; a greater one is made when it is wanted
LAST_RESORT = (Loop.run, Loop._events, Loop._call, Loop._wake, Loop._advance, Listener._welcome)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="others lay functions out otherwise")
@pytest.mark.parametrize("function", LAST_RESORT, ids=lambda each: each.__qualname__)
def test_what_hears_of_missing_memory_last_needs_none_to_leave_its_handlers(
    function: Callable[..., Any],
) -> None:
    entries = dis._parse_exception_table(function.__code__)  # type: ignore[attr-defined]
    assert max((entry.end // 2 for entry in entries if entry.lasti), default=0) <= SMALL
