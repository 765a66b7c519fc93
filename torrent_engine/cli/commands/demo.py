"""``torrent-engine demo``: real files, a tracker, two seeds and a download on this machine."""

from pathlib import Path
from typing import Final

import click

from torrent_engine.cli.options.common import SIZE, common_options, settings_of
from torrent_engine.cli.output.exit_codes import ExitCode

MIN_BYTES: Final = 1 << 20
MAX_BYTES: Final = 64 << 30


@click.command("demo")
@click.option(
    "--size",
    "size_bytes",
    type=SIZE,
    default="300M",
    show_default=True,
    metavar="SIZE",
    help="Amount of data to download.",
)
@click.option(
    "-d",
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for all files.  [default: a new temporary one]",
)
@common_options
@click.pass_context
def command(context: click.Context, size_bytes: int, folder: Path | None) -> ExitCode:
    """Download from two local seeds through a local tracker, and compare every byte.

    Only the loopback interface is used. The files are kept.
    """
    from torrent_engine.cli.demo.swarm import run_demo
    from torrent_engine.cli.output.exit_codes import CliError

    if not MIN_BYTES <= size_bytes <= MAX_BYTES:
        raise CliError("--size: choose something from 1M to 64G")
    return run_demo(size_bytes, folder, settings_of(context))
