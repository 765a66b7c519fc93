"""The division of the file descriptors of a process among files, links and the rest.

Files and the database come first: one connection fewer costs speed, a file that cannot be opened
ends the download (row F9).
"""

from typing import Final

PER_FILE: Final = 2  # the file, and its memory mapping while seeding
OTHERS: Final = 8  # ours: name lookups, a database backup, folders while opening a file
BASE: Final = 24  # measured: an idle process with one torrent, DHT and trackers included
PER_TORRENT: Final = 3  # while it is active: its folder, lock and journal
TORRENTS: Final = 400  # ours: active torrents that do not yet reduce the number of links
RUNS_SHARE_PERCENT: Final = 50  # ours: of the unreserved ones, for torrents beyond the first
MIN_RESERVED: Final = 16
MAX_RESERVED: Final = OTHERS + 44 * PER_FILE  # forty open files, and a few of starting torrents
MIN_FILES: Final = 4
MIN_LINKS: Final = 4
MIN_CLIENTS: Final = 8
CLIENTS_SHARE: Final = 8  # ours: one part in this many is for clients of the daemon


def reserved_descriptors(limit: int) -> int:
    """Return how many of the process's descriptors are reserved for files and the rest."""
    return min(max(limit // 4, MIN_RESERVED), MAX_RESERVED)


def files_within(limit: int, wanted: int) -> int:
    """Return how many files of torrents may be open at once."""
    return min(wanted, max((reserved_descriptors(limit) - OTHERS) // PER_FILE, MIN_FILES))


def links_within(limit: int, wanted: int, torrents: int = 1) -> int:
    """Return how many peer connections may exist while ``torrents`` torrents are active.

    ``wanted`` 0 means as many as fit.
    """
    most = max(_left(limit) - (torrents - 1) * PER_TORRENT, MIN_LINKS)
    return min(wanted, most) if wanted else most


def clients_within(limit: int, wanted: int) -> int:
    """Return how many connections of its clients a daemon may have at once."""
    return min(wanted, max(limit // CLIENTS_SHARE, MIN_CLIENTS))


def runs_within(limit: int) -> int:
    """Return how many torrents may be active at once; the others wait."""
    return 1 + max(_left(limit) * RUNS_SHARE_PERCENT // 100 // PER_TORRENT, 0)


def _left(limit: int) -> int:
    """Return what remains for links and for further torrents."""
    return limit - reserved_descriptors(limit) - BASE


def needed_descriptors(links: int, files: int) -> int:
    """Return the descriptor limit that allows so many links and files with many torrents."""
    reserved = max(OTHERS + files * PER_FILE, MAX_RESERVED)
    return BASE + links + reserved + TORRENTS * PER_TORRENT
