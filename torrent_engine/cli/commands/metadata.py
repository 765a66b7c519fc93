"""``torrent-engine metadata``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.options.common import SECONDS, SOURCE, common_options
from torrent_engine.cli.options.groups import network_options
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.settings import wants_json

if TYPE_CHECKING:
    from torrent_engine.codec.metainfo import Metainfo

STDOUT: Final = "-"


@click.command(
    "metadata",
    cls=SectionedCommand,
    epilog="Quote the link in a shell: it contains an &. Metadata that an earlier download of the"
    " link has stored is not fetched again.",
)
@click.argument("torrents", nargs=-1, type=SOURCE, required=True, metavar="LINK...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The .torrent file to write; - for standard output.  [default: NAME.torrent]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing .torrent.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="TIME",
    help="Give up after this long; a plain number is seconds.  [default: never]",
)
@network_options
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Fetch the .torrent of each magnet LINK or info-hash from peers, without its data."""
    from torrent_engine.cli.tasks.transfers import run_metadata

    check_options(options)
    return run_metadata(context, options, saver(options))


def check_options(options: Mapping[str, Any]) -> None:
    """Raise CliError for what cannot be, before anything is asked of a peer."""
    from torrent_engine.service import sources

    links: Sequence[str] = options["torrents"]
    for link in links:
        if not sources.is_magnet(link):
            raise CliError(f"{sources.shown(link)}: is no magnet link and no info-hash")
        sources.check_link(link)
    output: str | None = options["output"]
    if output is not None and len(links) > 1:
        raise CliError("-o names one file; several links are given")
    if output == STDOUT and wants_json(options):
        raise CliError("--json and the .torrent cannot both go to standard output")
    if output not in {None, STDOUT}:
        check_place(Path(str(output)), may_replace=options["force"])


def check_place(path: Path, *, may_replace: bool) -> None:
    """Raise CliError if no file can be written there."""
    from torrent_engine.cli.tasks.new_file import refuse_existing

    if not may_replace:
        refuse_existing(path)
    if path.is_dir():
        raise CliError(f"{path}: is a folder", ExitCode.FILE_EXISTS)
    if not path.parent.is_dir():
        raise CliError(f"{path.parent}: no such folder", ExitCode.NOT_FOUND)


def saver(options: Mapping[str, Any]) -> "Callable[[Metainfo], str]":
    """Return what writes a .torrent and returns where; it may raise CliError or OSError."""

    def save(metainfo: "Metainfo") -> str:
        from torrent_engine.cli.output.render import write_bytes
        from torrent_engine.cli.tasks.new_file import refuse_existing, write_new
        from torrent_engine.disk.filesystem import usable_path

        if options["output"] == STDOUT:
            write_bytes(metainfo.to_bytes())
            return STDOUT
        path = Path(options["output"] or usable_path((f"{metainfo.name}.torrent",))[0])
        if not options["force"]:
            refuse_existing(path)
        write_new(path, metainfo.to_bytes(), replace=options["force"])
        return str(path)

    return save
