"""The `nplb` command: quick to list, one line and an exit code for every error."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nplb.cli import main
from nplb.cli.group import COMMANDS
from nplb.config.load import FLAG_VARIABLES, setting_variables

HEAVY = ("aiohttp", "kubernetes_asyncio", "pydantic", "prometheus_client", "asyncio", "yaml", "ssl")


def nplb(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "nplb", *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_the_commands_that_are_there_and_imports_none_of_them() -> None:
    script = (
        "import sys\n"
        "from nplb.cli import main\n"
        "try: main(['--help'], prog_name='nplb')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "loaded = [m for m in sys.modules if m.startswith('nplb.cli.')]\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "print(loaded, heavy, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "['nplb.cli.group'] []"
    for name in ("run", "check", "plan", "status", "url", "completion"):
        assert f"\n  {name} " in done.stdout
    assert "undrain" not in done.stdout or _is_there("undrain")


def test_a_full_disk_is_said_in_one_line() -> None:
    for option in ("--help", "--version"):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "nplb", option],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert (done.returncode, done.stderr) == (1, "nplb: No space left on device\n")


def test_the_output_may_be_closed(tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n")
    command = f"exec {sys.executable} -m nplb ports --manifests {manifest} >&-"
    done = subprocess.run(
        ["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr


def _is_there(name: str) -> bool:
    return name in main.list_commands(click.Context(main))


def test_the_listing_says_what_each_command_says_of_itself() -> None:
    ctx = click.Context(main)
    for name in ("check", "plan", "status", "url", "completion"):
        found = main.get_command(ctx, name)
        assert found is not None
        assert found.get_short_help_str(200) == COMMANDS[name]
        assert found.name == name


def test_absent_commands_are_not_listed() -> None:
    listed = main.list_commands(click.Context(main))
    assert listed == [name for name in COMMANDS if name in listed]
    places = Path(main.callback.__code__.co_filename).parent  # type: ignore[union-attr]
    for name in COMMANDS:
        module = name.replace("-", "_")
        there = (places / f"{module}.py").exists() or (places / module).is_dir()
        assert (name in listed) == there


@pytest.mark.parametrize("typo", ["stauts", "STATUS", "statu"])
def test_an_unknown_command_is_a_usage_error_with_a_guess(typo: str) -> None:
    result = CliRunner().invoke(main, [typo])
    assert result.exit_code == 2
    assert f"no command '{typo}': did you mean 'status'?" in result.stderr


def test_no_guess_where_nothing_is_near() -> None:
    result = CliRunner().invoke(main, ["xyzzy"])
    assert result.exit_code == 2
    assert "`nplb --help` lists them" in result.stderr


def test_no_command_shows_the_help_and_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Usage:" in result.output


def test_the_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("nplb, version ")


def test_an_error_is_one_line_and_debug_shows_the_traceback(tmp_path: Path) -> None:
    missing = str(tmp_path / "nplb.yaml")
    done = nplb("plan", "--config", missing)
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr == f"nplb: {missing}: there is no such file, correct the path or write it\n"
    debug = nplb("--debug", "plan", "--config", missing)
    assert "Traceback" in debug.stderr
    assert debug.returncode == 1
    assert "Traceback" in nplb("plan", "--config", missing, NPLB_DEBUG="1").stderr


def test_many_errors_are_a_line_each_with_the_place_first(tmp_path: Path) -> None:
    path = tmp_path / "nplb.yaml"
    path.write_text("workers: x\nhelth: {}\n")
    done = nplb("plan", "--config", str(path))
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{path}:1:1", f"{path}:1:10", f"{path}:2:1"]


def test_without_a_configuration_it_says_where_one_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = tmp_path / "etc" / "nplb.yaml"
    monkeypatch.setattr("nplb.cli.options.DEFAULT_CONFIG", usual)
    result = CliRunner().invoke(main, ["check"], env={"NPLB_CONFIG": None})
    assert result.exit_code == 78
    assert f"no configuration: {usual} does not exist" in result.stderr
    assert "$NPLB_CONFIG" in result.stderr
    usual.parent.mkdir()
    usual.write_text("clusters: [{name: a, kubernetes: {}}]\n")
    result = CliRunner().invoke(
        main, ["check", "--file-only"], env={"NPLB_CONFIG": None, "NPLB_WORKERS": None}
    )
    assert result.exit_code == 0
    assert f"{usual}: valid (1 cluster, 0 frontend overrides)" in result.output.splitlines()


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    done = nplb("check", "--config", str(tmp_path))
    assert done.returncode == 78
    assert "is a directory, name the file in it" in done.stdout


def test_the_flag_goes_before_the_environment(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("clusters: [{name: a, kubernetes: {}}]\n")
    bad.write_text("nothing: 1\n")
    env = {"NPLB_CONFIG": str(bad), "NPLB_OUTPUT": "json"}
    assert CliRunner().invoke(main, ["check", "--file-only"], env=env).exit_code == 78
    args = ["check", "--file-only", "--config", str(good), "-o", "text"]
    result = CliRunner().invoke(main, args, env=env)
    assert result.exit_code == 0
    assert "valid" in result.output
    result = CliRunner().invoke(main, args[:-2], env=env)
    assert result.output.startswith("{")


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "nplb.yaml"
    path.write_text("".join(f"unknown{i}: 1\n" for i in range(4000)))
    with subprocess.Popen(
        [sys.executable, "-m", "nplb", "check", "--config", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


def test_ctrl_c_is_quiet() -> None:
    """While it waits for an answer that never comes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "nplb", "status", "--admin", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            silent.settimeout(30)
            client, _ = silent.accept()
            with client:
                client.recv(4096)
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("", "", 130)


def test_set_wants_a_key_and_a_value(tmp_path: Path) -> None:
    path = tmp_path / "nplb.yaml"
    path.write_text("clusters: [{name: a, kubernetes: {}}]\n")
    args = ["check", "--file-only", "--config", str(path)]
    assert CliRunner().invoke(main, [*args, "--set", "health.rise=3"]).exit_code == 0
    result = CliRunner().invoke(main, [*args, "--set", "health.rise"])
    assert result.exit_code == 2
    assert "is not KEY=VALUE, as in health.interval=2s" in result.stderr
    result = CliRunner().invoke(main, [*args, "--set", "health.rise=x"])
    assert result.exit_code == 78
    assert "--set health.rise: health.rise: must be a whole number" in result.output


def _variables(command: click.Command, prefix: str) -> Iterator[tuple[str, bool]]:
    """The variables of a command's options, and whether the option names it itself."""
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or not parameter.name:
            continue
        yield f"{prefix}_{parameter.name.upper()}", False
        if isinstance(parameter.envvar, str):
            yield parameter.envvar, True
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from _variables(inner, f"{prefix}_{name.upper().replace('-', '_')}")


def test_no_variable_is_both_a_flags_and_a_keys() -> None:
    variables = set(_variables(main, "NPLB"))
    assert {name for name, _ in variables}.isdisjoint(setting_variables())
    assert {name for name, named in variables if named} | {"NPLB_DEBUG"} == FLAG_VARIABLES
