"""Limits and intervals of reading a file that is not whole yet, and of super-seeding (BEP 16).

Frozen dataclasses: make a changed copy with :func:`dataclasses.replace`.
"""

from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True)
class ReaderConfig:
    """What ``Session.open`` gives: how far ahead of its readers is fetched."""

    read_ahead_s: float = 10.0
    """Seconds of a reader's speed that are fetched before anything else."""
    min_read_ahead_bytes: int = 2 * _MIB
    """Fetched ahead of a reader whose speed is not known yet, and after a jump."""
    max_read_ahead_bytes: int = 64 * _MIB
    max_read_ahead_pieces: int = 256
    assumed_bytes_per_s: int = 512 * _KIB
    """The least speed that deadlines reckon with."""
    max_chunk_bytes: int = _MIB
    """What is read from the disk in one go."""


@dataclass(frozen=True, slots=True)
class SuperSeedConfig:
    """A seed that shows its pieces one by one, so that it sends each of them about once."""

    pieces_at_a_time: int = 2
    """Pieces that are shown to one peer and not yet seen at another; the second one is asked for
    while the first is on its way."""
    at_a_time_bytes: int = 512 * _KIB
    """The same for small pieces: as many as have so many bytes."""
    lonely_bytes: int = 8 * _MIB
    """The same while there is one peer only: it has to fetch everything from us anyway."""
    patience_s: float = 20.0
    """Time after which a peer that has its pieces gets others, although nobody else has these: the
    peers may not reach each other."""
