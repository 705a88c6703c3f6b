"""What the manual names is there."""

import re
from pathlib import Path

import pytest

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
