"""Shell completion: scripts for the shells, commands and services."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nplb.cli import main
from tests.support.admin import serving
from tests.support.status import frontend, status


def complete(*words: str, **env: str) -> list[str]:
    """What bash is offered for the last of these words."""
    done = subprocess.run(
        [sys.executable, "-m", "nplb"],
        env={
            **os.environ,
            **env,
            "_NPLB_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["nplb", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return [line.split(",", 1)[1] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_NPLB_COMPLETE={shell}_complete" in result.output


def test_the_script_is_one_that_bash_takes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "completion"
    script.write_text(CliRunner().invoke(main, ["completion", "bash"]).output)
    subprocess.run([bash, "-n", str(script)], check=True, timeout=60)


def test_an_unknown_shell_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "bash" in result.stderr


def test_commands_and_options() -> None:
    assert complete("st") == ["status"]
    assert {"run", "check", "plan", "status", "url"} <= set(complete(""))
    assert "--config" in complete("check", "--c")
    assert complete("check", "-o", "j") == ["json"]


def test_services_come_from_the_running_nplb() -> None:
    two = status(frontend(), frontend("api", node_port=30081))
    with serving(two) as url:
        assert complete("url", "", NPLB_ADMIN=url) == ["api", "web"]
        assert complete("url", "shop/w", NPLB_ADMIN=url) == ["shop/web"]
        assert complete("status", "--admin", url, "prod/shop/") == [
            "prod/shop/api",
            "prod/shop/web",
        ]
        assert complete("url", "prod", NPLB_ADMIN=url) == []


def test_without_a_running_nplb_nothing_is_offered() -> None:
    assert complete("url", "", NPLB_ADMIN="http://127.0.0.1:1") == []
    assert complete("url", "", NPLB_ADMIN="nonsense://") == []
