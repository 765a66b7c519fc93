"""``torrent-engine create``."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.options.common import SIZE, FilledPath, common_options, settings_of
from torrent_engine.cli.options.groups import state_option
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.options.trackers import tiers_of
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks.job_record import recorded
from torrent_engine.cli.tasks.new_file import refuse_existing, write_new

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.cli.output.settings import ProcessSettings
    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.disk.create.create import CreateOptions

STDOUT: Final = "-"
SUFFIX: Final = ".torrent"
MAX_WARNINGS: Final = 20  # ours: of each kind; the others are only counted


@click.command(
    "create",
    cls=SectionedCommand,
    epilog="The same files and options give the same .torrent, byte for byte: it contains no date.",
)
@click.argument(
    "paths", nargs=-1, required=True, type=FilledPath(path_type=Path), metavar="PATH..."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The .torrent file to write; - for standard output.  [default: NAME.torrent]",
)
@click.option("-n", "--name", help="Name of the torrent.  [default: the name of PATH]")
@click.option(
    "-s",
    "--piece-size",
    "piece_bytes",
    type=SIZE,
    metavar="SIZE",
    help="Piece length, a power of two such as 256K or 1M.  [default: depends on the data's size]",
)
@click.option(
    "--format",
    "torrent_format",
    type=click.Choice(["v1", "v2", "hybrid"]),
    default="hybrid",
    show_default=True,
    help="Versions of BitTorrent that can download it (BEP 52); a hybrid is of both. Choose v1 for"
    " peers with Transmission up to 3.00 or aria2, which know no hybrids.",
)
@click.option(
    "-t",
    "--tracker",
    "trackers",
    multiple=True,
    metavar="URL[,URL]",
    help="Trackers of one tier; repeat -t for further tiers.  [default: none]",
)
@click.option(
    "-p",
    "--private",
    is_flag=True,
    help="Private torrent: peers come from its trackers only (BEP 27).",
)
@click.option("-c", "--comment", metavar="TEXT", help="Comment shown by clients.  [default: none]")
@click.option(
    "-w", "--web-seed", "web_seeds", multiple=True, metavar="URL", help="Web seed; may be repeated."
)
@click.option(
    "--source", metavar="TAG", help="Source tag, which changes the info-hash.  [default: none]"
)
@click.option(
    "--similar",
    multiple=True,
    metavar="HASH",
    help="Info-hash of a torrent that may share files with this one (BEP 38), so that clients"
    " look for them there; may be repeated.",
)
@click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="NAME",
    help="Collection whose torrents may share files, such as com.example.season1 (BEP 38); may be"
    " repeated.",
)
@click.option(
    "--update-url",
    metavar="URL",
    help="Where newer versions will be found (BEP 39), with --originator.  [default: none]",
)
@click.option(
    "--originator",
    "originator_file",
    type=FilledPath(path_type=Path),
    metavar="FILE",
    help="Certificate of those who will `sign` newer versions.  [default: none]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=min(4, os.cpu_count() or 1),
    metavar="N",
    help="Hashing threads.  [default: one per CPU, at most 4]",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Include only matching files: '*.mkv', or 'sub/*' from the top; may be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Exclude matching files and folders, such as '.git' or '*.tmp'; may be repeated.",
)
@click.option("--no-links", is_flag=True, help="Exclude symbolic links.  [default: follow them]")
@click.option(
    "--no-attributes",
    is_flag=True,
    help="Leave out which files are executable, which changes the info-hash (BEP 47).",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing .torrent.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@state_option
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Create a .torrent from files and folders; several PATHs need a --name."""
    paths: Sequence[Path] = options["paths"]
    output = _output_path(paths, options)
    if output is not None and not options["force"]:
        refuse_existing(output)
    create_options, name = _create_options(options), options["name"] or _name_of(paths[0])
    with recorded("create", name=name, state_dir=options["state_dir"]) as record:
        data = _hashed(paths, create_options, settings_of(context), options, output)
        if output is None:
            from torrent_engine.cli.output.render import write_bytes

            write_bytes(data)
        else:
            write_new(output, data, replace=options["force"])
        record.describe(data)
    if output is not None and not options["quiet"]:
        _print_summary(output, data)
    return ExitCode.OK


def _create_options(options: dict[str, Any]) -> "CreateOptions":
    from torrent_engine.cli.tasks.certificates import certificates_of
    from torrent_engine.disk.create.create import CreateOptions

    originators = certificates_of(options["originator_file"])
    return CreateOptions(
        name=options["name"],
        piece_bytes=options["piece_bytes"],
        tiers=tiers_of(options["trackers"]),
        is_private=options["private"],
        comment=options["comment"],
        web_seeds=options["web_seeds"],
        source=options["source"],
        similar=tuple(map(_info_hash, options["similar"])),
        collections=options["collections"],
        update_url=options["update_url"],
        originator=originators[0].der if originators else None,
        threads=options["threads"],
        format=options["torrent_format"],
        attributes=not options["no_attributes"],
    )


