"""Writes plain values as YAML that YAML 1.1 and 1.2 readers understand alike."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from nplb.config.scalars import resolve


class _Dumper(yaml.SafeDumper):
    """Indents lists under their keys, writes shared values out, and quotes what either version
    of YAML would not read as a string."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if re.search("[\x85\u2028\u2029]", text):
        style = '"'  # these are line breaks to YAML 1.1, and would be folded
    elif not isinstance(resolve(text), str):
        style = "'"
    elif "\n" in text and re.fullmatch(r"(?:[^\s][^\t\r\x85\u2028\u2029]*\n)+", text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def dump(value: Any) -> str:
    """One document, keys in their own order, with a newline at its end."""
    return dump_all([value])


def dump_all(values: Iterable[Any]) -> str:
    """Several documents, separated by `---`."""
    return yaml.dump_all(
        values,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=100,
    )
