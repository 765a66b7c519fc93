"""What is kept of a .torrent in memory while the rest of it is not, and how it is written down."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final, TypeVar

from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.stats import TorrentFacts

MAX_TEXT_CHARS: Final = 4_096  # ours: some comments are whole pages
_MAX_SHARED: Final = 1_000
_MANY_FILES: Final = 10_000  # ours: among more the largest is not looked for
_T = TypeVar("_T")
_shared: Final[dict[Any, Any]] = {}


def facts_of(metainfo: Metainfo) -> TorrentFacts:
    """Return the facts of a torrent; what many torrents have alike they share."""
    return TorrentFacts(
        metainfo.name,
        metainfo.total_bytes,
        shared(metainfo.geometry.piece_bytes),
        metainfo.piece_count,
        len(metainfo.files),
        metainfo.is_private,
        (metainfo.comment or "")[:MAX_TEXT_CHARS],
        shared((metainfo.created_by or "")[:MAX_TEXT_CHARS]),
        metainfo.creation_time_s,
        shared((metainfo.source_tag or "")[:MAX_TEXT_CHARS]),
        shared(_largest_suffix(metainfo)),
        shared(metainfo.tiers),
        metainfo.web_seeds,
        metainfo.http_seeds,
        metainfo.info_hash_v1 or metainfo.v1_swarm,
        metainfo.info_hash_v2,
    )


def facts_values(facts: TorrentFacts) -> list[Any]:
    """Return facts as JSON has them."""
    return [
        facts.name,
        facts.total_bytes,
        facts.piece_bytes,
        facts.piece_count,
        facts.file_count,
        facts.is_private,
        facts.comment,
        facts.creator,
        facts.created_s,
        facts.source_tag,
        facts.largest_suffix,
        facts.tiers,
        facts.web_seeds,
        facts.http_seeds,
        (facts.info_hash_v1 or b"").hex(),
        (facts.info_hash_v2 or b"").hex(),
    ]


def read_facts(values: Sequence[Any]) -> TorrentFacts:
    """Return the facts of :func:`facts_values`; ValueError or TypeError if they are none."""
    name, total, piece, pieces, files, private, comment, creator, created, *rest = values
    source_tag, suffix, tiers, web_seeds, http_seeds, *hashes = rest
    first, second = hashes or ("", "")  # earlier versions have not saved them
    return TorrentFacts(
        str(name),
        int(total),
        shared(int(piece)),
        int(pieces),
        int(files),
        bool(private),
        str(comment),
        shared(str(creator)),
        None if created is None else int(created),
        shared(str(source_tag)),
        shared(str(suffix)),
        shared(tuple(tuple(map(str, tier)) for tier in tiers)),
        tuple(map(str, web_seeds)),
        tuple(map(str, http_seeds)),
        InfoHash.parse(first) if first else None,
        InfoHashV2.parse(second) if second else None,
    )


def shared(value: _T) -> _T:
    """Return the object that stands for all that are equal to this one."""
    if len(_shared) > _MAX_SHARED:
        _shared.clear()
    found: _T = _shared.setdefault((type(value), value), value)
    return found


def _largest_suffix(metainfo: Metainfo) -> str:
    lengths = metainfo.layout.lengths
    if len(lengths) > _MANY_FILES:
        return ""
    index = max(range(len(lengths)), key=lengths.__getitem__)
    suffix = PurePath(metainfo.files.path(index)[-1]).suffix
    return "" if metainfo.files.is_pad(index) else suffix.lower()
