"""Where the bytes of each file of a torrent are stored."""

from enum import IntEnum

from torrent_engine.codec.metainfo import Metainfo


class Placement(IntEnum):
    """Where the bytes of a file are stored."""

    OWN_FILE = 0
    PART_FILE = 1
    NOWHERE = 2
    """Nowhere: pad files are zeros, links are not created."""
    FOUND_FILE = 3
    """In a skipped file that is on disk: hashed there, and written to the part-file."""


def first_placements(metainfo: Metainfo) -> list[Placement]:
    """Return the placement of each file as long as none is skipped."""
    placements = [Placement.OWN_FILE] * len(metainfo.files)
    for index in metainfo.files.unstored():
        placements[index] = Placement.NOWHERE
    return placements
