"""YAML 1.2's core schema, with the place of every value, and nothing that reads in two ways."""

from typing import Any

import pytest

from nplb.config.yaml import MAX_DEPTH, Mark, YamlError, compose, parse


def value(text: str) -> Any:
    """The one document's value, which both scanners must agree on."""
    documents, problems = compose(text, file="f")
    plain, plain_problems = compose(text, file="f", fast=False)
    assert [d.value for d in documents] == [d.value for d in plain]
    assert problems == plain_problems == []
    return documents[0].value


def error(text: str | bytes) -> str:
    with pytest.raises(YamlError) as caught:
        parse(text, file="f")
    assert caught.value.exit_code == 78
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("y", "y"),
        ("30080:53", "30080:53"),
        ("12:30:45", "12:30:45"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1.2.3.4", "1.2.3.4"),
        ("true", True),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("false", False),
        ("null", None),
        ("~", None),
        ("nULL", "nULL"),
        ("=", "="),
        ("'7'", "7"),
        ('"true"', "true"),
        ("!!str 7", "7"),
        ("! 7", "7"),
        ("!!int 7", 7),
        ("!!float 7", 7.0),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("5s", "5s"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, meaning: object) -> None:
    found = value(f"key: {text}")["key"]
    assert found == meaning
    assert type(found) is type(meaning)


def test_nan_is_a_number() -> None:
    (document,) = parse("a: .nan", file="f")
    assert document.value["a"] != document.value["a"]


def test_words_of_yaml_1_1_are_ordinary_keys() -> None:
    assert value("on: 1\nno: 2\n'1': 3\n'<<': 4") == {"on": 1, "no": 2, "1": 3, "<<": 4}


def test_documents_and_empty_ones() -> None:
    assert [d.value for d in parse("a: 1\n---\n---\n- 2\n...\n", file="f")] == [
        {"a": 1},
        None,
        [2],
    ]
    assert parse("", file="f") == []
    assert parse("# nothing\n", file="f") == []


def test_byte_order_mark_and_windows_line_ends() -> None:
    (document,) = parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", file="f")
    assert document.value == {"a": 1, "b": 2}
    assert document.mark(("b",)) == Mark("f", 2, 4)


def test_marks_of_values_and_keys() -> None:
    text = "clusters:\n  - name: prod\n    ports: [1, 22]\nempty:\n"
    (document,) = parse(text, file="nplb.yaml")
    assert str(document.mark(("clusters", 0, "name"))) == "nplb.yaml:2:11"
    assert str(document.key_mark(("clusters", 0, "name"))) == "nplb.yaml:2:5"
    assert str(document.mark(("clusters", 0, "ports", 1))) == "nplb.yaml:3:16"
    assert str(document.key_mark(("clusters",))) == "nplb.yaml:1:1"
    assert str(document.mark(("empty",))) == "nplb.yaml:4:7"
    assert str(document.mark()) == "nplb.yaml:1:1"


def test_mark_of_what_is_not_there_is_its_nearest_parent() -> None:
    (document,) = parse("a:\n  b:\n    - c: 1\n", file="f")
    assert document.mark(("a", "b", 0, "missing", 3)) == document.mark(("a", "b", 0))
    assert document.mark(("a", "b", 7)) == document.mark(("a", "b"))
    assert document.key_mark(("a", "x")) == Mark("f", 1, 1)
    assert document.has(("a", "b", 0, "c"))
    assert not document.has(("a", "b", 0, "c", "d"))
    assert not document.has(("a", "b", "0"))


def test_columns_count_characters() -> None:
    (document,) = parse('"é😀": x', file="f")
    assert document.mark(("é😀",)) == Mark("f", 1, 7)


def test_aliases_are_copies_with_a_place_of_their_own() -> None:
    (document,) = parse("a: &x {k: [1]}\nb: *x\n", file="f")
    assert document.value == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert document.value["a"] is not document.value["b"]
    assert document.mark(("b",)) == Mark("f", 2, 4)
    assert document.mark(("b", "k", 0)) == Mark("f", 1, 12)


def test_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 12)]
    assert "aliases expand to more than 100000 values, write them out" in error("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", 'f:3:1: duplicate key "a" (the first is at line 1, column 1)'),
        ("x: {a: 1, 'a': 2}", 'f:1:11: duplicate key "a" (the first is at line 1, column 5)'),
        ("80: http", 'f:1:1: key "80" is a number, keys must be strings, quote it'),
        ("true: 1", 'f:1:1: key "true" is a boolean, keys must be strings'),
        ("null: 1", 'f:1:1: key "null" is null'),
        ("? \n: 1", "f:1:2: a key is missing before ':'"),
        ("a: {{ x }}", "f:1:5: a key must be a string, not a list or a mapping; quote"),
        ("? [a]\n: b", "f:1:3: a key must be a string"),
        ("a: &a ~\n*a : 1", "f:2:1: a key is missing"),
        ("a: &x {k: 1}\nb:\n  <<: *x\n", "f:3:3: merge keys (<<) are not in YAML 1.2"),
        ('a: "\\ud800"', "f:1:"),
        ("a: *x", "f:1:4: alias *x has no anchor &x before it"),
        ("a: &x [*x]", "f:1:8: alias *x stands inside its own anchor"),
        ("a: !ruby/object x", "f:1:4: tag !ruby/object is not known here"),
        ("a: !!python/name:os.system x", "f:1:4: tag !!python/name:os.system is not known"),
        ("a: !!set {b}", "f:1:4: tag !!set is not known here"),
        ("a: !!int seven", 'f:1:4: "seven" is not what its tag !!int says'),
        ("a: " + "9" * 500, "f:1:4: a number of more than 400 digits"),
        ("a:\n\tb: 1", "f:2:1: a tab stands where only spaces may, indent with spaces"),
        ("a: b: c", "f:1:5: a key or ':' where none can stand"),
        ("a:\n  b: 1\n c: 2", "f:3:2: this does not fit what stands before"),
        ("- a\nb: 1", "f:2:1: this does not fit what stands before"),
        ('a: "b', "f:1:6: a quoted value has no end, close the quote"),
        ("a: [1, 2", "f:1:9: expected ',' or ']' here, close the list"),
        ("a: {b: 1\nc: 2", "f:2:2: expected ',' or '}' here, close the mapping"),
        ("a: @b", 'f:1:4: a value cannot start with "@", quote it'),
        ("a: - b", "f:1:4: a '- ' item where none can stand"),
        ("- *.example.com", "f:1:4: a value that begins with '*' or '&' is an alias or an anchor"),
        ("a: |x", "f:1:5: only a line break can follow '|' or '>'"),
        ('"a" b', "f:1:5: the document has ended before this"),
        ("a: [1,\n", "f:2:1: the text ends within a list or a mapping, close it"),
        ("listen: [::]:443", "f:1:10: a value is missing here, write one, or quote it"),
        ("%YAML 3.0\n---\na", "f:1:1: not valid YAML"),
        ("[" * (MAX_DEPTH + 1), "f:1:101: nested deeper than 100 levels"),
        ("a: b\x00", "f:1:5: character U+0000 cannot stand here"),
        ("# a\u2028b: 1", "f:1:4: character U+2028 cannot stand here"),
        ("a:\n b: \ud800", "f:2:5: character U+D800 cannot stand here"),
        (b"a: 1\nb: caf\xe9", "f:2:7: byte 0xe9 is not UTF-8, save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), "f:1:1: byte 0xff is not UTF-8"),
    ],
)
def test_what_is_refused_says_where_and_what_to_do(text: str | bytes, message: str) -> None:
    assert error(text).startswith(message)
    _, fast = compose(text, file="f")
    _, plain = compose(text, file="f", fast=False)
    assert [p.mark.line for p in fast] == [p.mark.line for p in plain]


def test_deep_nesting_ends_in_an_error_however_deep() -> None:
    assert "nested deeper" in error("[" * 1_000_000)
    assert "nested deeper" in error("- " * 100_000)


def test_every_problem_is_told_and_the_first_of_two_keys_counts() -> None:
    documents, problems = compose("a: 1\na: 2\n3: x\nb: !x y\n---\n}\n", file="f")
    assert [d.value for d in documents] == [{"a": 1, "b": "y"}]
    assert [p.mark.line for p in problems] == [2, 3, 4, 6]
    with pytest.raises(YamlError) as caught:
        parse("a: 1\na: 2\na: 3\n", file="f")
    assert [p.mark.line for p in caught.value.problems] == [2, 3]


def test_size_is_bounded() -> None:
    assert "larger than 64 Mi characters" in error("#" * (64 * 1024 * 1024 + 1))
