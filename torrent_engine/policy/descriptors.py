"""How the descriptors that a process may open are shared out among files, links and the rest.

Files and the database come first: a link that is not made costs speed, a file that cannot be opened
costs the download (row F9).
"""

from typing import Final

PER_FILE: Final = 2  # the file, and the mapping of it that a seed sends from
OTHERS: Final = 8  # ours: a look-up of a name, a copy of the database, folders on the way to a file
BASE: Final = 24  # measured: an idle process with one torrent, DHT and trackers included
PER_TORRENT: Final = 3  # while it runs: its folder, its lock, its journal
TORRENTS: Final = 400  # ours: so many may run at once before links become fewer
MIN_RESERVED: Final = 16
MAX_RESERVED: Final = OTHERS + 44 * PER_FILE  # forty open files, and some of torrents that begin
MIN_FILES: Final = 4
MIN_LINKS: Final = 4


def reserved_descriptors(limit: int) -> int:
    """Return how many descriptors no link may take, of those that a process may have."""
    return min(max(limit // 4, MIN_RESERVED), MAX_RESERVED)


def files_within(limit: int, wanted: int) -> int:
    """Return how many files of torrents may be open at once."""
    return min(wanted, max((reserved_descriptors(limit) - OTHERS) // PER_FILE, MIN_FILES))


def links_within(limit: int, wanted: int) -> int:
    """Return how many connections of peers there may be; 0 of those wanted is as many as fit."""
    most = max(limit - reserved_descriptors(limit) - BASE, MIN_LINKS)
    return min(wanted, most) if wanted else most


def needed_descriptors(links: int, files: int) -> int:
    """Return the limit under which so many links and files are to be had, by many torrents."""
    reserved = max(OTHERS + files * PER_FILE, MAX_RESERVED)
    return BASE + links + reserved + TORRENTS * PER_TORRENT
