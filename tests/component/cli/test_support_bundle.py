"""`nplb support-bundle`: one file, with a running nplb and without."""

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from tests.support.admin import serving
from tests.support.status import frontend, status

CONFIG = "clusters: [{name: prod, manifests: [a.yaml]}]\nadmin: {token_file: token}\n"


def nplb(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="nplb")


def unpacked(path: Path) -> dict[str, str]:
    found = {}
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            root, _, name = member.name.partition("/")
            assert root == path.name.partition(".")[0]
            found[name] = file.read().decode()
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "nplb.yaml"
    path.write_text(CONFIG)
    (tmp_path / "a.yaml").write_text("{}")
    (tmp_path / "token").write_text("a-token-of-this-edge-0123\n")
    return path


def test_everything_of_one_that_runs(config: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    with serving(status(frontend())) as url:
        done = nplb("support-bundle", "-f", str(target), "--admin", url, "-c", str(config))
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{target}\n"
    files = unpacked(target)
    assert json.loads(files["running/status.json"])["is_ready"]
    assert "nplb_frontend" in files["running/metrics.txt"]
    assert "[+]" in files["running/readyz.txt"]
    assert json.loads(files["running/plan.json"])["frontends"]
    assert isinstance(json.loads(files["running/findings.json"]), list)
    assert json.loads(files["versions.json"])["nplb"]
    assert "net.core.somaxconn = " in files["host/sysctl.txt"]
    assert json.loads(files["configuration/settings.json"])["clusters"][0]["name"] == "prod"
    assert json.loads(files["configuration/check.json"])["valid"]
    facts = {Path(f["path"]).name: f for f in json.loads(files["files.json"])}
    assert facts["token"]["bytes"] == 26
    assert "a-token-of-this-edge" not in "".join(files.values())


def test_without_one_that_runs_it_says_what_is_missing(config: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    done = nplb(
        "support-bundle", "-f", str(target), "--admin", "http://127.0.0.1:1", "-c", str(config)
    )
    assert done.exit_code == 0
    assert "without running/: nothing listens at http://127.0.0.1:1" in done.stderr
    files = unpacked(target)
    assert not [name for name in files if name.startswith("running/")]
    assert "  running/: nothing listens" in files["README.txt"]
    assert "configuration/file.yaml" in files["README.txt"]


def test_a_wrong_configuration_and_none(config: Path, tmp_path: Path) -> None:
    config.write_text(CONFIG + "passwd: hunter2hunter2\n")
    target = tmp_path / "b.tar.gz"
    assert nplb("support-bundle", "-f", str(target), "-c", str(config)).exit_code == 0
    files = unpacked(target)
    check = json.loads(files["configuration/check.json"])
    assert not check["valid"]
    assert check["errors"][0]["line"] == 3
    assert "hunter2" not in "".join(files.values())
    config.write_text("a: [\nhunter2")
    assert nplb("support-bundle", "-f", str(target), "-c", str(config)).exit_code == 0
    files = unpacked(target)
    assert "is not YAML, so nothing of it is shown" in files["README.txt"]
    config.unlink()
    assert nplb("support-bundle", "-f", str(target), "-c", str(config)).exit_code == 0
    assert "No such file" in unpacked(target)["README.txt"]


def test_a_target_that_can_not_be_written(config: Path, tmp_path: Path) -> None:
    done = nplb("support-bundle", "-f", str(tmp_path / "no" / "b.tar.gz"), "-c", str(config))
    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr
    (tmp_path / "link.tar.gz").symlink_to(tmp_path / "elsewhere")
    done = nplb("support-bundle", "-f", str(tmp_path / "link.tar.gz"), "-c", str(config))
    assert done.exit_code == 1
    assert not (tmp_path / "elsewhere").exists()
