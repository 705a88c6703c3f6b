"""PyYAML's and libyaml's syntax errors, in the terms of who wrote the file."""

import re

import yaml

from nplb.config.words import shown

_TAB = "a tab stands where only spaces may, indent with spaces"
_QUOTE = "a quoted value has no end, close the quote"
_MISFIT = (
    "this does not fit what stands before: align it with its neighbours, or quote the whole value"
)

# What the two parsers say (problem, then context), and what is meant; the first match counts.
_TABLE: tuple[tuple[str, str, str], ...] = (
    (r"end of stream|document (separator|indicator)", r"quoted scalar", _QUOTE),
    (
        r"mapping (values|keys) are not allowed",
        r"",
        "a key or ':' where none can stand, check the indentation, or quote the value",
    ),
    (
        r"sequence entries are not allowed",
        r"",
        "a '- ' item where none can stand, put it on a line of its own, or quote the value",
    ),
    (
        r"expected ':'",
        r"",
        "a key without ':' after it, write 'key: value', or check the indentation",
    ),
    (r"tab character", r"", _TAB),
    (
        r"alphabetic or numeric",
        r"",
        "a value that begins with '*' or '&' is an alias or an anchor, quote it",
    ),
    (
        r"comment or (a )?line break|chomping",
        r"block scalar",
        "only a line break can follow '|' or '>', quote a value that begins so",
    ),
    (r"", r"tag", "a value that begins with '!' is a tag, quote it"),
    (r"undefined tag handle", r"", "a value that begins with '!' is a tag, quote it"),
    (
        r"unknown escape|hexa?decimal",
        r"quoted scalar",
        "an escape that YAML does not know, double the backslash",
    ),
    (
        r"expected '?,'? or '?\]",
        r"",
        "expected ',' or ']' here, close the list, or quote the value",
    ),
    (
        r"expected '?,'? or '?\}",
        r"",
        "expected ',' or '}' here, close the mapping, or quote the value",
    ),
    (r"expected (the )?node content", r"", "a value is missing here, write one, or quote it"),
    (r"<block end>|expected key|'-' indicator", r"", _MISFIT),
    (
        r"<document start>",
        r"",
        "the document has ended before this, quote the whole value, or begin one with '---'",
    ),
)


def explain(error: yaml.MarkedYAMLError, rest: str) -> str:
    """What is wrong and what to do. `rest` is the line from the error on."""
    problem, context = str(error.problem or ""), str(error.context or "")
    if rest.startswith("\t"):
        return _TAB
    if "cannot start any token" in problem:
        return f"a value cannot start with {shown(rest[:1])}, quote it"
    if not rest and "node content" in problem:
        return "the text ends within a list or a mapping, close it"
    for problem_part, context_part, message in _TABLE:
        if re.search(problem_part, problem) and re.search(context_part, context):
            return message
    return f"not valid YAML: {problem or context or 'it cannot be read'}, correct it"
