"""Label selectors mean what kubectl and the API server take them to mean."""

import pytest

from nplb.policy.selectors import Selector, SelectorError, parse_selector

LABELS = {"tier": "edge", "zone": "a", "generation": "7", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("  ", True),
        ("tier=edge", True),
        ("tier == edge", True),
        ("tier=web", False),
        ("tier!=web", True),
        ("tier!=edge", False),
        ("absent!=edge", True),
        ("absent=", False),
        ("empty=", True),
        ("empty", True),
        ("tier", True),
        ("absent", False),
        ("!absent", True),
        ("! tier", False),
        ("zone in (a, b)", True),
        ("zone in (b,c)", False),
        ("absent in (a)", False),
        ("zone notin (b)", True),
        ("zone notin (a,b)", False),
        ("absent notin (a)", True),
        ("empty in (,x)", True),
        ("empty in ()", True),
        ("generation > 6", True),
        ("generation>7", False),
        ("generation < 8", True),
        ("tier > 1", False),
        ("absent < 1", False),
        ("tier=edge,zone in (a),!absent", True),
        ("tier=edge,zone=b", False),
        ("in in (in)", False),
        ("tier\tin\n(edge)", True),
    ],
)
def test_which_labels_are_selected(text: str, matches: bool) -> None:
    selector = parse_selector(text)
    assert selector.matches(LABELS) is matches
    assert parse_selector(str(selector)) == selector


def test_an_empty_selector_selects_everything() -> None:
    assert parse_selector("") == Selector()
    assert Selector().matches({})


def test_prefixed_names() -> None:
    selector = parse_selector("node-role.kubernetes.io/worker,example.com/pool=a_b.c")
    assert selector.matches({"node-role.kubernetes.io/worker": "", "example.com/pool": "a_b.c"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b,", "expected a label's name, found the end at character 5"),
        (",a", "expected a label's name, found ',' at character 1"),
        ("a,,b", "expected a label's name, found ',' at character 3"),
        ("=a", "expected a label's name, found '=' at character 1"),
        ("!", "expected a label's name, found the end"),
        ("a b", "expected =, !=, in, notin, < or > after 'a', found 'b' at character 3"),
        ("a=b c", "expected ',' or the end, found 'c' at character 5"),
        ("a=b=c", "expected ',' or the end, found '=' at character 4"),
        ("x in a", "expected '(' and values, as in: zone in (a, b) at character 6"),
        ("x in", "expected '(' and values"),
        ("x in (a", "expected ',' or ')' after a value at character 8"),
        ("x in (a b)", "expected ',' or ')' after a value at character 9"),
        ("a>x", "expected a whole number after < or >"),
        ("a>", "expected a whole number after < or >"),
        ("a<99999999999999999999", "expected a whole number after < or >"),
        ("-a", "'-a' is not a label's name"),
        ("a" * 64, "is not a label's name"),
        ("a=-b", "'-b' is not a label's value"),
        ("a=" + "b" * 64, "is not a label's value"),
        ("Ex/a", "'Ex' is not a DNS name, which a label's prefix must be"),
        ("/a", "'' is not a DNS name"),
        ("a/", "'' is not a label's name"),
        ("a/b/c", "'a/b' is not a DNS name"),
        ("é=1", "'é' is not a label's name"),
        ("(a)", "expected a label's name, found '('"),
    ],
)
def test_what_is_no_selector_says_where(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert message in str(caught.value)
    assert "write it as in: tier=edge" in str(caught.value)
    assert 1 <= caught.value.column <= len(text) + 1
