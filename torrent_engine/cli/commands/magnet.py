"""``torrent-engine magnet``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from torrent_engine.cli.options.common import PEER, SOURCE, common_options, settings_of
from torrent_engine.cli.options.groups import torrent_size_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from torrent_engine.codec.magnet import Magnet


@click.command(
    "magnet",
    epilog="Quote links in a shell: they contain an &. The link of a private torrent may contain"
    " your passkey.",
)
@click.argument("torrents", nargs=-1, type=SOURCE, required=True, metavar="TORRENT...")
@click.option("--no-trackers", is_flag=True, help="Omit the trackers.")
@click.option(
    "--peer",
    "peers",
    type=PEER,
    multiple=True,
    metavar="HOST:PORT",
    help="Include this peer in the link; may be repeated.",
)
@click.option(
    "--select-file",
    "selections",
    multiple=True,
    metavar="LIST",
    help="Select these files in the link (BEP 53): numbers (1-3,7) or patterns (*.mkv); may be"
    " repeated.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each torrent.")
@torrent_size_option
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Print the magnet link of each TORRENT: a path, an http(s) URL, or - for standard input."""
    from torrent_engine.cli.tasks.each import for_each

    def show(source: str) -> ExitCode:
        return _show(source, options)

    return for_each(options["torrents"], show, debug=settings_of(context).debug)


def _show(source: str, options: dict[str, Any]) -> ExitCode:
    from torrent_engine.cli.output import render

    magnet = _magnet_of(source, options)
    if options["as_json"]:
        render.print_json(_as_record(magnet))
    else:
        render.print_line(str(magnet))
    return ExitCode.OK


def _magnet_of(source: str, options: dict[str, Any]) -> "Magnet":
    from torrent_engine.cli.options import selection
    from torrent_engine.cli.tasks import arguments
    from torrent_engine.codec.magnet import Magnet

    metainfo = arguments.load_now(source, options["max_torrent_size"])
    if metainfo.info_hash_v1 is None and options["selections"]:
        raise CliError(
            "--select-file: programs count the files of a v2-only torrent in different ways",
            ExitCode.BAD_OPTION,
        )
    priorities = selection.file_priorities(metainfo, options["selections"])
    chosen = [index for index, priority in enumerate(priorities or ()) if priority]
    magnet = replace(
        Magnet.of(metainfo),
        peers=tuple((peer.host, peer.port) for peer in options["peers"]),
        selected_files=tuple(chosen) or None,
    )
    return replace(magnet, trackers=()) if options["no_trackers"] else magnet


def _as_record(magnet: "Magnet") -> dict[str, object]:
    return {
        "name": magnet.name,
        "info_hash": magnet.info_hash.hex(),
        "info_hash_v1": magnet.info_hash.hex() if magnet.has_v1 else None,
        "info_hash_v2": magnet.info_hash_v2.hex() if magnet.info_hash_v2 else None,
        "total_bytes": magnet.total_bytes,
        "magnet": str(magnet),
    }