def _info_hash(text: str) -> "InfoHash":
    """Return an info-hash of v1, or the first 20 bytes of one of v2."""
    from torrent_engine.base.ids import SHA256_BYTES, InfoHash, InfoHashV2

    try:
        is_v2 = len(text.strip()) == 2 * SHA256_BYTES
        return InfoHashV2.parse(text).truncated if is_v2 else InfoHash.parse(text)
    except ValueError as error:
        raise CliError(f"--similar: {error}") from None


def _output_path(paths: Sequence[Path], options: dict[str, Any]) -> Path | None:
    """Return where to write, None for standard output."""
    if options["output"] == STDOUT:
        return None
    if options["output"]:
        return Path(options["output"])
    if options["name"] is None and len(paths) > 1:
        raise CliError("several paths are given; name the torrent with --name")
    from torrent_engine.codec.paths import MAX_ELEMENT_BYTES, shortened
    from torrent_engine.disk.filesystem import usable_path

    name = (options["name"] or _name_of(paths[0]) or "torrent").replace("/", "_")
    stem = shortened(name, MAX_ELEMENT_BYTES - len(SUFFIX))
    return Path(*usable_path((f"{stem}{SUFFIX}",)))


def _name_of(path: Path) -> str:
    """Return the last component of a path, without following links; "" for the root."""
    return Path(os.path.abspath(path)).name  # noqa: PTH100 - keeps links


def _hashed(
    paths: Sequence[Path],
    create_options: "CreateOptions",
    settings: "ProcessSettings",
    options: dict[str, Any],
    output: Path | None,
) -> bytes:
    from torrent_engine.cli.output.render import reporter_for
    from torrent_engine.disk.create.create import create_torrent
    from torrent_engine.disk.create.scan import ScanRules

    notes = _Notes()
    rules = ScanRules(
        include=options["include"],
        exclude=options["exclude"],
        follow_links=not options["no_links"],
        output=output,
        on_left_out=notes.left_out,
        on_link_out=notes.link_out,
    )
    silent = options["quiet"] or options["output"] == STDOUT
    with reporter_for(settings, as_json=False, quiet=silent) as reporter:
        show = _progress(reporter, options["name"] or paths[0].name)
        data = create_torrent(paths, create_options, on_progress=show, rules=rules)
    if not options["quiet"]:
        notes.print()
    return data


class _Notes:
    """Warnings about the files of a new torrent."""

    def __init__(self) -> None:
        self._left_out: list[str] = []
        self._links_out: list[str] = []

    def left_out(self, path: str, reason: str) -> None:
        """Add a file that was excluded."""
        self._left_out.append(f"left out: {path}: {reason}")

    def link_out(self, path: str, target: str) -> None:
        """Add a symbolic link whose target is outside the folder."""
        self._links_out.append(f"link out of the folder: {path} -> {target}")

    def print(self) -> None:
        """Print the notes to stderr: stdout may be the .torrent."""
        from torrent_engine.cli.output.render import print_error

        for lines in (self._left_out, self._links_out):
            for line in lines[:MAX_WARNINGS]:
                print_error(line)
            if len(lines) > MAX_WARNINGS:
                print_error(f"{lines[0].split(': ', 1)[0]}: {len(lines) - MAX_WARNINGS} more")


def _progress(reporter: Any, name: str) -> Callable[[int, int], None]:  # noqa: ANN401
    """Return a progress callback for hashed bytes, which limits the rate of updates."""
    import time

    from torrent_engine.cli.output.sizes import format_percent, format_progress
    from torrent_engine.cli.output.text import safe
    from torrent_engine.cli.output.views import work_row

    next_s = time.monotonic() + reporter.interval_s

    def show(done: int, total: int) -> None:
        nonlocal next_s
        if (now := time.monotonic()) >= next_s:
            next_s = now + reporter.interval_s
            facts = f"hashing {format_percent(done, total)}", format_progress(done, total)
            reporter.update([work_row(safe(name), facts, done, total)])

    return show


def _print_summary(output: Path, data: bytes) -> None:
    from torrent_engine.cli.output.render import print_wrapped
    from torrent_engine.cli.output.sizes import format_size
    from torrent_engine.cli.output.text import safe
    from torrent_engine.codec.metainfo import Metainfo

    metainfo = Metainfo.from_bytes(data)
    piece_bytes = format_size(metainfo.geometry.piece_bytes)
    print_wrapped(
        f"{safe(str(output))}: {format_size(metainfo.content_bytes)} in {metainfo.piece_count}"
        f" pieces of {piece_bytes}, info-hash {_info_hashes(metainfo)}"
    )


def _info_hashes(metainfo: "Metainfo") -> str:
    found = (metainfo.info_hash_v1, metainfo.info_hash_v2)
    return " and ".join(each.hex() for each in found if each is not None)
