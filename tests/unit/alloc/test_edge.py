"""Two that want one port of the edge: the same one wins always, and both are named."""

import random

import pytest

from nplb.alloc.edge import EdgeClaim, resolve_edge_ports
from nplb.model.finding import FindingKind
from nplb.model.keys import Address, FrontendKey, ServiceKey


def key(name: str, cluster: str = "prod") -> FrontendKey:
    return FrontendKey(ServiceKey(cluster, "shop", name), 80)


def claim(
    name: str,
    *addresses: str,
    pinned: bool = False,
    created: float | None = 100.0,
    cluster: str = "prod",
) -> EdgeClaim:
    where = [a.rpartition(":") for a in addresses or ("0.0.0.0:30080",)]
    return EdgeClaim(
        key=key(name, cluster),
        addresses=tuple(Address(ip, int(port)) for ip, _, port in where),
        pinned=pinned,
        created=created,
    )


CASES = {
    "pinned goes first": (
        claim("zoo", pinned=True, created=900.0),
        claim("app", created=1.0),
        "it is pinned in the configuration",
    ),
    "then the earlier one": (
        claim("zoo", created=1.0),
        claim("app", created=2.0),
        "its Service was created earlier",
    ),
    "both pinned, the earlier one": (
        claim("zoo", pinned=True, created=1.0),
        claim("app", pinned=True, created=2.0),
        "its Service was created earlier",
    ),
    "one without a time comes last": (
        claim("zoo", created=2e9),
        claim("app", created=None),
        "its Service has a creation time and the other's has none",
    ),
    "then by name": (claim("app"), claim("zoo"), "its name sorts first"),
    "then by cluster": (
        claim("zoo", cluster="a"),
        claim("app", cluster="b"),
        "its name sorts first",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule_decides_in_any_order(case: str) -> None:
    winner, loser, why = CASES[case]
    for claims in ([winner, loser], [loser, winner]):
        ledger = resolve_edge_ports(claims)
        assert ledger.holders == {Address("0.0.0.0", 30080): winner.key}
        assert ledger.lost == {
            loser.key: f"0.0.0.0:30080 is taken by {winner.key}, which goes before "
            f"{loser.key}: {why}"
        }


def test_a_finding_names_both_and_says_what_to_do() -> None:
    ledger = resolve_edge_ports([claim("app"), claim("zoo", cluster="test")])
    (finding,) = ledger.findings(now=5.0)
    assert finding.kind is FindingKind.EDGE_PORT_CONFLICT
    assert (finding.cluster, finding.subject) == ("test", "test/shop/zoo:80/TCP")
    assert "prod/shop/app:80/TCP" in finding.text
    assert "test/shop/zoo:80/TCP" in finding.text
    assert "`frontends`" in finding.remedy


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ("0.0.0.0:80", "192.0.2.1:80", True),
        ("192.0.2.1:80", "0.0.0.0:80", True),
        ("192.0.2.1:80", "192.0.2.1:81", False),
        ("192.0.2.1:80", "192.0.2.2:80", False),
        (":::80", "2001:db8::1:80", True),
        (":::80", "0.0.0.0:80", False),
        (":::80", "192.0.2.1:80", False),
    ],
)
def test_a_wildcard_overlaps_its_family(one: str, other: str, conflict: bool) -> None:
    ledger = resolve_edge_ports([claim("app", one), claim("zoo", other)])
    assert bool(ledger.lost) is conflict
    if conflict:
        assert "prod/shop/app:80/TCP" in ledger.lost[key("zoo")]


def test_who_loses_one_address_frees_the_others() -> None:
    ledger = resolve_edge_ports(
        [
            claim("a", "192.0.2.1:80"),
            claim("b", "192.0.2.1:80", "192.0.2.2:80"),
            claim("c", "192.0.2.2:80"),
        ]
    )
    assert ledger.holders == {
        Address("192.0.2.1", 80): key("a"),
        Address("192.0.2.2", 80): key("c"),
    }
    assert set(ledger.lost) == {key("b")}


def test_one_claim_may_name_overlapping_addresses() -> None:
    ledger = resolve_edge_ports([claim("a", "0.0.0.0:80", "192.0.2.1:80")])
    assert not ledger.lost


def test_the_outcome_does_not_depend_on_the_order_of_the_claims() -> None:
    dice = random.Random(4)
    claims = [
        claim(
            f"s{i}",
            *(
                f"{dice.choice(['0.0.0.0', '192.0.2.1', '192.0.2.2'])}:{dice.randrange(80, 90)}"
                for _ in range(2)
            ),
            pinned=dice.random() < 0.3,
            created=dice.choice([None, 1.0, 2.0]),
        )
        for i in range(40)
    ]
    first = resolve_edge_ports(claims)
    for _ in range(20):
        dice.shuffle(claims)
        assert resolve_edge_ports(claims) == first
    assert first.lost
    assert set(first.holders.values()).isdisjoint(first.lost)
