"""What an error number says, and of whom."""

import errno

import pytest

from nplb.health.causes import classify
from nplb.model.reasons import Cause


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (0, Cause.CONNECTED),
        (errno.ECONNREFUSED, Cause.REFUSED),
        (errno.ETIMEDOUT, Cause.TIMEOUT),
        (errno.ECONNRESET, Cause.RESET),
        (errno.EHOSTUNREACH, Cause.UNREACHABLE),
        (errno.ENETUNREACH, Cause.UNREACHABLE),
        (errno.EMFILE, Cause.LOCAL_ERROR),
        (errno.EADDRNOTAVAIL, Cause.LOCAL_ERROR),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_known_numbers(number: int, cause: Cause, at_once: bool) -> None:
    assert classify(number, at_once=at_once)[0] is cause


def test_an_unknown_number_is_blamed_on_where_it_came_from() -> None:
    assert classify(errno.EISDIR, at_once=True)[0] is Cause.LOCAL_ERROR
    assert classify(errno.EISDIR, at_once=False)[0] is Cause.UNREACHABLE


def test_the_detail_names_the_number_and_what_to_do() -> None:
    assert classify(errno.ECONNREFUSED, at_once=False)[1] == "Connection refused (ECONNREFUSED)"
    _, detail = classify(errno.EMFILE, at_once=True)
    assert "EMFILE" in detail
    assert "LimitNOFILE" in detail
