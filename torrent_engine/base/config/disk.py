"""Configuration of files, hashing and the resume database."""

from dataclasses import dataclass

from torrent_engine.base.checks import Checked, Count, check_order
from torrent_engine.base.config.units import MIB


@dataclass(frozen=True, slots=True, repr=False)
class DiskConfig(Checked):
    """Files, write queue, hashing threads and resume database."""

    write_queue_high_bytes: int = 32 * MIB
    """Payload in the write queue above which nothing more is read from peers (back-pressure of a
    slow disk)."""
    write_queue_low_bytes: int = 16 * MIB
    """Payload in the write queue below which reading from peers resumes."""
    max_open_files: Count = 40
    """Files that are kept open; the least recently used one is closed for a new one."""
    sync_interval_s: float = 2.0
    """Longest time between two syncs of written files."""
    sync_bytes: int = 32 * MIB
    """Verified payload after which files are synced and its pieces are recorded as durable, if
    :attr:`sync_interval_s` has not passed before.

    After a power failure up to twice as much is hashed again, because more is written during the
    sync.
    """
    preallocate: bool = False
    """Allocate the disk space of files when they are created; if not, they are sparse."""
    write_threads: Count = 2
    """Threads of one torrent that hash received pieces and write them."""
    hash_threads: Count = 2
    """Threads that hash existing files, over all torrents."""
    disk_threads: Count = 4
    """Threads for all other work on files, over all torrents."""
    state_reserve_bytes: int = 64 * MIB
    """Size of a file that reserves disk space for the resume database; the space is released when
    the disk is full, so that state can still be saved. 0: no reserve."""
    partial_memory_bytes: int = 32 * MIB
    """Memory for blocks of unfinished pieces; beyond it they are written before their piece is
    verified."""
    retry_after_disk_full_s: float = 60.0
    """Time between two checks for free space while a torrent is in state ERROR because the disk is
    full."""

    local_data: tuple[str, ...] = ()
    """Folders in which files of torrents may be already, under any name. Files of the right size
    are read, and pieces that match are copied instead of downloaded (BEP 38). The files are never
    changed, moved or linked; those that were changed in the last seconds are left alone."""

    similar_torrents: bool = False
    """Whether files of other torrents are looked at that a torrent names as similar, or that are of
    one of its collections (BEP 38): those of the same state folder that are complete. They are
    used as :attr:`local_data` is. Peers may find out by this what other torrents are here."""

    def check_together(self) -> None:
        """Raise ConfigError if the low mark of the write queue is above the high one."""
        check_order(self, "write_queue_low_bytes", "write_queue_high_bytes")
