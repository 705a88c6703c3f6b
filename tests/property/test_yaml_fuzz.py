"""Whatever a text holds, reading it ends in values or in YamlError, the same by both scanners."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nplb.config.dump import dump
from nplb.config.nodes import Document
from nplb.config.yaml import YamlError, compose, parse

# fmt: off
_PIECES = [
    " ", "  ", "\n", "\n  ", "\n- ", ": ", ":", "a", "b", "'", '"', "[", "]", "{", "}", ", ", ",",
    "#", "&a ", "*a", "!", "!!str ", "|", "|\n ", ">", ">-\n  ", "\t", "---", "\n---\n", "...",
    "%YAML 1.2\n", "? ", "?", "- ", "-", "1", "0o7", "~", "null", "true", "<<", "\\", "@", "`",
    "\r", "\r\n", "\u2028", "\x85", "é", "😀", '"\\ud800"', "\\x41", "key: ", "- a\n",
]
# fmt: on
yamlish = st.lists(st.sampled_from(_PIECES), max_size=30).map("".join)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
    | st.sampled_from(["on", "010", "1e3", "0o7", "30080:53", "~", "", "a\nb\n", " a\n", "\x85"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab :#-1", max_size=4), inner)
    ),
    max_leaves=20,
)


def places(document: Document) -> list[tuple[object, ...]]:
    """Every path of a document with its value's and its key's place."""
    found: list[tuple[object, ...]] = []

    def walk(value: Any, path: tuple[str | int, ...]) -> None:
        found.append((path, repr(value), document.mark(path), document.key_mark(path)))
        entries = value.items() if isinstance(value, dict) else ()
        for key, item in enumerate(value) if isinstance(value, list) else entries:
            walk(item, (*path, key))

    walk(document.value, ())
    return found


@given(yamlish | st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_ends_in_values_or_a_clear_error(text: str | bytes) -> None:
    try:
        documents = parse(text, file="f")
    except YamlError as error:
        for problem in error.problems:
            assert problem.mark.line >= 1
            assert problem.mark.column >= 1
            assert len(problem.message) > 10
            assert "\n" not in str(problem)
    else:
        for document in documents:
            places(document)


# Where the scanners themselves differ: tabs, and a comment at once after a block's header.
_DIFFERENT = re.compile(r"\t|[|>][-+0-9]*#")


@given(yamlish.filter(lambda text: not _DIFFERENT.search(text)))
def test_both_scanners_read_alike(text: str) -> None:
    documents, problems = compose(text, file="f")
    others, other_problems = compose(text, file="f", fast=False)
    assert bool(problems) == bool(other_problems)
    if not problems:
        assert [places(d) for d in documents] == [places(d) for d in others]


@given(plain)
def test_what_is_dumped_reads_back(value: Any) -> None:
    (document,) = parse(dump(value), file="f")
    assert document.value == value
    assert repr(document.value) == repr(value)


@given(plain)
def test_json_is_yaml(value: Any) -> None:
    text = json.dumps({"value": value}, ensure_ascii=False)
    if "Infinity" not in text and not set(text) & set("\x85\u2028\u2029\ufeff"):
        (document,) = parse(text, file="f")
        assert document.value == {"value": value}
