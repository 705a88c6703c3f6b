"""`nplb explain` over a real admin server."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from nplb.model.drain import ManualDrain
from tests.support.admin import serving
from tests.support.status import NOW, frontend, status

ENV = {"NPLB_CONFIG": None, "NPLB_ADMIN": None, "NPLB_OUTPUT": None, "NPLB_TOKEN_FILE": None}
STATE = replace(
    status(
        frontend(states=("passing", "timeout", "manual_drain")),
        frontend("api", node_port=30081),
    ),
    drains=(ManualDrain(cluster="prod", node="node-2", who="ada", why="disk", at=NOW - 90),),
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(STATE) as url:
        yield url


def explain(url: str, *args: str) -> Result:
    return CliRunner().invoke(main, ["explain", "--admin", url, *args], env=ENV)


def test_each_node_has_reason_signal_age_and_what_would_change_it(url: str) -> None:
    result = explain(url, "shop/web")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[0] == "prod/shop/web:80/TCP: serving, 1 of 3 backends active"
    assert "Served by: relay" in lines
    assert "1 node down: timeout" in lines
    assert any(line.startswith("Would change it: `nplb undrain`") for line in lines)
    (down,) = [line for line in lines if line.startswith("node-1 ")]
    assert "probe: " in down
    assert down.count("ago") == 1
    (drained,) = [line for line in lines if line.startswith("node-2 ")]
    assert "operator: 90s ago" in drained
    # What is wrong comes first.
    assert lines.index("1 node down: timeout") < lines.index("1 node active: passing")


def test_one_node_alone_and_as_json(url: str) -> None:
    result = explain(url, "web", "node-1")
    assert "node-1" in result.output
    assert "node-0" not in result.output
    assert result.output.splitlines()[0] == "prod/shop/web:80/TCP: serving"
    document = json.loads(explain(url, "web:80", "node-2", "-o", "json").output)
    (page,) = document["frontends"]
    (backend,) = page["backends"]
    assert (backend["reason"], backend["signal_at"]) == ("manual_drain", NOW - 90)
    assert backend["explanation"]["signal"] == "operator"


def test_a_panic_is_said() -> None:
    panicking = tuple(replace(one, panic=True) for one in STATE.plan.frontends)
    plan = replace(STATE.plan, frontends=panicking)
    with serving(replace(STATE, plan=plan)) as url:
        assert "Panic: fewer of its nodes" in explain(url, "shop/web").output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("wbe",), "did you mean prod/shop/web?"),
        (("web:81",), "has no port 81: there are 80"),
        (("web", "node-11"), "no node node-11 may serve it: did you mean node-1"),
    ],
)
def test_names_that_are_not_there(url: str, args: tuple[str, ...], said: str) -> None:
    result = explain(url, *args)
    assert result.exit_code == 1
    assert said in result.stderr
