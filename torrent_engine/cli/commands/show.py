"""``torrent-engine show``."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from torrent_engine.cli.options.common import SOURCE, common_options, settings_of
from torrent_engine.cli.options.groups import torrent_size_option
from torrent_engine.cli.output.exit_codes import ExitCode

if TYPE_CHECKING:
    from torrent_engine.codec.metainfo import FileEntry, Metainfo

_MAX_EPOCH_S: Final = 253_402_300_799  # the end of the year 9999


@click.command("show")
@click.argument("torrents", nargs=-1, type=SOURCE, required=True, metavar="TORRENT...")
@click.option("--files", "what", flag_value="files", help="Print only the numbered files.")
@click.option("--magnet", "what", flag_value="magnet", help="Print only the magnet link.")
@click.option("--json", "what", flag_value="json", help="Print all of it as one line of JSON.")
@torrent_size_option
@common_options
@click.pass_context
def command(
    context: click.Context, torrents: tuple[str, ...], what: str | None, max_torrent_size: int
) -> ExitCode:
    """Print what each TORRENT contains: a path, an http(s) URL, or - for standard input."""
    from torrent_engine.cli.tasks.each import for_each

    show = partial(_show, what or "overview", max_torrent_size)
    return for_each(torrents, show, debug=settings_of(context).debug)


def _show(what: str, max_bytes: int, source: str) -> ExitCode:
    from torrent_engine.cli.output import render
    from torrent_engine.cli.output.text import safe
    from torrent_engine.cli.tasks import arguments
    from torrent_engine.codec.magnet import Magnet

    metainfo = arguments.load_now(source, max_bytes)
    if what == "json":
        render.print_json(as_record(metainfo))
    elif what == "magnet":
        render.print_line(safe(str(Magnet.of(metainfo))))
    elif what == "files":
        render.print_lines([safe(line) for line in file_lines(metainfo)])
    else:
        for field, value in overview_fields(metainfo):
            render.print_wrapped(safe(value), first=field, indent=" " * len(field))
    return ExitCode.OK


def as_record(metainfo: "Metainfo") -> dict[str, object]:
    """Return all of a torrent that a script may want."""
    from torrent_engine.codec.magnet import Magnet

    return {
        "name": metainfo.name,
        "info_hash": metainfo.info_hash.hex(),
        "info_hash_v1": metainfo.info_hash_v1.hex() if metainfo.info_hash_v1 else None,
        "info_hash_v2": metainfo.info_hash_v2.hex() if metainfo.info_hash_v2 else None,
        "meta_version": 2 if metainfo.v2 else 1,
        "total_bytes": metainfo.total_bytes,
        "piece_bytes": metainfo.geometry.piece_bytes,
        "piece_count": metainfo.piece_count,
        "private": metainfo.is_private,
        "hybrid": metainfo.is_hybrid,
        "comment": metainfo.comment,
        "created_by": metainfo.created_by,
        "creation_time_s": metainfo.creation_time_s,
        "trackers": [list(tier) for tier in metainfo.tiers],
        "web_seeds": list(metainfo.web_seeds),
        "http_seeds": list(metainfo.http_seeds),
        "nodes": [str(node) for node in metainfo.nodes],
        "similar": [each.hex() for each in metainfo.similar.info_hashes],
        "collections": list(metainfo.similar.collections),
        "magnet": str(Magnet.of(metainfo)),
        "files": [_file_record(number, entry, metainfo) for number, entry in _listed(metainfo)],
    }


def overview_fields(metainfo: "Metainfo") -> list[tuple[str, str]]:
    """Return ``field: `` and value for each line, in columns."""
    fields = list(_fields(metainfo))
    width = max(len(name) for name, _ in fields) + 2
    return [(f"{name + ':' if name else '':<{width}}", value) for name, value in fields]


def file_lines(metainfo: "Metainfo") -> list[str]:
    """Return a line for each file: its number for --select-file, its size, its path."""
    from torrent_engine.cli.output.sizes import format_size

    listed = list(_listed(metainfo))
    width = len(str(len(metainfo.files)))
    return [
        f"{number:>{width}}  {format_size(entry.length_bytes):>10}  {'/'.join(entry.path)}"
        for number, entry in listed
    ]


def _fields(metainfo: "Metainfo") -> Iterator[tuple[str, str]]:
    from torrent_engine.cli.output.sizes import format_size

    count = sum(1 for _ in _listed(metainfo))
    files = "1 file" if count == 1 else f"{count:,} files"
    total, piece_bytes = metainfo.total_bytes, metainfo.geometry.piece_bytes
    yield "Name", metainfo.name
    yield from _versions(metainfo)
    yield "Size", f"{format_size(total)} ({total:,} bytes) in {files}"
    yield "Pieces", f"{metainfo.piece_count:,} of {format_size(piece_bytes)}"
    if layers := _layers(metainfo):
        yield "Layers", layers
    yield "Private", "yes: trackers only" if metainfo.is_private else "no"
    if metainfo.comment:
        yield "Comment", " ".join(metainfo.comment.split())
    if made := " ".join(_created(metainfo)):
        yield "Created", made
    yield from _urls("Trackers", [f"{', '.join(tier)}" for tier in metainfo.tiers])
    yield from _urls("Web seeds", [*metainfo.web_seeds, *metainfo.http_seeds])
    yield from _urls("Nodes", [str(node) for node in metainfo.nodes])
    yield from _urls("Similar", [each.hex() for each in metainfo.similar.info_hashes])
    yield from _urls("Collections", list(metainfo.similar.collections))


def _versions(metainfo: "Metainfo") -> Iterator[tuple[str, str]]:
    """Yield the version of a torrent, unless it is 1, and the info-hash of each."""
    if metainfo.v2 is None:
        yield "Info-hash", metainfo.info_hash.hex()
        return
    yield "Version", "hybrid (v1 and v2)" if metainfo.is_hybrid else "v2"
    if metainfo.info_hash_v1 is not None:
        yield "Info-hash v1", metainfo.info_hash_v1.hex()
    yield "Info-hash v2", metainfo.v2.info_hash.hex()


def _layers(metainfo: "Metainfo") -> str:
    """Return whether the hashes of pieces are in the .torrent of v2; "" where it needs none."""
    part = metainfo.v2
    if part is None:
        return ""
    states = [part.has_layer(index) for index in range(len(metainfo.files))]
    needed, missing = len(states) - states.count(None), states.count(False)
    if not needed:
        return ""
    return f"missing for {missing:,} of {needed:,} files" if missing else "complete"


def _created(metainfo: "Metainfo") -> Iterator[str]:
    time_s = metainfo.creation_time_s
    if time_s is not None and 0 <= time_s <= _MAX_EPOCH_S:
        yield f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if metainfo.created_by:
        yield f"by {metainfo.created_by}"


def _urls(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    for index, value in enumerate(values):
        yield ("" if index else name), value


def _listed(metainfo: "Metainfo") -> Iterator[tuple[int, "FileEntry"]]:
    """Yield the files with their numbers from 1; padding has a number and is not shown."""
    for number, entry in enumerate(metainfo.files, start=1):
        if not entry.is_pad:
            yield number, entry


_LAYER_STATES: Final = {True: "present", False: "missing", None: "not_needed"}


def _file_record(number: int, entry: "FileEntry", metainfo: "Metainfo") -> dict[str, object]:
    target, part = entry.symlink_target, metainfo.v2
    root = part.root(number - 1) if part else None
    return {
        "index": number,
        "path": "/".join(entry.path),
        "length_bytes": entry.length_bytes,
        "executable": entry.is_executable,
        "hidden": entry.is_hidden,
        "symlink_target": None if target is None else "/".join(target),
        "pieces_root": root.hex() if root else None,
        "piece_layers": _LAYER_STATES[part.has_layer(number - 1)] if part else None,
    }
