"""``torrent-engine show``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from torrent_engine.cli.options.common import SOURCE, FilledPath, common_options, settings_of
from torrent_engine.cli.options.groups import torrent_size_option
from torrent_engine.cli.output.exit_codes import ExitCode

if TYPE_CHECKING:
    from torrent_engine.codec.certificates import Certificate
    from torrent_engine.codec.metainfo import FileEntry, Metainfo
    from torrent_engine.codec.signatures import CheckedSignature

_MAX_EPOCH_S: Final = 253_402_300_799  # the end of the year 9999


@click.command("show")
@click.argument("torrents", nargs=-1, type=SOURCE, required=True, metavar="TORRENT...")
@click.option("--files", "what", flag_value="files", help="Print only the numbered files.")
@click.option("--magnet", "what", flag_value="magnet", help="Print only the magnet link.")
@click.option("--json", "what", flag_value="json", help="Print all of it as one line of JSON.")
@click.option(
    "--trusted",
    "trusted_file",
    type=FilledPath(path_type=Path),
    metavar="FILE",
    help="Trust the signatures of these certificates, and of those that they issued (BEP 35);"
    " without a trusted signature the exit code is 32.  [default: none]",
)
@torrent_size_option
@common_options
@click.pass_context
def command(
    context: click.Context,
    torrents: tuple[str, ...],
    what: str | None,
    trusted_file: Path | None,
    max_torrent_size: int,
) -> ExitCode:
    """Print what each TORRENT contains: a path, an http(s) URL, or - for standard input."""
    from torrent_engine.cli.tasks.certificates import certificates_of
    from torrent_engine.cli.tasks.each import for_each

    trusted = certificates_of(trusted_file)
    show = _Show(what or "overview", max_torrent_size, trusted, has_to_be_trusted=bool(trusted))
    return for_each(torrents, show.show, debug=settings_of(context).debug)


@dataclass(frozen=True, slots=True)
class _Show:
    """What is printed of each torrent."""

    what: str
    max_bytes: int
    trusted: "tuple[Certificate, ...]"
    has_to_be_trusted: bool

    def show(self, source: str) -> ExitCode:
        """Print one torrent."""
        from torrent_engine.cli.tasks import arguments

        metainfo = arguments.load_now(source, self.max_bytes)
        signatures = _signatures(metainfo, self.trusted)
        self._print(metainfo, signatures)
        if not self.has_to_be_trusted or any(each.is_trusted for each in signatures):
            return ExitCode.OK
        return ExitCode.CHECK_FAILED

    def _print(self, metainfo: "Metainfo", signatures: "Sequence[CheckedSignature]") -> None:
        from torrent_engine.cli.output import render
        from torrent_engine.cli.output.text import safe
        from torrent_engine.codec.magnet import Magnet

        if self.what == "json":
            render.print_json(as_record(metainfo, signatures))
        elif self.what == "magnet":
            render.print_line(safe(str(Magnet.of(metainfo))))
        elif self.what == "files":
            render.print_lines([safe(line) for line in file_lines(metainfo)])
        else:
            for field, value in overview_fields(metainfo, signatures):
                render.print_wrapped(safe(value), first=field, indent=" " * len(field))


def _signatures(
    metainfo: "Metainfo", trusted: "Sequence[Certificate]"
) -> "tuple[CheckedSignature, ...]":
    if not metainfo.signatures:
        return ()
    import time

    from torrent_engine.codec.signatures import check_signatures

    return check_signatures(metainfo, trusted, now_s=time.time())


def as_record(
    metainfo: "Metainfo", signatures: "Sequence[CheckedSignature]" = ()
) -> dict[str, object]:
    """Return all of a torrent that a script may want."""
    from torrent_engine.cli.output.signatures import signature_record
    from torrent_engine.codec.magnet import Magnet

    return {
        "name": metainfo.name,
        "info_hash": metainfo.info_hash.hex(),
        "info_hash_v1": metainfo.info_hash_v1.hex() if metainfo.info_hash_v1 else None,
        "info_hash_v2": metainfo.info_hash_v2.hex() if metainfo.info_hash_v2 else None,
        "meta_version": 2 if metainfo.v2 else 1,
        "total_bytes": metainfo.total_bytes,
        "content_bytes": metainfo.content_bytes,
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
        "update_url": metainfo.update_url,
        "originator_sha256": sha256(metainfo.originator).hexdigest()
        if metainfo.originator
        else None,
        "signatures": [signature_record(each) for each in signatures],
        "files": [_file_record(number, entry, metainfo) for number, entry in _listed(metainfo)],
    }


def overview_fields(
    metainfo: "Metainfo", signatures: "Sequence[CheckedSignature]" = ()
) -> list[tuple[str, str]]:
    """Return ``field: `` and value for each line, in columns."""
    from torrent_engine.cli.output.signatures import signature_lines

    fields = [*_fields(metainfo), *_lines("Signatures", signature_lines(signatures))]
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
    total, piece_bytes = metainfo.content_bytes, metainfo.geometry.piece_bytes
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
    yield from _lines("Trackers", [f"{', '.join(tier)}" for tier in metainfo.tiers])
    yield from _lines("Web seeds", [*metainfo.web_seeds, *metainfo.http_seeds])
    if metainfo.update_url:
        yield "Feed", metainfo.update_url
    if metainfo.originator:
        yield "Originator", _originator(metainfo.originator)
    yield from _lines("Nodes", [str(node) for node in metainfo.nodes])
    yield from _lines("Similar", [each.hex() for each in metainfo.similar.info_hashes])
    yield from _lines("Collections", list(metainfo.similar.collections))


def _originator(der: bytes) -> str:
    """Return whose signature newer versions need (BEP 39)."""
    from torrent_engine.base.errors import SignatureError
    from torrent_engine.codec.certificates import Certificate

    try:
        certificate = Certificate(der)
    except SignatureError as error:
        return str(error)
    return f"{certificate.name or 'without a name'} (certificate {certificate.fingerprint})"


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


def _lines(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
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
