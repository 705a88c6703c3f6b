"""The JSON schema of the configuration file, for editors: `python -m nplb.config.schema`.

It is made of the models; what it can't say (two keys that exclude each other, a listen address
used twice) `nplb check` does.
"""

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from nplb.config.document import DocumentSection
from nplb.model.keys import Address

SCHEMA_PATH: Final = Path("config/nplb.schema.json")
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_FIRST: Final = ("clusters", "listen", "frontends")


class _Generator(GenerateJsonSchema):
    """Writes defaults as the file would."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, BaseModel):
            return {}
        if isinstance(dft, Enum):
            return dft.value
        if isinstance(dft, Address):
            return str(dft)
        return list(dft) if isinstance(dft, tuple) else dft


def make_schema() -> dict[str, Any]:
    """The schema of the whole file."""
    schema = _tidy(DocumentSection.model_json_schema(schema_generator=_Generator))
    keys = schema.pop("properties")
    ordered = {name: keys[name] for name in (*_FIRST, *keys)}
    sections = schema.pop("$defs")
    return {
        "$schema": _DIALECT,
        "title": "nplb.yaml",
        **schema,
        "properties": ordered,
        "$defs": dict(sorted(sections.items())),
    }


def schema_text() -> str:
    """The schema as its file has it."""
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(value: Any, *, of_keys: bool = False) -> Any:
    """Without pydantic's titles (they repeat the names), and without the defaults of keys that
    may be absent (null can't be written). `of_keys`: the value maps keys to schemas."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    tidy = {}
    for name, item in value.items():
        if not of_keys and (name == "title" or (name == "default" and item in (None, {}))):
            continue
        tidy[name] = _tidy(item, of_keys=not of_keys and name in ("properties", "$defs"))
    return tidy


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA_PATH
    target.write_text(schema_text())
