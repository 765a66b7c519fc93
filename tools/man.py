#!/usr/bin/env python3
"""Writes the manual pages and the completion scripts that a wheel installs, from the commands.

    python tools/man.py          # into share/
    python tools/man.py FOLDER   # into another folder

A test compares what is in the repository with what this prints.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))
from docs_pages import commands, help_records

from torrent_engine.cli.commands.completion import script
from torrent_engine.cli.main import PROGRAM, VERSION, cli
from torrent_engine.cli.output.exit_codes import MEANINGS

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "bash": f"bash-completion/completions/{PROGRAM}",
    "zsh": f"zsh/site-functions/_{PROGRAM}",
    "fish": f"fish/vendor_completions.d/{PROGRAM}.fish",
}


def roff(text: str) -> str:
    """Return a text in which nothing is a command of roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in ".'" else line for line in escaped.splitlines())


def paragraphs(text: str) -> Iterator[str]:
    """Yield roff for the paragraphs of a help text; those that click keeps stay as they are."""
    for each in filter(None, (part.strip("\n") for part in text.split("\n\n"))):
        if each.startswith("\b"):
            yield f".nf\n{roff(each[1:].strip())}\n.fi"
        else:
            yield f".PP\n{roff(' '.join(each.split()))}"


def page(path: str, command: click.Command, context: click.Context) -> str:
    """Return the manual page of one command."""
    title = path.replace(" ", "-")
    summary = command.get_short_help_str(limit=200).rstrip(".")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{title.upper()}" "1" "" "torrent_engine {VERSION}" "User Commands"',
        f".SH NAME\n{roff(title)} \\- {roff(summary)}",
        f".SH SYNOPSIS\n.B {roff(path)}\n{roff(usage)}",
        ".SH DESCRIPTION",
        *paragraphs(command.help or ""),
        *paragraphs(command.epilog or ""),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            lines.append(f".TP\n.B {roff(name)}\n{roff(below.get_short_help_str(limit=200))}")
    lines.append(".SH OPTIONS")
    lines.extend(
        f".TP\n.B {roff(names)}\n{roff(' '.join(text.split()))}"
        for names, text in help_records(command, context)
    )
    if path == PROGRAM:
        lines.append('.SH "EXIT STATUS"')
        lines.extend(f".TP\n.B {code.value}\n{roff(text)}" for code, text in MEANINGS.items())
    else:
        lines.append(f'.SH "SEE ALSO"\n.BR {roff(PROGRAM)} (1)')
    return "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """Return the text of every file below share/, by its path there."""
    pages = {
        f"man/man1/{path.replace(' ', '-')}.1": page(path, command, context)
        for path, command, context in commands()
    }
    return pages | {
        place: script(shell, cli, PROGRAM).rstrip("\n") + "\n" for shell, place in SCRIPTS.items()
    }


def write(target: Path) -> None:
    """Write all files below a folder."""
    for place, text in files().items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "share")
