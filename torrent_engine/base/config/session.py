"""Configuration of one torrent."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torrent_engine.base.checks import Checked, PeerPort, Priority
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.base.storage import StorageFactory


@dataclass(frozen=True, slots=True, repr=False)
class SessionConfig(Checked):
    """Configuration of one torrent."""

    sequential: bool = False
    """Download pieces in order instead of rarest first."""
    sequential_from: int = 0
    """Index of the piece at which sequential mode begins; those before it come last."""
    first_last_first: bool = False
    """Download the first and last pieces of each file before others, for previews."""
    super_seeding: bool = False
    """Super-seed a complete torrent (BEP 16) until another seed is seen."""
    file_priorities: tuple[Priority, ...] | None = None
    """Priority of each file, from 0 (skip) to 7. None: 4 for all files."""
    renamed_files: tuple[tuple[int, str], ...] = ()
    """(file index, path below the save path) of files with another name than in the torrent."""
    seed_ratio: float | None = None
    """Stop seeding at this ratio of uploaded to downloaded bytes. 0: stop at once."""
    seed_time_s: float | None = None
    """Stop seeding after this time. 0: stop at once."""
    seed_idle_s: float | None = None
    """Stop seeding after this time without an upload. 0: stop at once.

    For :attr:`seed_ratio`, :attr:`seed_time_s` and this: None is the rule of
    :attr:`SharedConfig.seeding`, infinity is no rule at all.
    """
    max_download_bytes_per_s: int = 0
    """Download rate of the torrent; 0 is unlimited."""
    max_upload_bytes_per_s: int = 0
    """Upload rate of the torrent; 0 is unlimited."""
    max_peer_download_bytes_per_s: int = 0
    """Download rate of each peer, web seeds excepted; 0 is unlimited."""
    max_peer_upload_bytes_per_s: int = 0
    """Upload rate of each peer; 0 is unlimited."""
    bandwidth_group: str = ""
    """Name of a group of torrents that share limits (``TorrentManager.set_bandwidth_group``)."""
    honors_session_limits: bool = True
    """Whether the limits over all torrents, and those of the group, are for this one too."""
    max_connections: int = 0
    """Peer connections; 0: :attr:`PoolConfig.max_connections_per_torrent`."""
    use_resume: bool = True
    """Use the resume database; if not, all existing files are hashed."""
    check_only: bool = False
    """Hash the existing files, then stop."""
    overwrite: bool = False
    """Write to existing files of which no piece matches, and truncate files that are too long. If
    not, that is a ForeignFileError. It ends when the download is complete: what takes the place of
    a file after that is not written to."""
    incomplete_dir: str | PathLike[str] | None = None
    """Folder for the files until all wanted files are complete; then they are moved to the save
    path. None: files are created in the save path."""
    incomplete_suffix: str = ""
    """Suffix of file names, such as ".part", until all wanted files are complete. There is none
    where a name would be that of another file of the torrent, or too long."""
    fetch_missing: bool = False
    """Download files again that had data and were deleted. If not, that is a MissingFilesError, and
    ``Session.resume()`` downloads them."""
    allow_hidden: bool = False
    """Allow names that begin with a dot directly in the home folder. If not, that is a
    HiddenNameError."""
    follow_links: bool = False
    """Write through symbolic links inside the torrent's folder, too. Existing links are always read
    through, and a link at the top of the save path is always written through."""
    paused: bool = False
    """Start the torrent paused."""
    peers: tuple[tuple[str, PeerPort], ...] = ()
    """(host, port) of peers to dial at once."""
    metadata_only: bool = False
    """For a magnet link: stop, with reason "metadata", when the metadata is complete."""
    magnet_priorities: tuple[tuple[int | None, Priority], ...] = ()
    """For a magnet link: (file index, priority) from which :attr:`file_priorities` is made when the
    metadata arrives; the index None stands for all other files. Unlike the functions below it is
    kept over a restart; an index that the torrent does not have is ignored."""
    file_priorities_of: Callable[[Any], tuple[int, ...] | None] | None = None
    """For a magnet link: called once with the Metainfo, returns :attr:`file_priorities`."""
    renamed_files_of: Callable[[Any], tuple[tuple[int, str], ...]] | None = None
    """For a magnet link: called once with the Metainfo, returns :attr:`renamed_files`."""
    storage: StorageFactory | None = None
    """Returns the storage of the torrent, such as :class:`~torrent_engine.MemoryStorage`. None:
    files below the save path. A torrent with a storage of its own cannot have
    :attr:`incomplete_dir` or :attr:`incomplete_suffix`, and a manager does not restore it after a
    restart: add it again."""
    owner: OwnerTie | None = None
    """Owner of the download; it is cancelled once the owner has a newer generation."""

    def check_together(self) -> None:
        """Raise ConfigError for an invalid suffix, or one that the storage does not support."""
        if self.storage is not None and (self.incomplete_dir or self.incomplete_suffix):
            message = "SessionConfig.storage: cannot be used with incomplete_dir or _suffix"
            raise ConfigError(message)
        suffix = self.incomplete_suffix
        if suffix and (not suffix.isprintable() or suffix in {".", ".."} or "/" in suffix):
            message = f"SessionConfig.incomplete_suffix: {suffix!r} cannot end a file's name"
            raise ConfigError(message)
