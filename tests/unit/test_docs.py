"""What the manual names is there."""

import dataclasses
import re
from pathlib import Path

import pytest

from nplb.config import load_settings
from nplb.config.sections import key_paths
from nplb.lab.catalogue import CATALOGUE
from nplb.model.finding import FindingKind
from nplb.model.reasons import BackendReason, EndReason, SkipReason
from nplb.model.status import Status
from nplb.web.openapi import openapi

ROOT = Path(__file__).parents[2]
NAMED = re.compile(
    r"(?<![/\w])(?:deploy|config|docs|nplb)/[\w./-]+\.(?:yaml|yml|md|json|service|py)\b"
)
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "deploy/**/*.md", "nplb/**/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_it_names_exists(page: Path) -> None:
    named = NAMED.findall(page.read_text())
    missing = {name for name in named if not (ROOT / name).exists() and "*" not in name}
    assert missing == set()


def test_every_command_is_in_the_readme() -> None:
    from nplb.cli.group import COMMANDS, _is_there

    text = (ROOT / "README.md").read_text()
    there = {name for name in COMMANDS if _is_there(name)}
    assert {name for name in there if f"`nplb {name}" not in text} == set()


FENCED = re.compile(r"^```yaml\n(# nplb\n.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_configuration_in_the_guide_for_newcomers_is_valid(tmp_path: Path) -> None:
    found = FENCED.findall((ROOT / "docs" / "migration.md").read_text())
    assert len(found) == 3
    for number, text in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        settings = load_settings(path, env={})
        assert settings.frontends


def test_troubleshooting_knows_every_reason() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    ordinary = {EndReason.CLIENT_CLOSED, EndReason.BACKEND_CLOSED, EndReason.LIFETIME}
    ordinary |= {EndReason.SHUTDOWN}
    in_use = {BackendReason.PASSING, BackendReason.UNPROBED, BackendReason.PROBES_OFF}
    wanted = {*SkipReason, *EndReason} - ordinary
    wanted |= {r for r in BackendReason if r not in in_use}
    assert sorted(reason for reason in wanted if f"`{reason}`" not in text) == []


def test_every_finding_is_explained_where_findings_are() -> None:
    pages = ("troubleshooting", "ports")
    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in pages)
    assert (
        sorted(
            kind for kind in FindingKind if f"| `{kind}`" not in text and f", `{kind}`" not in text
        )
        == []
    )


def test_keys_that_the_manual_names_are_there() -> None:
    keys = set(key_paths()) | {path.rpartition(".")[2] for path in key_paths()}
    sections = "|".join({path.partition(".")[0] for path in key_paths() if "[]" not in path})
    dotted = re.compile(rf"`((?:{sections})\.[a-z_.]+)`")
    for page in ("operations", "troubleshooting", "migration"):
        named = dotted.findall((ROOT / "docs" / f"{page}.md").read_text())
        assert sorted(name for name in named if name.rstrip(".") not in keys) == [], page


THREATS = ROOT / "docs" / "threat-model.md"


def test_every_line_of_the_threat_model_has_its_tests() -> None:
    rows = [line for line in THREATS.read_text().splitlines() if line.startswith("| ")]
    held = [row for row in rows if row.count("|") == 3 and not row.startswith("| ---")]
    named = 0
    for row in held:
        promise, tests = (cell.strip() for cell in row.strip("|").split("|"))
        if tests == "held by":
            continue
        found = re.findall(r"`([^`]+)`", tests)
        assert found, f"no test: {promise}"
        for name in found:
            path, _, test = name.partition("::")
            file = ROOT / "tests" / path
            assert file.is_file(), name
            assert not test or re.search(rf"(def|class) {test}\b", file.read_text()), name
            named += 1
    assert named > 50


def test_the_pages_on_ports_and_on_the_lab_name_everything_that_there_is() -> None:
    ports = (ROOT / "docs" / "ports.md").read_text()
    kinds = [k.value for k in FindingKind if k.startswith(("port_", "edge_", "ephemeral_"))]
    assert len(kinds) == 9
    assert [kind for kind in kinds if f"`{kind}`" not in ports] == []
    lab = (ROOT / "docs" / "lab.md").read_text()
    for target, faults in CATALOGUE.items():
        _, _, rest = lab.partition(f"| of {'the API server' if target == 'api' else f'a {target}'}")
        table = rest.partition("\n\n")[0]
        assert [name for name in faults if not re.search(f"`{name}(=|`)", table)] == [], target


def test_the_page_on_the_api_names_every_field_of_the_status_and_every_path() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    fields = {field.name for field in dataclasses.fields(Status)} | {"is_ready"}
    assert {name for name in fields if f"`{name}`" not in text} == set()
    paths = {path.partition("{")[0].rstrip("/") for path in openapi()["paths"]}
    told_elsewhere = {"/api/v1/events", "/api/v1/openapi.json"}
    assert {path for path in paths - told_elsewhere if path not in text} == set()
