"""The systemd unit and what comes with it, as systemd itself reads them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nplb.dataplane.kernel.host import PINS

DEPLOY = Path(__file__).parents[3] / "deploy" / "systemd"
README = (DEPLOY / "README.md").read_text()

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd's own tools"
)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout + done.stderr


def unit(directory: Path, *, kernel: bool = False) -> Path:
    """The unit as it is installed, with or without the drop-in."""
    copy = directory / "nplb.service"
    copy.write_text((DEPLOY / "nplb.service").read_text())
    if kernel:
        shutil.copytree(DEPLOY / "nplb.service.d", directory / "nplb.service.d")
    return copy


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("kernel", [False, True])
def test_it_may_do_little_and_the_readme_says_how_little(tmp_path: Path, kernel: bool) -> None:
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20")
    said = run(*command, str(unit(tmp_path, kernel=kernel)))
    match = re.search(r"Overall exposure level for nplb\.service: (\d\.\d) (\w+)", said)
    assert match is not None, said
    score, word = match.groups()
    assert word == "OK"
    # Later versions of systemd count a little differently.
    stated = re.search(r"gives it (\d\.\d) \(OK\) of 10, and (\d\.\d)", " ".join(README.split()))
    assert stated is not None
    assert abs(float(stated[2 if kernel else 1]) - float(score)) < 0.35


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    installed = unit(tmp_path)
    nplb = Path(sys.executable).with_name("nplb")
    program = nplb if nplb.exists() else Path("/bin/true")
    installed.write_text(installed.read_text().replace("/opt/nplb/bin/nplb", str(program)))
    said = run("systemd-analyze", "verify", "--man=no", str(installed))
    assert not [line for line in said.splitlines() if "nplb" in line], said


@needs_systemd
def test_the_user_and_the_directories_can_be_made(tmp_path: Path) -> None:
    said = run("systemd-sysusers", "--dry-run", str(DEPLOY / "nplb.sysusers"))
    assert "nplb" in said
    assert "no such" not in said.lower()
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nnplb:x:900:900::/:/bin/false\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nnplb:x:900:\n")
    if os.geteuid() == 0:
        run("systemd-tmpfiles", f"--root={root}", "--create", str(DEPLOY / "nplb.tmpfiles"))
        made = (root / "etc" / "nplb").stat()
        assert (made.st_mode & 0o777, made.st_uid, made.st_gid) == (0o750, 0, 900)


def test_capabilities_are_as_few_as_each_plane_needs() -> None:
    base = settings((DEPLOY / "nplb.service").read_text())
    assert base["AmbientCapabilities"] == base["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    assert base["User"] == ["nplb"]
    more = settings((DEPLOY / "nplb.service.d" / "kernel.conf").read_text())
    assert more == {
        "AmbientCapabilities": ["CAP_NET_ADMIN"],
        "CapabilityBoundingSet": ["CAP_NET_ADMIN"],
    }
    fast = settings((DEPLOY / "nplb.service.d" / "fast-path.conf").read_text())
    assert fast == {
        "AmbientCapabilities": ["CAP_BPF CAP_PERFMON"],
        "CapabilityBoundingSet": ["CAP_BPF CAP_PERFMON"],
        "SystemCallFilter": ["bpf"],
        # ProtectKernelTunables has made the rest of /sys read-only.
        "ReadWritePaths": [f"-{PINS}"],
    }
    made = (DEPLOY / "nplb-fast-path.tmpfiles").read_text()
    assert f"d {PINS} 0700 nplb nplb -" in made.splitlines()


def test_a_reload_checks_first() -> None:
    base = settings((DEPLOY / "nplb.service").read_text())
    check, hang_up = base["ExecReload"]
    assert check == base["ExecStartPre"][0]
    assert " check --config " in check
    assert hang_up == "/bin/kill -HUP $MAINPID"
    # `nplb run` says when it is ready, and that it lives.
    assert base["Type"] == ["notify"]
    assert int(base["WatchdogSec"][0]) > 10


def test_workers_outlive_control_and_an_upgrade_can_take_over() -> None:
    base = settings((DEPLOY / "nplb.service").read_text())
    # With mixed or control-group, systemd would kill them when control has died.
    assert base["KillMode"] == ["process"]
    assert base["Restart"] == ["always"]
    assert base["StartLimitIntervalSec"] == ["0"], "it never gives up starting control again"
    assert base["OOMPolicy"] == ["continue"], "one worker that is killed does not stop the unit"
    # Where the next control finds them: there as long as the unit is restarted.
    assert base["RuntimeDirectory"] == ["nplb"]
    assert base["RuntimeDirectoryPreserve"] == ["restart"]
    assert base["RuntimeDirectoryMode"] == ["0700"]
    # The one that ends is the main process still, and names its successor.
    assert base["NotifyAccess"] == ["main"]
    # What drains is not cut off, with the default of shutdown.drain.
    assert int(base["TimeoutStopSec"][0]) > 30


def test_the_readme_installs_every_file() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert str(path.relative_to(DEPLOY)) in README
