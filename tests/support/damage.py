"""Documents with something wrong in them, for property tests of what reads them."""

import copy
from typing import Any

from hypothesis import strategies as st

# What nobody expects where an object of a cluster has a value.
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(
        ["", "None", "::1", "0", "TCP", "9" * 400, "<script>", "2026-13-45T99:99:99Z"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every value in a document."""
    items: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    return [p for key, item in items for p in [(*path, key), *places(item, (*path, key))]]


@st.composite
def damaged(
    draw: st.DrawFn,
    documents: st.SearchStrategy[dict[str, Any]],
    odd: st.SearchStrategy[Any],
    most: int = 4,
) -> dict[str, Any]:
    """A document with up to so many of its values replaced, removed or joined by odd ones."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, most))):
        *parents, last = draw(st.sampled_from(places(document) or [("x",)]))
        place: Any = document
        for key in parents:
            place = place[key]
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "replace":
            place[last] = draw(odd)
        elif action == "remove":
            del place[last]
        elif isinstance(place, dict):
            place[draw(st.text(max_size=8))] = draw(odd)
    return document
