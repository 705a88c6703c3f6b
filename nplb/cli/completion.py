"""`nplb completion`: the script that makes a shell complete nplb's commands and services."""

import click


@click.command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: eval "$(nplb completion bash)" in ~/.bashrc
    zsh:  eval "$(nplb completion zsh)" in ~/.zshrc
    fish: nplb completion fish > ~/.config/fish/completions/nplb.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    # Not .source(): it runs bash to see whether it is too old, also where there is none.
    script = kind(root.command, {}, "nplb", "_NPLB_COMPLETE")
    click.echo(script.source_template % script.source_vars())
