"""``torrent-engine download``."""

from typing import Any

import click

from torrent_engine.cli.options.common import POSITIVE_COUNT, SECONDS, ParsedType, common_options
from torrent_engine.cli.options.groups import (
    hook_options,
    queue_option,
    source_options,
    transfer_options,
    write_options,
)
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.output.exit_codes import ExitCode


def _parse_file_priority(text: str) -> tuple[str, int]:
    """Read what files are worth; a late import, so that --help costs nothing."""
    from torrent_engine.cli.options.selection import parse_file_priority

    return parse_file_priority(text)


@click.command(
    "download",
    cls=SectionedCommand,
    epilog="Ends when everything is downloaded. With --seed-ratio, --seed-time or --seed-idle it"
    " seeds until one of them is reached. Run it again to resume. For a magnet link the files that"
    " the link selects are downloaded, unless --select-file is given.",
)
@source_options
@click.option(
    "--select-file",
    "selections",
    multiple=True,
    metavar="LIST",
    help="Download only these files: numbers as printed by `show --files` (1-3,7) or patterns"
    " (*.mkv); may be repeated.  [default: all]",
)
@click.option(
    "--file-priority",
    "file_priorities",
    type=ParsedType("list=priority", _parse_file_priority),
    multiple=True,
    metavar="LIST=PRIORITY",
    help="Priority of files: 1-3=high, *.txt=low, 7=skip, or a number from 0 to 7 (low is 1, normal"
    " 4, high 7); may be repeated, the last match counts.  [default: normal]",
)
@click.option(
    "-t",
    "--tracker",
    "trackers",
    multiple=True,
    metavar="URL",
    help="Additional tracker to announce to; may be repeated.",
)
@click.option("--sequential", is_flag=True, help="Download pieces in order.")
@click.option("--check-only", is_flag=True, help="Check the data on disk, then exit.")
@click.option(
    "--stop-timeout",
    type=SECONDS,
    metavar="TIME",
    help="Exit after this long without progress; a plain number is seconds.  [default: never]",
)
@click.option(
    "--owner-process",
    type=POSITIVE_COUNT,
    metavar="PID",
    help="Download on behalf of this process: when it ends, cancel the downloads and remove the"
    " incomplete ones.  [default: none]",
)
@write_options
@queue_option
@hook_options
@transfer_options(seeds_by_default=False)
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Download each TORRENT.

    A TORRENT is a magnet link in quotes, an info-hash, the path of a .torrent file or of a folder
    of them, an http(s) URL, or - for standard input. Duplicates are downloaded once.
    """
    from torrent_engine.cli.tasks.transfers import run_transfers

    return run_transfers(context, {**options, "seeds_by_default": False})
