"""The program that plays a stream."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Final

import anyio
import anyio.abc
import click

KNOWN_OPTIONS: Final = {"vlc": ("--play-and-exit",), "cvlc": ("--play-and-exit",)}
"""Programs that would stay when a stream has ended."""
END_S: Final = 5.0  # ours: a player that is asked to end does so within this


def parse_player(text: str) -> list[str]:
    """Return the program and arguments of a command, without its URL. Raises click.BadParameter."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--player") from None
    found = shutil.which(argv[0]) if argv else None
    if found is None:
        raise click.BadParameter(f"{text!r}: there is no such program", param_hint="--player")
    more = KNOWN_OPTIONS.get(argv[0], ()) if len(argv) == 1 else ()
    return [found, *argv[1:], *more]


async def play(argv: Sequence[str], url: str) -> int:
    """Run a player with a URL to its end, and return its exit code; cancelled, it is ended.

    What it prints goes to stderr.
    """
    async with await anyio.open_process(
        [*argv, url], stdin=None, stdout=sys.stderr.fileno(), stderr=None
    ) as process:
        try:
            return await process.wait()
        finally:
            await _end(process)


async def _end(process: anyio.abc.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with anyio.CancelScope(shield=True), anyio.move_on_after(END_S):
        await process.wait()
        return
    process.kill()
