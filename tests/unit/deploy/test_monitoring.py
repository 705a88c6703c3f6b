"""docs/metrics.md, the Prometheus rules and the Grafana dashboard fit the metrics there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nplb.observe import document
from nplb.observe.families import FAMILIES, Kind
from nplb.observe.ledger_metrics import LEDGER_FAMILIES
from nplb.observe.metrics import MetricsPage
from tests.support.status import troubled

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (package prometheus)")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "nplb.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def series() -> set[str]:
    """Every name that a scrape can have."""
    names = {"up"}
    for family in (*FAMILIES, *LEDGER_FAMILIES):
        if family.kind is Kind.HISTOGRAM:
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(family.name)
    page = MetricsPage().render(troubled())[0].decode()
    return names | set(re.findall(r"^(process_\w+)", page, re.MULTILINE))


def used(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:nplb|process)_\w+|up(?={))", expression))


def labels_used(expression: str) -> list[tuple[str, set[str]]]:
    found = re.findall(r"\b(nplb_\w+)\{([^}]*)\}", expression)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inner))) for name, inner in found]


def check_labels(expression: str) -> None:
    known = {family.name: set(family.labels) for family in (*FAMILIES, *LEDGER_FAMILIES)}
    known["nplb_probe_duration_seconds_bucket"] = {"le"}
    for name, labels in labels_used(expression):
        assert labels <= known[name] | {"job", "instance"}, (name, labels)


def test_the_page_on_metrics_is_what_the_code_says() -> None:
    assert (ROOT / document.PATH).read_text() == document.page(), (
        "run `python -m nplb.observe.document`"
    )


def test_rules_use_only_metrics_and_labels_that_exist() -> None:
    known = series()
    for rule in rules():
        assert used(rule["expr"]) <= known, rule
        check_labels(rule["expr"])


def test_every_alert_says_what_to_do_and_has_a_test() -> None:
    tests = (PROMETHEUS / "nplb.tests.yml").read_text()
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 15
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert len(alert["annotations"]["runbook"]) > 60, alert["alert"]
        assert f'alertname="{alert["alert"]}"' in tests, alert["alert"]


def test_the_dashboard_uses_only_metrics_and_labels_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "nplb.json").read_text())
    known = series()
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    expressions += [one["expr"] for one in dashboard["annotations"]["list"]]
    expressions += [one.get("definition", "") for one in dashboard["templating"]["list"]]
    assert len(expressions) > 25
    for expression in expressions:
        assert used(expression) <= known, expression
        check_labels(expression)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def run(*arguments: str, text: str | None = None) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments],
        cwd=PROMETHEUS,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr


@needs_promtool
def test_promtool_finds_no_fault_in_the_metrics() -> None:
    run("check", "metrics", text=MetricsPage().render(troubled())[0].decode())


@needs_promtool
def test_promtool_finds_no_fault_in_the_rules() -> None:
    run("check", "rules", "nplb.rules.yml")
    run("check", "config", "prometheus.yml")


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_when_all_is_well() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "test", "rules", "nplb.tests.yml"],
        cwd=PROMETHEUS,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
