"""``torrent-engine update``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.base.errors import SignatureError
from torrent_engine.cli.options.common import SOURCE, common_options
from torrent_engine.cli.options.groups import torrent_size_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from torrent_engine.codec.metainfo import Metainfo

STDOUT: Final = "-"


@click.command(
    "update",
    epilog="Only what the originator has signed, whose certificate is in the TORRENT, is accepted."
    " The exit code is 3 if there is nothing newer.",
)
@click.argument("torrent", type=SOURCE, metavar="TORRENT")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The .torrent file to write; - for standard output.  [default: NAME.torrent]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing .torrent.")
@click.option(
    "--allow-private", is_flag=True, help="Allow feeds at private addresses and on this machine."
)
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@torrent_size_option
@common_options
def command(**options: Any) -> ExitCode:  # noqa: ANN401
    """Fetch the newer version of a TORRENT from its feed (BEP 39)."""
    from torrent_engine.cli.tasks import arguments

    older = arguments.load_now(options["torrent"], options["max_torrent_size"])
    if older.update_url is None and not older.signatures:
        raise CliError("the torrent has no feed", ExitCode.NOT_FOUND)
    if older.originator is None:
        raise CliError("the torrent names no originator: nothing that its feed has counts")
    try:
        newer = _fetched(older, options)
    except SignatureError as error:
        raise CliError(str(error), ExitCode.CHECK_FAILED) from error
    if newer is None:
        raise CliError("its feed has nothing newer", ExitCode.NOT_FOUND)
    if options["output"] == STDOUT:
        from torrent_engine.cli.output.render import write_bytes

        write_bytes(newer.to_bytes())
        return ExitCode.OK
    _write(newer, options)
    return ExitCode.OK


def _fetched(older: "Metainfo", options: dict[str, Any]) -> "Metainfo | None":
    import time

    from torrent_engine.base.config import TrackerConfig
    from torrent_engine.net.http.client import HttpClient
    from torrent_engine.net.http.torrent_feed import fetch_update
    from torrent_engine.service import loop

    return loop.run(
        lambda: fetch_update(
            older,
            HttpClient(TrackerConfig()),
            now_s=time.time(),
            max_bytes=options["max_torrent_size"],
            allow_private=options["allow_private"],
        )
    )


def _write(newer: "Metainfo", options: dict[str, Any]) -> None:
    from torrent_engine.cli.output.render import print_wrapped
    from torrent_engine.cli.output.text import safe
    from torrent_engine.cli.tasks.new_file import refuse_existing, write_new
    from torrent_engine.disk.filesystem import usable_path

    path = Path(options["output"] or usable_path((f"{newer.name}.torrent",))[0])
    if not options["force"]:
        refuse_existing(path)
    write_new(path, newer.to_bytes(), replace=options["force"])
    if not options["quiet"]:
        print_wrapped(safe(f"{path}: {newer.name}, info-hash {newer.info_hash.hex()}"))
