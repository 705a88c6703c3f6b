"""Whatever a configuration holds, reading it ends in settings or in errors with their places."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nplb.config import InvalidConfiguration
from nplb.config.dump import dump
from nplb.config.load import load_configuration, setting_variables
from nplb.config.values import read_duration, show_duration
from nplb.config.yaml import parse
from nplb.policy.selectors import SelectorError, parse_selector
from tests.support.damage import damaged

EXAMPLE: dict[str, Any] = parse(
    (Path(__file__).parents[2] / "config" / "nplb.yaml").read_bytes(), file="example"
)[0].value

odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70000)
    | st.floats(allow_nan=True)
    | st.text(max_size=12)
    | st.sampled_from(["5s", "0.0.0.0:443", "shop/web", "auto", "off", "a in (", "[::]:1", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "listen", "x", "service", "idle"]), inner)
    ),
    max_leaves=6,
)


def check(text: str | bytes, env: dict[str, str] | None = None) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "nplb.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            configuration = load_configuration(path, env=env or {})
        except InvalidConfiguration as error:
            found = error.errors
        else:
            assert configuration.settings.clusters
            return
    assert found
    for problem in found:
        assert problem.message
        assert (problem.line > 0) == (problem.file == str(path))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged(st.just(EXAMPLE), odd))
def test_a_damaged_configuration_ends_in_settings_or_errors(document: dict[str, Any]) -> None:
    check(dump(document))


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_file_ends_in_settings_or_errors(text: str | bytes) -> None:
    check(text)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(setting_variables())),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        max_size=4,
    )
)
def test_any_environment_ends_in_settings_or_errors(env: dict[str, str]) -> None:
    check("clusters: [{name: a, kubernetes: {}}]\n", env)


@given(st.integers(0, 10**9))
def test_durations_read_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert read_duration(show_duration(seconds)) == pytest.approx(seconds)


@given(st.text("ab!=<>(), inot1-./_", max_size=20) | st.text(max_size=20))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        selector = parse_selector(text)
    except SelectorError as error:
        column = error.column
    else:
        selector.matches({"a": "b"})
        assert parse_selector(str(selector)) == selector
        return
    assert 1 <= column <= len(text) + 1
