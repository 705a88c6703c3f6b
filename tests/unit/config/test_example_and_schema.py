"""The commented example and the schema are true to the code."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nplb.config import load_settings
from nplb.config.schema import make_schema, schema_text
from nplb.config.sections import key_paths
from nplb.config.yaml import parse
from nplb.model.health import TCP_CHECK
from nplb.model.settings import Settings

CONFIG = Path(__file__).parents[3] / "config"
EXAMPLE = CONFIG / "nplb.yaml"
ONE = {"clusters": [{"name": "prod", "kubernetes": {}}]}


def paths(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, item in value.items():
        yield prefix + key
        if isinstance(item, dict):
            yield from paths(item, f"{prefix}{key}.")
        for inner in item if isinstance(item, list) else ():
            if isinstance(inner, dict):
                yield from paths(inner, f"{prefix}{key}[].")


def example() -> dict[str, Any]:
    (document,) = parse(EXAMPLE.read_bytes(), file=str(EXAMPLE))
    value = document.value
    assert isinstance(value, dict)
    return value


@cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((CONFIG / "nplb.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_example_has_every_key() -> None:
    assert set(paths(example())) == set(key_paths())


def test_the_example_is_valid_and_shows_the_defaults() -> None:
    settings = load_settings(EXAMPLE, env={})
    admin = replace(settings.admin, hosts=(), token_file=None, read_token_file=None, tls=None)
    settings = replace(settings, clusters=(), frontends=(), pools=(), workers=1, zone="")
    settings = replace(settings, state_dir=None, runtime_dir=None)
    log = replace(settings.log, access_file=None)
    relay = replace(settings.relay, source_ranges_file=None, denied_ranges_file=None)
    listen = replace(settings.listen, load_balancer_port=None)
    settings = replace(settings, admin=admin, log=log, relay=relay, listen=listen)
    # What has no value of its own by default is shown with an example.
    health = replace(settings.health, slow_seconds=0.0, check=TCP_CHECK)
    settings = replace(settings, health=health)
    assert settings == Settings(clusters=())


def test_every_key_of_the_example_is_explained() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for index, line in enumerate(lines):
        is_top = line and not line.startswith((" ", "#"))
        if is_top:
            assert lines[index - 1].startswith("#"), line


def test_the_schema_is_current() -> None:
    written = (CONFIG / "nplb.schema.json").read_text()
    assert written == schema_text(), "run `make schema`"


def test_the_schema_takes_the_example() -> None:
    validator().validate(example())


def test_every_key_of_the_schema_is_described() -> None:
    schema = make_schema()
    for section in [schema, *schema["$defs"].values()]:
        assert section["description"]
        for name, key in section["properties"].items():
            assert key.get("description") or "$ref" in key, name


@pytest.mark.parametrize(
    "more",
    [
        {"helth": {}},
        {"health": {"interval": 5}},
        {"health": {"interval": "5 s"}},
        {"health": {"rise": 0}},
        {"health": None},
        {"workers": "four"},
        {"workers": 0},
        {"balance": "any"},
        {"listen": {"addresses": []}},
        {"listen": {"port": 80}},
        {"frontends": [{"listen": "0.0.0.0:1"}]},
        {"clusters": []},
        {"clusters": [{"name": "A"}]},
        {"clusters": [{"name": "a", "namespaces": "shop"}]},
        {"state_dir": ""},
    ],
)
def test_the_schema_refuses(more: dict[str, Any]) -> None:
    assert not validator().is_valid({**ONE, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"workers": "auto"},
        {"workers": 4},
        {"health": {"interval": "1m30s"}},
        {"listen": {"addresses": "::"}},
        {"listen": {"addresses": ["::", "192.0.2.1"]}},
        {"frontends": [{"service": "a/b", "listen": "0.0.0.0:1"}]},
    ],
)
def test_the_schema_takes(more: dict[str, Any]) -> None:
    validator().validate({**ONE, **more})
