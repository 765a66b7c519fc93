"""The files and pieces of a torrent, as its fields."""

import base64
import mimetypes
from collections.abc import Sequence
from typing import Final

from torrent_engine.daemon.engine_port.facts import FileFacts
from torrent_engine.daemon.transmission.dialect import Dialect
from torrent_engine.daemon.transmission.names import TORRENT
from torrent_engine.daemon.transmission.views import TorrentView

NORMAL_PRIORITY: Final = 4
LOW_PRIORITY: Final = 1
HIGH_PRIORITY: Final = 7
UNKNOWN_TYPE: Final = "application/octet-stream"


def priority_of(facts: FileFacts) -> int:
    """Return -1, 0 or 1; 0 for a file that is not wanted."""
    if facts.priority == 0:
        return 0
    return (facts.priority > NORMAL_PRIORITY) - (facts.priority < NORMAL_PRIORITY)


def wanted(view: TorrentView) -> list[bool] | list[int]:
    """Return which files are wanted; the older dialect has numbers for it."""
    found = [each.priority > 0 for each in view.details.files]
    return found if view.dialect is Dialect.JSON_RPC else list(map(int, found))


def file_stats(view: TorrentView) -> list[dict[str, object]]:
    """Return what changes of each file."""
    completed = TORRENT["bytes_completed"] if view.dialect is Dialect.LEGACY else "bytes_completed"
    return [
        {
            completed: each.completed_bytes,
            "priority": priority_of(each),
            "wanted": each.priority > 0,
        }
        for each in view.details.files
    ]


def files(view: TorrentView) -> list[dict[str, object]]:
    """Return each file."""
    completed = TORRENT["bytes_completed"] if view.dialect is Dialect.LEGACY else "bytes_completed"
    return [
        {
            "begin_piece": each.first_piece,
            completed: each.completed_bytes,
            "end_piece": each.end_piece,
            "length": each.size_bytes,
            "name": each.path,
        }
        for each in view.details.files
    ]


def primary_mime_type(view: TorrentView) -> str:
    """Return the type that most bytes of the files have, as far as their names tell."""
    sizes: dict[str, int] = {}
    for each in view.details.files:
        kind = mimetypes.guess_type(each.path)[0] or UNKNOWN_TYPE
        sizes[kind] = sizes.get(kind, 0) + each.size_bytes
    return max(sizes, key=lambda kind: sizes[kind], default=UNKNOWN_TYPE)


def pieces(view: TorrentView) -> str:
    """Return the verified pieces as a bitfield in base64."""
    return base64.b64encode(view.details.pieces).decode()


def availability(view: TorrentView) -> list[int]:
    """Return for each piece how many connected peers have it; -1 for those that are here."""
    count, have = view.row.about.piece_count, view.have
    if "0" not in have:
        return [-1] * count
    counts = view.details.availability or [0] * count
    return [-1 if here == "1" else peers for here, peers in zip(have, counts, strict=False)]


def desired_available(view: TorrentView) -> int:
    """Return how many bytes are wanted, not here, and to be had from peers or web seeds."""
    row = view.row
    if row.left_bytes == 0 or not view.is_active:
        return 0
    if row.rates.seeds or row.rates.web_seeds_sending:
        return row.left_bytes
    if not view.details.availability:
        return 0
    return min(sum(_missing_bytes(view)), row.left_bytes)


def _missing_bytes(view: TorrentView) -> Sequence[int]:
    about = view.row.about
    wanted_pieces = {
        piece
        for each in view.details.files
        if each.priority > 0
        for piece in range(each.first_piece, each.end_piece)
    }
    available = view.details.availability
    return [
        min(about.piece_bytes, about.total_bytes - piece * about.piece_bytes)
        for piece in wanted_pieces
        if piece < len(available) and available[piece] and view.have[piece] == "0"
    ]
