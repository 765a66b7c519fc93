"""``torrent-engine completion``."""

from typing import Final

import click

from torrent_engine.cli.options.common import common_options
from torrent_engine.cli.output.exit_codes import ExitCode

SHELLS: Final = ("bash", "zsh", "fish")


def script(shell: str, program: click.Command, name: str) -> str:
    """Return the script that lets a shell complete the words of a program with some name."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # click knows all of SHELLS
        raise ValueError(f"no completion for {shell}")
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    shell_completion = kind(program, {}, name, variable)
    return shell_completion.source_template % shell_completion.source_vars()


@click.command(
    "completion",
    epilog="Put it where the shell looks for such scripts: bash in"
    " ~/.local/share/bash-completion/completions/torrent-engine, zsh in a folder of fpath as"
    " _torrent-engine, fish in ~/.config/fish/completions/torrent-engine.fish.",
)
@click.argument("shell", type=click.Choice(SHELLS))
@common_options
@click.pass_context
def command(context: click.Context, shell: str) -> ExitCode:
    """Print the completion script of a SHELL: bash, zsh or fish."""
    from torrent_engine.cli.output import render

    top = context.find_root()
    text = script(shell, top.command, top.info_name or "")
    render.print_line(text.rstrip("\n"))
    return ExitCode.OK
