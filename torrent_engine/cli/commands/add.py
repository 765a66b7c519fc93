"""``torrent-engine add``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.options.common import RATE, CommandOptions
from torrent_engine.cli.output.exit_codes import CliError, ExitCode, exit_code_of, message_of
from torrent_engine.cli.tasks.managed import managed_folder, managing_options

if TYPE_CHECKING:
    from torrent_engine.service.new_torrent import AdditionReport, NewTorrent
    from torrent_engine.service.torrents import TorrentControl

_RATE_HELP: Final = "rate limit of each of them, in bytes per second, such as 5M.  [default: none]"


@click.command(
    "add",
    epilog="A TORRENT is a .torrent file, its URL, a magnet link in quotes, or - for standard"
    " input. Whoever runs the torrents of the state folder gets them: `torrent-engine daemon` or"
    " `torrent-engine run`. One that is there already stays as it is.",
)
@click.argument("torrents", nargs=-1, required=True, metavar="TORRENT...")
@click.option(
    "-d",
    "--dir",
    "--save-path",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of their files.  [default: that of the daemon or of `run`]",
)
@click.option("--paused", is_flag=True, help="Add them paused.")
@click.option("--sequential", is_flag=True, help="Download pieces in their order.")
@click.option("--top", is_flag=True, help="Put them at the top of the queue.")
@click.option(
    "--max-download-limit",
    "download_bytes_per_s",
    type=RATE,
    metavar="RATE",
    help=f"Download {_RATE_HELP}",
)
@click.option(
    "--max-upload-limit",
    "upload_bytes_per_s",
    type=RATE,
    metavar="RATE",
    help=f"Upload {_RATE_HELP}",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Label of the daemon; may be repeated.",
)
@click.option("--category", metavar="NAME", help="Category of the daemon.  [default: none]")
@managing_options
def command(**options: Any) -> ExitCode:  # noqa: ANN401
    """Add torrents to the daemon, or to `run`."""
    folder = managed_folder(options)
    stdin = _read_stdin(options["torrents"])

    async def work(torrents: "TorrentControl") -> ExitCode:
        code = ExitCode.OK
        for source in options["torrents"]:
            try:
                added = await torrents.add(_torrent_of(source, stdin, options))
            except Exception as error:
                failed = _print_refused(error, source)
                code = code or failed
            else:
                _print_added(added, options)
        return code

    return folder.run(work)


def _read_stdin(named: tuple[str, ...]) -> bytes:
    """Return standard input if it is named; once only."""
    from torrent_engine.service.sources import MAX_TORRENT_BYTES, STDIN

    if STDIN not in named:
        return b""
    if named.count(STDIN) > 1:
        raise CliError("- is given twice")
    return sys.stdin.buffer.read(MAX_TORRENT_BYTES + 1)


def _torrent_of(source: str, stdin: bytes, options: CommandOptions) -> "NewTorrent":
    """Read and check what a user names. Raises OSError and TorrentEngineError."""
    from torrent_engine.service.new_torrent import NewTorrent

    folder = options["folder"]
    return NewTorrent(
        _source_of(source, stdin),
        save_path=None if folder is None else os.path.abspath(folder),  # noqa: PTH100 - keeps ..
        paused=options["paused"] or None,
        sequential=options["sequential"] or None,
        position=0 if options["top"] else None,
        download_bytes_per_s=options["download_bytes_per_s"],
        upload_bytes_per_s=options["upload_bytes_per_s"],
        labels=tuple(options["labels"]),
        category=options["category"] or "",
    )


def _source_of(source: str, stdin: bytes) -> str | bytes:
    from torrent_engine.codec.magnet import Magnet
    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.service import sources

    if sources.is_url(source):
        return source
    if source == sources.STDIN and Magnet.is_link(
        text := stdin[:100_000].decode("utf-8", "replace")
    ):
        source = text.strip()
    if source != sources.STDIN and sources.is_magnet(source):
        sources.check_link(source)
        return source
    metainfo = Metainfo.from_bytes(stdin) if source == sources.STDIN else Metainfo.read(source)
    return metainfo.to_bytes()


def _print_added(added: "AdditionReport", options: CommandOptions) -> None:
    from torrent_engine.cli.output.render import print_json, print_wrapped
    from torrent_engine.cli.output.text import safe

    if options["as_json"]:
        facts = {"action": "add", "info_hash": added.info_hash, "name": added.name}
        print_json({**facts, "is_new": added.is_new})
    else:
        print_wrapped(f"{safe(added.name)}: {'added' if added.is_new else 'is there already'}")


def _print_refused(error: Exception, source: str) -> ExitCode:
    """Print why a torrent was not added; raise what is no fault of the torrent."""
    from torrent_engine.base.errors import TorrentEngineError
    from torrent_engine.cli.output.render import print_error
    from torrent_engine.cli.output.text import safe
    from torrent_engine.service.sources import shown

    if not isinstance(error, TorrentEngineError | OSError):
        raise error
    what, why = f"{safe(shown(source))}: ", message_of(error)
    print_error(why if why.startswith(what) else what + why)
    return exit_code_of(error)
