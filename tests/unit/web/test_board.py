"""What the dashboard draws."""

import json
from dataclasses import replace

from nplb.model.applied import Traffic
from nplb.model.keys import BackendKey
from nplb.model.plan import Frontend, LeftOut, Plan
from nplb.model.reasons import BackendReason
from nplb.model.status import Status
from nplb.web.board import Board, draw
from nplb.web.render import JSON
from tests.support.status import NOW, frontend, large, status, troubled


def cells(board: Board, key: str) -> list[list[str] | None]:
    """A row's cells, in words."""
    document = board.full()
    row = next(row for row in document["rows"] if row["key"] == key)
    return [document["legend"].get(letter) for letter in row["cells"]]


def later(state: Status, seconds: float, **changes: object) -> Status:
    return replace(state, now=state.now + seconds, **changes)  # type: ignore[arg-type]


def apply(full: JSON, change: JSON) -> JSON:
    """What a browser does with a change."""
    full = json.loads(json.dumps(full))
    full["at"], full["overview"] = change["at"], change["overview"]
    for index, row in change["rows"].items():
        full["rows"][int(index)] = row
    for index, numbers in change["traffic"].items():
        full["traffic"][int(index)] = numbers
    return full


def test_a_cell_shows_a_backends_state_and_reason() -> None:
    board = draw(troubled())
    assert board.full()["nodes"] == {"prod": ["node-0", "node-1", "node-2", "node-3"]}
    assert cells(board, "prod/shop/web:80/TCP") == [
        ["active", "passing"],
        ["down", "refused"],
        ["down", "timeout"],
        ["draining", "node_deleting"],
    ]
    assert cells(board, "prod/shop/mail:25/TCP")[2:] == [None, None]


def test_nodes_are_in_natural_order() -> None:
    board = draw(status(frontend(states=("passing",) * 12)))
    assert board.full()["nodes"]["prod"][8:] == ["node-8", "node-9", "node-10", "node-11"]


def test_a_node_that_is_no_backend_says_why() -> None:
    one = frontend(states=("passing",))
    left = LeftOut(node="node-7", reason=BackendReason.NO_ADDRESS, detail="none")
    board = draw(status(replace(one, left_out=(left,))))
    assert cells(board, str(one.key)) == [["active", "passing"], ["left_out", "no_address"]]


def test_a_node_at_two_addresses_shows_the_better_one() -> None:
    one = frontend(states=("passing", "deleting"))
    key = BackendKey(one.key, "node-0", one.backends[1].key.address)
    both = replace(one, backends=(one.backends[0], replace(one.backends[1], key=key)))
    for order in (both.backends, both.backends[::-1]):
        assert cells(draw(status(replace(both, backends=order))), str(one.key)) == [
            ["active", "passing"]
        ]


def test_what_is_wrong_and_since_when() -> None:
    bad_node = [
        frontend(name, node_port=port, states=("passing", "timeout", "passing"))
        for name, port in (("a", 30001), ("b", 30002))
    ]
    troubles = draw(status(*bad_node)).overview["troubles"]
    assert [(one["node"], one["reason"], one["count"]) for one in troubles["nodes"]] == [
        ("node-1", "timeout", 2)
    ]
    assert troubles["nodes"][0]["since"] == NOW - 120
    assert troubles["others"] == {}
    troubles = draw(troubled()).overview["troubles"]
    assert [one["key"] for one in troubles["frontends"]] == ["prod/shop/mail:25/TCP"]
    assert troubles["others"] == {"refused": 1, "timeout": 1}


def test_a_node_may_drain_for_one_service_and_be_dead_for_the_others() -> None:
    ones = [
        frontend("a", node_port=30001, states=("passing", "timeout")),
        frontend("b", node_port=30002, states=("passing", "timeout")),
        frontend("c", node_port=30003, states=("passing", "deleting")),
    ]
    troubles = draw(status(*ones)).overview["troubles"]
    assert [(one["node"], one["count"]) for one in troubles["nodes"]] == [("node-1", 2)]


def test_an_empty_service_is_no_nodes_fault() -> None:
    def empty(one: Frontend) -> Frontend:
        backends = tuple(replace(b, reason=BackendReason.SERVICE_EMPTY) for b in one.backends)
        return replace(one, backends=backends)

    ones = [empty(frontend(name, states=("refused", "refused"))) for name in ("a", "b")]
    troubles = draw(status(*ones)).overview["troubles"]
    assert troubles["nodes"] == []
    assert [one["reason"] for one in troubles["frontends"]] == ["service_empty"] * 2


def test_a_change_leads_from_one_board_to_the_next() -> None:
    state = status(frontend(), frontend("api", node_port=30081))
    before = draw(state)
    web = frontend(states=("passing", "timeout", "passing"))
    counters = state.traffic.frontends[web.key]
    more = replace(counters, accepted=counters.accepted + 20, active=9)
    after = draw(
        later(
            state,
            2.0,
            plan=replace(state.plan, frontends=(state.plan.frontends[0], web)),
            traffic=replace(state.traffic, frontends={**state.traffic.frontends, web.key: more}),
        ),
        before,
    )
    change = after.change(before)
    assert change is not None
    assert set(change["rows"]) == {"1"}
    assert change["traffic"] == {"1": [9, 10.0, 0, 0, 0]}
    assert change["overview"]["rates"] == [12, 10.0, 0, 0, 0]
    assert apply(before.full(), change) == json.loads(json.dumps(after.full()))


def test_other_rows_or_columns_need_a_full_board() -> None:
    before = draw(status(frontend()))
    assert draw(status(frontend(), frontend("new", node_port=30099)), before).change(before) is None
    assert draw(status(frontend(states=("passing",))), before).change(before) is None
    assert draw(status(), before).change(before) is None


def test_an_unchanged_plan_is_not_drawn_again() -> None:
    state = large(20, 5)
    before = draw(state)
    after = draw(later(state, 1.0), before)
    assert after.nodes is before.nodes
    change = after.change(before)
    assert change is not None
    assert change["rows"] == {}


def test_nothing_at_all_is_a_board_too() -> None:
    board = draw(status(plan=Plan(), traffic=Traffic(), applied=None))
    assert board.full()["rows"] == ()
    assert json.dumps(board.full())
