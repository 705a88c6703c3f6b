"""What the services of a node say of it together."""

from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import Verdict
from nplb.policy.evidence import NodeEvidence, judge_nodes


def of(*causes: Cause, ip: str = "192.0.2.1", empty: tuple[int, ...] = ()) -> NodeEvidence:
    """One node whose services, on ports from 1 on, ended with these."""
    return judge_nodes(
        [
            Verdict(
                address=Address(ip, port),
                healthy=cause is Cause.CONNECTED,
                cause=cause,
            )
            for port, cause in enumerate(causes, 1)
        ],
        frozenset(empty),
    )


def said(evidence: NodeEvidence, ip: str = "192.0.2.1") -> str:
    words = [word for word in ("answering", "silent", "refusing") if ip in getattr(evidence, word)]
    return " ".join(words) or "nothing"


C, R, T, U, X = (
    Cause.CONNECTED,
    Cause.REFUSED,
    Cause.TIMEOUT,
    Cause.UNREACHABLE,
    Cause.UNEXPECTED_ANSWER,
)


def test_by_what_all_of_them_say() -> None:
    assert said(of(C, C)) == "answering"
    assert said(of(T, T)) == "silent"
    assert said(of(T, U)) == "silent"
    assert said(of(R, R)) == "refusing"
    assert said(of(T, C)) == "answering"
    assert said(of(R, R, C)) == "answering"
    assert said(of(T, T, R)) == "answering", "a refusal is an answer of its kernel"
    assert said(of(T, T, X)) == "answering", "so is a wrong page"
    assert said(of(T, T, Cause.LOCAL_ERROR)) == "silent", "the edge's own fault says nothing"


def test_one_service_cant_be_told_from_its_node() -> None:
    assert said(of(T)) == "nothing"
    assert said(of(R)) == "answering"


def test_an_empty_service_refuses_for_its_own_reason() -> None:
    assert said(of(R, R, empty=(1, 2))) == "answering"
    assert said(of(R, R, R, empty=(3,))) == "refusing"
    assert said(of(T, T, R, empty=(3,))) == "answering"


def test_a_service_that_is_about_to_fall_counts_with_those_that_fell() -> None:
    fallen = Verdict(address=Address("192.0.2.1", 1), healthy=False, cause=T)
    falling = Verdict(address=Address("192.0.2.1", 2), healthy=True, cause=T, streak=1)
    assert said(judge_nodes([fallen, falling], frozenset())) == "silent"


def test_nodes_are_told_apart() -> None:
    verdicts = [
        Verdict(address=Address(ip, port), healthy=cause is C, cause=cause)
        for ip, cause in (("192.0.2.1", T), ("192.0.2.2", C), ("192.0.2.3", R))
        for port in (1, 2)
    ]
    evidence = judge_nodes(verdicts, frozenset())
    assert evidence.silent == {"192.0.2.1"}
    assert evidence.answering == {"192.0.2.2"}
    assert evidence.refusing == {"192.0.2.3"}
