"""The comparison of the two parts of a hybrid torrent, which must describe the same payload.

Source: BEP 52 ("Upgrade path"), BEP 47; what is compared is what libtorrent compares: neither
attributes, nor the names of empty files and of pads. Where among the others an empty file stands
is: the hashes of v2 belong to the files by their order.
"""

from collections.abc import Sequence

from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec._file_list import FileList, FileTable
from torrent_engine.codec._file_tree import FileTree, shown_path
from torrent_engine.codec.geometry import FileLayout


def check_hybrid(files: FileList, is_multi_file: bool, tree: FileTree, piece_bytes: int) -> None:  # noqa: FBT001 - two facts of one part
    """Raise MetainfoError, naming file and property, where the v2 part is not the v1 part.

    ``files`` are those of v1.
    """
    table = tree.table
    layout = FileLayout(table.lengths, alignment=piece_bytes)
    ours = [index for index in range(len(files)) if not files.is_pad(index)]
    if len(ours) != len(table):
        raise _differs(f"number of files: {len(ours)} and {len(table)}")
    depth = 1 if is_multi_file else 0
    _check_files(files, ours, depth, table, layout)
    _check_pads(files, layout, piece_bytes)


def _check_files(
    files: FileList, ours: Sequence[int], depth: int, table: FileTable, layout: FileLayout
) -> None:
    """Compare what has bytes, file by file: path, length, place; what is empty has its place."""
    lengths = files.layout.lengths
    for second, first in enumerate(ours):
        if not (lengths[first] or table.lengths[second]):
            continue
        raw, other = files.raw_path(first)[depth:], table.raw_path(second)
        if raw != other and files.path(first)[depth:] != table.path(second):
            raise _differs(f"path: {shown_path(raw)} and {shown_path(other)}")
        if lengths[first] != table.lengths[second]:
            both = f"{lengths[first]} and {table.lengths[second]} bytes"
            raise _differs(f"length of {shown_path(raw)}: {both}")
        places = files.layout.offsets[first], layout.offsets[second]
        if places[0] != places[1]:
            raise _differs(f"place of {shown_path(raw)}: byte {places[0]} and {places[1]}")


def _check_pads(files: FileList, layout: FileLayout, piece_bytes: int) -> None:
    """Check that a pad follows each file that ends inside a piece; behind the last it may not."""
    total, end = files.layout.total_bytes, layout.end_bytes
    if total not in (end, -(-end // piece_bytes) * piece_bytes):
        raise _differs(f"total length: {total} and {end} bytes")
    gaps = sum(1 for length in layout.lengths if length % piece_bytes)
    if total == end and end % piece_bytes:
        gaps -= 1
    pads = sum(1 for index in range(len(files)) if files.is_pad(index))
    if pads != gaps:
        raise _differs(f"number of pad files: {pads}, not {gaps}")


def _differs(what: str) -> MetainfoError:
    return MetainfoError(f"the v1 and v2 parts of this hybrid torrent differ in the {what}")
