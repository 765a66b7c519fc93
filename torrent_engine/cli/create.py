"""``torrent-engine create``."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.exit_codes import CliError, ExitCode
from torrent_engine.cli.job_record import recorded
from torrent_engine.cli.new_file import refuse_existing, write_new
from torrent_engine.cli.option_groups import state_option
from torrent_engine.cli.options import SIZE, common_options, settings_of

if TYPE_CHECKING:
    from torrent_engine.cli.options import Settings
    from torrent_engine.disk.create import CreateOptions

STDOUT: Final = "-"


@click.command(
    "create",
    epilog="The same files and options give the same .torrent, byte for byte: no date is put in.",
)
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The .torrent to write; - for standard output.  [default: NAME.torrent]",
)
@click.option("-n", "--name", help="Name of the torrent.  [default: that of the only PATH]")
@click.option(
    "-s",
    "--piece-size",
    "piece_bytes",
    type=SIZE,
    metavar="SIZE",
    help="A power of two such as 256K or 1M.  [default: by the size of the data]",
)
@click.option(
    "-t",
    "--tracker",
    "trackers",
    multiple=True,
    metavar="URL[,URL]",
    help="Trackers of one tier; each further -t is a tier of its own, asked later.",
)
@click.option("-p", "--private", is_flag=True, help="Peers may come from the trackers only.")
@click.option("-c", "--comment", metavar="TEXT", help="A comment for people.")
@click.option(
    "-w", "--web-seed", "web_seeds", multiple=True, metavar="URL", help="May be repeated."
)
@click.option("--source", metavar="TAG", help="A tag that makes an info-hash of its own.")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=min(4, os.cpu_count() or 1),
    show_default=True,
    metavar="N",
    help="Threads that hash.",
)
@click.option("-f", "--force", is_flag=True, help="Replace the .torrent if it is there.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@state_option
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Make a .torrent from files and folders; several PATHs need a --name."""
    paths: Sequence[Path] = options["paths"]
    output = _output_path(paths, options)
    if output is not None and not options["force"]:
        refuse_existing(output)
    create_options, name = _create_options(options), options["name"] or paths[0].resolve().name
    with recorded("create", name=name, state_dir=options["state_dir"]) as record:
        data = _hashed(paths, create_options, settings_of(context), options)
        if output is None:
            sys.stdout.buffer.write(data)
        else:
            write_new(output, data, replace=options["force"])
        record.describe(data)
    if output is not None and not options["quiet"]:
        _tell(output, data)
    return ExitCode.OK


def tiers_of(trackers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return tiers of URLs; raises CliError for what is no tracker's URL."""
    from torrent_engine.base.errors import TrackerError
    from torrent_engine.protocol.tracker.urls import parse_tracker_url

    tiers = [tuple(filter(None, text.split(","))) for text in trackers]
    for url in (url for tier in tiers for url in tier):
        try:
            parse_tracker_url(url)
        except TrackerError as error:
            raise CliError(f"--tracker: {error}") from error
    return tuple(tier for tier in tiers if tier)


def _create_options(options: dict[str, Any]) -> "CreateOptions":
    from torrent_engine.disk.create import CreateOptions

    return CreateOptions(
        name=options["name"],
        piece_bytes=options["piece_bytes"],
        tiers=tiers_of(options["trackers"]),
        is_private=options["private"],
        comment=options["comment"],
        web_seeds=options["web_seeds"],
        source=options["source"],
        threads=options["threads"],
    )


def _output_path(paths: Sequence[Path], options: dict[str, Any]) -> Path | None:
    """Return where to write, None for standard output."""
    if options["output"] == STDOUT:
        return None
    if options["output"]:
        return Path(options["output"])
    if options["name"] is None and len(paths) > 1:
        raise CliError("several paths are given; name the torrent with --name")
    from torrent_engine.disk.filesystem import usable_path

    name = options["name"] or paths[0].resolve().name or "torrent"
    return Path(*usable_path((f"{name.replace('/', '_')}.torrent",)))


def _hashed(
    paths: Sequence[Path],
    create_options: "CreateOptions",
    settings: "Settings",
    options: dict[str, Any],
) -> bytes:
    from torrent_engine.cli.render import reporter_for
    from torrent_engine.disk.create import create_torrent

    silent = options["quiet"] or options["output"] == STDOUT
    with reporter_for(settings, as_json=False, quiet=silent) as reporter:
        show = _progress(reporter, options["name"] or paths[0].name)
        return create_torrent(paths, create_options, on_progress=show)


def _progress(reporter: Any, name: str) -> Callable[[int, int], None]:  # noqa: ANN401
    """Return a callback for bytes hashed, which shows them now and then."""
    import time

    from torrent_engine.cli.render import safe
    from torrent_engine.cli.sizes import format_percent, format_progress
    from torrent_engine.cli.views import work_row

    next_s = time.monotonic() + reporter.interval_s

    def show(done: int, total: int) -> None:
        nonlocal next_s
        if (now := time.monotonic()) >= next_s:
            next_s = now + reporter.interval_s
            facts = f"hashing {format_percent(done, total)}", format_progress(done, total)
            reporter.update([work_row(safe(name), facts, done, total)])

    return show


def _tell(output: Path, data: bytes) -> None:
    from torrent_engine.cli.render import print_line, safe
    from torrent_engine.cli.sizes import format_size
    from torrent_engine.codec.metainfo import Metainfo

    metainfo = Metainfo.from_bytes(data)
    piece_bytes = format_size(metainfo.geometry.piece_bytes)
    print_line(
        f"{safe(str(output))}: {format_size(metainfo.total_bytes)} in {metainfo.piece_count}"
        f" pieces of {piece_bytes}, info-hash {metainfo.info_hash.hex()}"
    )
