"""Writes the manual pages nplb(1) and nplb.yaml(5), from the parser of the commands and the models
of the configuration: `python -m nplb.cli.manual DIRECTORY`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from nplb import __version__
from nplb.cli import main
from nplb.cli.group import COMMANDS

_EXIT_CODES = (
    ("0", "Done, or stopped gracefully."),
    ("1", "Failed; the message says what, where, and what to do."),
    ("2", "Used in a wrong way."),
    ("77", "This user lacks a right."),
    ("78", "The configuration is wrong."),
    ("130", "Interrupted."),
)
_STOP = "Not ready, wait shutdown.delay, close listeners, drain for shutdown.drain, exit 0."
_SIGNALS = (
    ("SIGTERM, SIGINT", f"{_STOP} A second one ends at once."),
    ("SIGHUP", "Read the configuration again; on any error the old one stays."),
    ("SIGUSR2", "Upgrade: the code that is installed by now takes over, without a connection cut."),
)
_FILES = (
    ("/etc/nplb/nplb.yaml", "The configuration, see nplb.yaml(5)."),
    ("/var/lib/nplb", "State, where systemd's unit puts it ($STATE_DIRECTORY)."),
)
_VARIABLES = (
    ("NPLB_KEY_NAME", "A key of the configuration, as in NPLB_HEALTH_INTERVAL=2s."),
    ("KUBECONFIG", "Kubeconfig files, for clusters that name none."),
    ("NO_COLOR", "Print without colours."),
)


def write_pages(directory: Path) -> None:
    """Write both pages into a directory, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "nplb.1").write_text(command_page())
    (directory / "nplb.yaml.5").write_text(configuration_page())


def command_page() -> str:
    """nplb(1): every command with every option."""
    ctx = click.Context(main, info_name="nplb", **main.context_settings)
    lines = [
        *_head("nplb", "1", "an external load balancer for Kubernetes NodePorts"),
        ".SH SYNOPSIS",
        ".B nplb",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_text(main.help or ""),
        ".SH OPTIONS",
        *_options(main, ctx),
        ".SH COMMANDS",
    ]
    for name in COMMANDS:
        command = main.get_command(ctx, name)
        if command is not None:
            lines += _command(command, ctx, f"nplb {name}")
    lines += _table("SIGNALS", "Of nplb run:", _SIGNALS)
    lines += _table("EXIT STATUS", "", _EXIT_CODES)
    lines += _table("ENVIRONMENT", "", _VARIABLES)
    lines += _table("FILES", "", _FILES)
    lines += [".SH SEE ALSO", ".BR nplb.yaml (5),", ".BR kubectl (1)"]
    return "\n".join([*lines, ""])


def configuration_page() -> str:
    """nplb.yaml(5): every key with what it holds, its default, and what it is for."""
    from nplb.config.schema import make_schema

    document = make_schema()
    lines = [
        *_head("nplb.yaml", "5", "configuration of nplb"),
        ".SH DESCRIPTION",
        *_text(
            "One YAML 1.2 file. Only clusters is needed. Durations have units (200ms, 5s, 1m30s, "
            "1h, 1d); relative paths start at the file's directory.\n\nA key that is not in a "
            "list can also be set in the environment or on the command line, which go before the "
            "file: NPLB_HEALTH_INTERVAL=2s, --set health.interval=2s. `nplb check` finds every "
            "mistake at once."
        ),
        ".SH KEYS",
        *_keys(document, document, ""),
        ".SH SEE ALSO",
        ".BR nplb (1)",
    ]
    return "\n".join([*lines, ""])


# -- commands -----------------------------------------------------------------------------------


def _command(command: click.Command, parent: click.Context, path: str) -> Iterator[str]:
    ctx = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield f".SS {_roff(path)} {_roff(pieces)}".rstrip()
    yield from _text(command.help or command.get_short_help_str())
    yield from _options(command, ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None and not inner.hidden:
                yield from _command(inner, ctx, f"{path} {name}")


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    for parameter in command.get_params(ctx):
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        record = parameter.get_help_record(ctx)
        if record is not None:
            yield ".TP"
            yield f".B {_roff(record[0])}"
            yield from _text(record[1])


# -- keys ---------------------------------------------------------------------------------------


def _keys(section: dict[str, Any], document: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, given in section.get("properties", {}).items():
        value = _resolved(given, document)
        items = _resolved(value.get("items", {}), document)
        yield ".TP"
        yield f".B {_roff(prefix + name)}"
        facts = _facts(value)
        described = given.get("description") or value.get("description") or ""
        yield from _text(f"{described} {facts}".strip())
        if value.get("properties"):
            yield from _keys(value, document, f"{prefix}{name}.")
        elif items.get("properties"):
            yield from _keys(items, document, f"{prefix}{name}[].")


def _resolved(value: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    for _ in range(8):
        if "$ref" in value:
            found = document["$defs"][value["$ref"].rpartition("/")[2]]
            value = {**found, **{k: v for k, v in value.items() if k != "$ref"}}
        elif len(value.get("allOf", ())) == 1:
            value = {**value["allOf"][0], **{k: v for k, v in value.items() if k != "allOf"}}
        else:
            break
    return value


def _facts(value: dict[str, Any]) -> str:
    facts = []
    if value.get("default") not in (None, "") and not isinstance(value["default"], dict):
        facts.append(f"Default: {_shown(value['default'])}.")
    words = value.get("enum") or value.get("items", {}).get("enum")
    if words:
        facts.append(f"One of {', '.join(map(str, words))}.")
    return " ".join(facts)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# -- roff ---------------------------------------------------------------------------------------


def _head(name: str, section: str, what: str) -> list[str]:
    return [
        '.\\" Generated by `make man`; what it is made of is the code.',
        f'.TH {name.upper()} {section} "" "nplb {__version__}" "nplb"',
        ".SH NAME",
        f"{name} \\- {what}",
    ]


def _table(title: str, text: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    yield from _text(text)
    for name, meaning in rows:
        yield ".TP"
        yield f".B {_roff(name)}"
        yield from _text(meaning)


def _text(text: str) -> Iterator[str]:
    """Paragraphs, with `code` in bold. As click has it, one that begins with a backspace keeps
    its lines."""
    parts = (part for part in re.split(r"\n\s*\n", text) if part.strip())
    for number, part in enumerate(parts):
        if number:
            yield ".PP"
        kept = [_bold(line.strip()) for line in part.replace("\b", "").splitlines() if line.strip()]
        if "\b" in part:
            yield from (".nf", *kept, ".fi")
        else:
            yield " ".join(kept)


def _bold(line: str) -> str:
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _roff(line))


def _roff(text: str) -> str:
    """A text that roff takes as it stands, on one line."""
    escaped = text.replace("\\", "\\\\").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
