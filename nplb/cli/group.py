"""The `nplb` group: finds commands by name, loads only the one that runs, and turns errors into
one line and an exit code.

Exit codes: 0 done or stopped gracefully, 1 failed, 2 usage, 77 no permission, 78 bad
configuration, 130 interrupted.
"""

import errno
import importlib
import importlib.util
import os
from typing import Any, NoReturn

import click

from nplb.model.errors import HostPermissionError, NplbError
from nplb.model.secrets import scrubbed

INTERRUPTED = 130

# Every command and what `nplb --help` says of it, in that order. A command is the click command
# named `command` of the module nplb.cli.NAME (with `_` for `-`); one whose module is absent is
# not there.
COMMANDS: dict[str, str] = {
    "run": "Run the balancer until SIGTERM or SIGINT.",
    "check": "Validate the configuration: all errors at once.",
    "plan": "Print what would be served, without serving it.",
    "status": "Show what runs now.",
    "top": "Show what runs, live.",
    "explain": "Say why each node is in or out.",
    "url": "Print the URL a client reaches a service at.",
    "ports": "Show the NodePort range, and check Services against it.",
    "drain": "Take a node out by hand.",
    "undrain": "Put a drained node back.",
    "rules": "Show or delete the kernel plane's rules.",
    "support-bundle": "Write one file with what support needs.",
    "lab": "Run a sandbox cluster.",
    "demo": "Run a sandbox cluster with nplb in front of it.",
    "completion": "Print the completion script for a shell.",
}


class CommandGroup(click.Group):
    """A group whose commands are modules, imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands that are there."""
        return [name for name in COMMANDS if _is_there(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in COMMANDS or not _is_there(cmd_name):
            return None
        found = importlib.import_module(_module(cmd_name)).command
        assert isinstance(found, click.Command)
        found.name = cmd_name
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name. Raises UsageError with what may be meant."""
        name = args[0]
        if name in self.list_commands(ctx) or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from nplb.config.words import did_you_mean

        guess = did_you_mean(name, self.list_commands(ctx))
        hint = f"did you mean {guess!r}?" if guess else "`nplb --help` lists them"
        raise click.UsageError(f"no command {name!r}: {hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete a command's name without importing any."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the arguments, which shows the help and the version, too."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _fail(_said(error), 1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it raises becomes one line on standard error."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except NplbError as error:
            if debug:
                raise
            _fail(str(error), error.exit_code)
        except OSError as error:
            if debug or error.errno == errno.EPIPE:
                raise
            denied = isinstance(error, PermissionError)
            _fail(_said(error), HostPermissionError.exit_code if denied else 1)


def _fail(message: str, exit_code: int) -> NoReturn:
    """End with one line of ours, or with the lines of what has several, each with its place."""
    shown = scrubbed(message)
    click.echo(shown if "\n" in shown else f"nplb: {shown}", err=True)
    raise SystemExit(exit_code)


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(_module(name)) is not None


def _module(name: str) -> str:
    return f"nplb.cli.{name.replace('-', '_')}"


def _said(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
