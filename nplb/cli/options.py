"""Options that several commands share, each spelled and explained once.

Values come from the flag, or else from the environment, or else from the configuration, or
else from the default.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from nplb.cli.trust import FILE_VARIABLE, trust_in
from nplb.model.errors import ConfigurationError

DEFAULT_CONFIG = Path("/etc/nplb/nplb.yaml")
F = TypeVar("F", bound=Callable[..., Any])


def find_config(given: Path | None) -> Path:
    """The configuration file: the one given, or else the usual one.

    Raises ConfigurationError if none is given and the usual one is not there.
    """
    if given is not None:
        return given
    if DEFAULT_CONFIG.exists():
        return DEFAULT_CONFIG
    raise ConfigurationError(
        f"no configuration: {DEFAULT_CONFIG} does not exist, and neither --config nor "
        "$NPLB_CONFIG names another; write one, or run `nplb demo` to try nplb without"
    )


def late_config_option(command: F) -> F:
    """`--config PATH` for commands that look for the usual file themselves, by `find_config`:
    they get `config`, a Path or None."""
    return click.option(
        "-c",
        "--config",
        envvar="NPLB_CONFIG",
        metavar="PATH",
        type=click.Path(path_type=Path, readable=False),
        help=f"The configuration file.  [default: {DEFAULT_CONFIG}]",
    )(command)


def config_or_file(command: F) -> F:
    """`[FILE]` or `--config PATH`, for commands that are about one configuration: the command gets
    `config`, a Path; the usual file if neither is given. Stands below the command's decorator."""

    @functools.wraps(command)
    def chosen(*args: Any, file: Path | None, config: Path | None, **options: Any) -> Any:
        source = click.get_current_context().get_parameter_source("config")
        if file is not None and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"FILE is the configuration: name {file} or --config, not both")
        return command(*args, config=find_config(file or config), **options)

    path = click.Path(path_type=Path, readable=False)
    argument = click.argument("file", metavar="[FILE]", required=False, type=path)
    return cast("F", argument(late_config_option(chosen)))


def _overrides(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    overrides: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, as in health.interval=2s")
        overrides[key.strip()] = value
    return overrides


def set_option(command: F) -> F:
    """`--set KEY=VALUE`, any number of times: the command gets `overrides`, a dict."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_overrides,
        help="Set a key of the configuration, as in health.interval=2s. May be repeated.",
    )(command)


def _trust(kind: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    def note(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
        if value is not None:
            trust_in(ctx, **{kind: value})

    return note


def admin_option(command: F) -> F:
    """`--admin URL`: the command gets `admin`, a URL or None. With it come `--token-file`,
    `--ca-file` and `--client-cert`, which what asks the URL takes by itself."""
    for flag, variable, kind, help_text in (
        (
            "--client-cert",
            "NPLB_CLIENT_CERT",
            "client_cert",
            "A PEM file with a certificate and its key, for admin.tls.client_ca.",
        ),
        (
            "--ca-file",
            "NPLB_CA_FILE",
            "ca_file",
            "The CA of an https:// URL's certificate.  [default: admin.tls.cert, or the system's]",
        ),
        (
            "--token-file",
            FILE_VARIABLE,
            "token_file",
            "A file with the admin server's token: for changes, and for reading from elsewhere.",
        ),
    ):
        command = click.option(
            flag,
            f"_{kind}",
            envvar=variable,
            metavar="PATH",
            type=click.Path(path_type=Path, readable=False),
            expose_value=False,
            is_eager=True,
            callback=_trust(kind),
            help=help_text,
        )(command)
    return click.option(
        "--admin",
        envvar="NPLB_ADMIN",
        metavar="URL",
        help="The running nplb's admin server.  [default: admin.listen of the configuration, "
        "or http://127.0.0.1:9090]",
    )(command)


def optional_config_option(command: F) -> F:
    """`--config PATH` for commands that ask a running nplb: they get `config`, a Path or None."""
    return click.option(
        "-c",
        "--config",
        envvar="NPLB_CONFIG",
        metavar="PATH",
        type=click.Path(path_type=Path, readable=False),
        help="The configuration file, which names the running nplb's admin server.  "
        f"[default: {DEFAULT_CONFIG} if it is there]",
    )(command)


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o FORMAT`: the command gets `output`, one of the formats; the first is the default.
    Without arguments: text, json, yaml."""
    choices = formats or ("text", "json", "yaml")
    return click.option(
        "-o",
        "--output",
        envvar="NPLB_OUTPUT",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="The form of the output.",
    )
