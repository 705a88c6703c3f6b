"""What is installed: the wheel with its web files and manual pages, and the container's recipe."""

import asyncio
import json
import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import pytest

from nplb.cli.group import COMMANDS
from nplb.cli.manual import command_page, configuration_page
from nplb.config import load_settings
from nplb.config.sections import key_paths
from nplb.config.yaml import parse
from nplb.model.settings import KubernetesSource
from tests.support.edge import Edge, make_edge
from tests.support.lab import Networks

ROOT = Path(__file__).parents[3]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "NPLB_"))},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def copied_tree(target: Path) -> Path:
    """What goes into the container too: nothing else is needed to build."""
    target.mkdir()
    shutil.copytree(ROOT / "nplb", target / "nplb", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target)
    return target


def built(directory: Path) -> Path:
    """The wheel, built without a network from a copy of the tree."""
    tree = copied_tree(directory / "tree")
    run(sys.executable, "-m", "nplb.cli.manual", tree / "build" / "man", cwd=ROOT)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    run(*command, "--no-index", "-w", directory / "dist", tree, cwd=directory)
    (wheel,) = (directory / "dist").glob("*.whl")
    return wheel


def installed(directory: Path, wheel: Path) -> Path:
    """A new virtual environment with the wheel in it. The libraries are this one's, since there
    may be no network; nplb itself is the wheel's."""
    venv = directory / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=directory)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    run(*pip, "--no-index", "--no-deps", "--disable-pip-version-check", wheel, cwd=directory)
    places = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=directory)
    libraries = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (Path(places.strip()) / "libraries.pth").write_text("\n".join(libraries))
    return venv / "bin" / "nplb"


@pytest.mark.timeout(180)
async def test_the_wheel_alone_serves_the_dashboard(tmp_path: Path, networks: Networks) -> None:
    wheel = await asyncio.to_thread(built, tmp_path)
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert not [name for name in names if name.startswith("tests")]
    for name in ("man1/nplb.1", "man5/nplb.yaml.5"):
        assert [n for n in names if n.endswith(f".data/data/share/man/{name}")], name
    nplb = await asyncio.to_thread(installed, tmp_path, wheel)
    assert "version" in run(nplb, "--version", cwd=tmp_path)
    assert (tmp_path / "venv" / "share" / "man" / "man1" / "nplb.1").exists()
    (tmp_path / "cluster.yaml").write_text("# nothing yet\n")
    async with make_edge(tmp_path, networks) as edge:
        edge.configure("[{name: a, manifests: [cluster.yaml]}]")
        run(nplb, "check", "--config", edge.config_path, cwd=tmp_path)
        place = run(
            nplb.with_name("python"), "-c", "import nplb; print(nplb.__file__)", cwd=tmp_path
        )
        assert place.startswith(str(tmp_path)), "it is the wheel's code that runs"
        with edge.log_path.open("ab") as log:
            edge.process = await asyncio.create_subprocess_exec(
                nplb, "run", "--config", edge.config_path, cwd=tmp_path, stdout=log, stderr=log
            )
        await edge.until(lambda status: status["version"], "an answer")
        await dashboard(edge)


async def dashboard(edge: Edge) -> None:
    """Every file that the page names is there, as it is in the tree."""
    static = ROOT / "nplb" / "web" / "static"
    async with aiohttp.ClientSession(f"http://{edge.admin}") as session:
        for path in static.rglob("*"):
            name = path.relative_to(static)
            if path.suffix not in (".js", ".css", ".svg"):
                continue
            async with session.get(f"/static/{name}") as answer:
                assert answer.status == 200, name
                assert await answer.read() == path.read_bytes()
        async with session.get("/") as answer:
            assert "<main" in await answer.text()


def test_the_manual_has_every_command_and_every_key() -> None:
    page = command_page().replace("\\-", "-")
    for name in COMMANDS:
        assert f".SS nplb {name}" in page, name
    for flag in ("--ca-file", "--token-file", "--config", "--file-only"):
        assert f".B {flag}" in page or f", {flag}" in page, flag
    page = configuration_page().replace("\\-", "-")
    for key in key_paths():
        assert f".B {key}\n" in page, key


@pytest.mark.parametrize("page", [command_page, configuration_page])
def test_the_manual_is_roff(page: object) -> None:
    assert callable(page)
    known = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".nf", ".fi", '.\\"'}
    for line in page().splitlines():
        assert not line.startswith("'"), line
        if line.startswith("."):
            assert line.split(" ")[0] in known, line
        assert not re.search(r"(?<!\\)-", line) or line.startswith((".TH", '.\\"')), line


# -- the container ----------------------------------------------------------------------------


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def test_the_container_runs_as_nobody_in_particular_and_holds_no_tools() -> None:
    last = [number for number, (word, _) in enumerate(steps()) if word == "FROM"][-1]
    final = steps()[last:]
    users = [rest for word, rest in final if word == "USER"]
    assert users
    assert users[-1].split(":")[0] not in ("0", "root")
    assert not [rest for word, rest in final if word == "RUN" and "pip install" in rest]
    assert not [rest for word, rest in final if "apt-get install" in rest]
    assert "HEALTHCHECK" in {word for word, _ in final}
    assert ("ENTRYPOINT", '["nplb"]') in final
    command = json.loads(dict(final)["CMD"])
    assert command[0] in COMMANDS


def test_what_the_container_copies_is_there_and_is_enough(tmp_path: Path) -> None:
    """`COPY` names what `copied_tree` has, of which the wheel above is built."""
    copied = [
        rest.split()[:-1] for word, rest in steps() if word == "COPY" and "--from" not in rest
    ]
    named = {name.removeprefix("./") for names in copied for name in names}
    assert named == {path.name for path in copied_tree(tmp_path / "tree").iterdir()}


def test_the_containers_versions_are_the_ones_that_are_tested() -> None:
    (install,) = [rest for word, rest in steps() if word == "RUN" and "pip install" in rest]
    assert "-c constraints.txt" in install
    assert "pip uninstall -y pip" in install


# -- a VM in one file -------------------------------------------------------------------------


def test_the_vms_file_is_the_systemd_files_word_for_word(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "cloud-init" / "nplb.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    (document,) = parse(text.encode(), file="nplb.yaml")
    files = {one["path"]: one["content"] for one in document.value["write_files"]}
    systemd = ROOT / "deploy" / "systemd"
    for path, source in (
        ("/etc/systemd/system/nplb.service", "nplb.service"),
        ("/usr/lib/sysusers.d/nplb.conf", "nplb.sysusers"),
        ("/usr/lib/tmpfiles.d/nplb.conf", "nplb.tmpfiles"),
    ):
        assert files[path] == (systemd / source).read_text(), (
            f"{path} is not {source}: make cloud-init"
        )
    config = tmp_path / "nplb.yaml"
    config.write_text(files["/etc/nplb/nplb.yaml"])
    settings = load_settings(config, env={})
    assert isinstance(settings.clusters[0].source, KubernetesSource)
    commands = [" ".join(command) for command in document.value["runcmd"]]
    made, enabled = commands.index("systemd-sysusers nplb.conf"), len(commands) - 1
    assert made < enabled
    assert commands[enabled] == "systemctl enable --now nplb"
