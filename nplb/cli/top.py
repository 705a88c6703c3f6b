"""`nplb top`: what runs, live: services, and the nodes of one."""

import contextlib
import importlib.util
import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from nplb.cli.options import admin_option, optional_config_option
from nplb.cli.topstate import Top
from nplb.model.errors import HostError, NplbError

# What terminals send for keys that are no characters.
_SEQUENCES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "\x1b[D": "left",
    "\x1bOD": "left",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b": "escape",
}


@click.command(short_help="Show what runs, live.")
@click.option(
    "-d",
    "--interval",
    type=click.FloatRange(0.5, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="From one look to the next.",
)
@admin_option
@optional_config_option
def command(interval: float, admin: str | None, config: Path | None) -> None:
    """Show what runs, live: each service with its nodes, connections and rates. Enter shows the
    nodes of one, / filters, the arrows left and right choose what to sort by, q ends.
    """
    if importlib.util.find_spec("rich") is None:
        raise NplbError(
            "`nplb top` draws with rich, which is not installed: install nplb with its extra "
            "`top`, as in pip install '.[top]'. `nplb status` shows the same once, without it"
        )
    if not all(one is not None and one.isatty() for one in (sys.stdin, sys.stdout)):
        raise click.UsageError("`nplb top` needs a terminal; `nplb status` is for pipes")
    from nplb.cli.client import find_admin

    run(find_admin(admin, config), interval)


def run(url: str, interval: float) -> None:
    """Draw until somebody presses q."""
    from rich.console import Console
    from rich.live import Live

    from nplb.cli.client import get_status
    from nplb.cli.topviews import screen

    top = Top()
    console = Console()
    asked = float("-inf")
    with (
        _keys_at_once(sys.stdin.fileno()),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while not top.quit:
            if time.monotonic() - asked >= interval:
                asked = time.monotonic()
                try:
                    top.take(get_status(url))
                except HostError as error:
                    top.error = str(error)
            live.update(screen(top, height=console.height), refresh=True)
            for key in _wait_for_keys(sys.stdin.fileno(), asked + interval - time.monotonic()):
                top.press(key)


@contextlib.contextmanager
def _keys_at_once(descriptor: int) -> Iterator[None]:
    """Keys come as they are pressed, and are not shown."""
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait_for_keys(descriptor: int, seconds: float) -> list[str]:
    """The keys that were pressed, as soon as there are any, or none after a while."""
    ready, _, _ = select.select([descriptor], [], [], max(0.0, seconds))
    if not ready:
        return []
    data = os.read(descriptor, 1024)
    return keys_of(data.decode("utf-8", "ignore")) if data else ["q"]


def keys_of(text: str) -> list[str]:
    """The keys that a terminal's bytes stand for. What is not known is left out."""
    found = []
    while text:
        known = next((s for s in _SEQUENCES if len(s) > 1 and text.startswith(s)), None)
        if known is None and text.startswith("\x1b") and len(text) > 1:
            # Another key's sequence: up to the letter or ~ that ends it.
            end = next((i for i, c in enumerate(text[2:], 2) if c.isalpha() or c == "~"), len(text))
            text = text[end + 1 :]
            continue
        key = known or text[0]
        found.append(_SEQUENCES.get(key, key))
        text = text[len(key) :]
    return found
