"""Which pieces the peers of one run have, for those who ask."""

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.runs.parts import RunParts
from torrent_engine.engine.stats import SwarmAvailability


def swarm_availability(parts: RunParts) -> SwarmAvailability:
    """Return which pieces the connected peers have; a few passes in C."""
    torrent = parts.torrent
    known, count = torrent.picker.availability, torrent.metainfo.piece_count
    return SwarmAvailability(
        known.counts(count),
        known.distributed_copies(count, torrent.table.have.as_int()),
        _desired_bytes(parts),
    )


def _desired_bytes(parts: RunParts) -> int:
    """Return how much is wanted and missing that a peer or web seed has."""
    torrent = parts.torrent
    picker, geometry = torrent.picker, torrent.metainfo.geometry
    bits = picker.lacking
    if not (picker.availability.seeds or parts.transfer.web_seeds.is_running):
        bits ^= picker.availability.missing_of_leeches(bits)
    short_bytes = geometry.missing_bytes(Bitfield.from_int(bits, geometry.piece_count).flags())
    here = sum(
        partial.block_count - partial.left
        for piece, partial in picker.partials.items()
        if bits >> piece & 1
    )
    return max(bits.bit_count() * geometry.piece_bytes - short_bytes - here * BLOCK_BYTES, 0)
