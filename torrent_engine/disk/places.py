"""Where the bytes of each file of a torrent are kept."""

from enum import IntEnum

from torrent_engine.codec.metainfo import Metainfo


class Place(IntEnum):
    """Where the bytes of one file are kept."""

    FILE = 0
    PART_FILE = 1
    NOWHERE = 2
    """Pads are zeros, links are not made."""
    FOUND = 3
    """In a skipped file that is on disk: hashed there, and written to the part-file."""


def first_places(metainfo: Metainfo) -> list[Place]:
    """Return the place of each file as long as none is skipped."""
    places = [Place.FILE] * len(metainfo.files)
    for index in metainfo.files.unstored():
        places[index] = Place.NOWHERE
    return places
