"""``torrent-engine download``."""

from typing import Any

import click

from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.option_groups import (
    queue_option,
    source_options,
    transfer_options,
    write_options,
)
from torrent_engine.cli.options import POSITIVE_COUNT, SECONDS, common_options


@click.command(
    "download",
    epilog="Ends when all is downloaded, unless --seed-ratio, --seed-time or --seed-idle is given:"
    " then it seeds until one of them is reached. Run it again to resume. Of a magnet link all"
    " files are downloaded that the link selects, unless --select-file says which.",
)
@source_options
@click.option(
    "--select-file",
    "selections",
    multiple=True,
    metavar="LIST",
    help="Only these files: numbers as `show --files` gives them (1-3,7) or patterns (*.mkv).",
)
@click.option("--sequential", is_flag=True, help="Fetch pieces in their order.")
@click.option("--check-only", is_flag=True, help="Check what is there, then end.")
@click.option(
    "--stop-timeout",
    type=SECONDS,
    metavar="TIME",
    help="End after this long without progress: a plain number is seconds.",
)
@click.option(
    "--owner-process",
    type=POSITIVE_COUNT,
    metavar="PID",
    help="Download for this process: once it has ended all is cancelled, and what is not complete"
    " is removed.",
)
@write_options
@queue_option
@transfer_options
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Download each TORRENT.

    It is a magnet link in quotes, an info-hash, the path of a .torrent or of a folder of them, an
    http(s) URL, or - for standard input, in any mixture. One that is named twice is downloaded
    once.
    """
    from torrent_engine.cli.transfers import run_transfers

    return run_transfers(context, {**options, "seeds_by_default": False})
