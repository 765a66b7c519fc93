"""Arguments of commands that name torrents: those of the command line, standard input, folders."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import click

from torrent_engine.base.config import torrent_limits
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.service.source_list import expanded
from torrent_engine.service.sources import MAX_TORRENT_BYTES, STDIN, is_magnet, is_url, load
from torrent_engine.service.watch_folder import list_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def required_sources(context: click.Context, options: "Mapping[str, Any]") -> list[str]:
    """Return what ``options`` name, in order; raises UsageError if that is nothing at all."""
    arguments, lists = options["torrents"], options["input_files"]
    if not arguments and not lists:
        raise click.UsageError("missing argument 'TORRENT...'.", ctx=context)
    return expanded(arguments, lists)


def read_stdin(sources: "Sequence[str]", max_bytes: int = MAX_TORRENT_BYTES) -> bytes:
    """Read standard input if ``-`` is among the sources; raises CliError if it is given twice.

    Called before the event loop starts, so that Ctrl-C interrupts it.
    """
    if STDIN not in sources:
        return b""
    if list(sources).count(STDIN) > 1:
        raise CliError("standard input (-) is given twice")
    return sys.stdin.buffer.read(max_bytes + 1)


def load_now(source: str, max_bytes: int = MAX_TORRENT_BYTES) -> Metainfo:
    """Read a .torrent from a path, a URL or standard input, blocking."""
    from torrent_engine.engine.session.torrent_loader import read_torrent

    if is_magnet(source):
        raise CliError("is a link, not a .torrent; `torrent-engine metadata` fetches that")
    limits = torrent_limits(max_bytes)
    if is_url(source):
        return cast("Metainfo", anyio.run(load, source, b"", None, max_bytes))
    if source == STDIN:
        data = read_stdin([source], max_bytes)
        return Metainfo.from_bytes(data, limits=limits)
    return read_torrent(source, limits)


def watched_folders(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return the folders of --watch, without duplicates.

    Raises CliError or OSError for one that cannot be watched.
    """
    for folder in folders:
        if not folder.exists():
            raise CliError(f"--watch {folder}: no such folder", ExitCode.NOT_FOUND)
        if not folder.is_dir():
            raise CliError(f"--watch {folder}: is no folder")
        list_folder(folder)
    return tuple({folder.resolve(): folder for folder in folders}.values())
