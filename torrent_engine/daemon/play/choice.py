"""What is asked for, which file of a torrent that is, and what a player is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torrent_engine.codec.metainfo import FileEntry, Metainfo
from torrent_engine.daemon.http.sockets import ListenAddress
from torrent_engine.daemon.stream.media_types import is_playable
from torrent_engine.service.file_selection import selected_files


@dataclass(frozen=True, slots=True)
class PlayRequest:
    """What a user wants to play."""

    source: str
    """A .torrent, its URL, a magnet link, -, or what names a torrent of the daemon."""
    is_path: bool = False
    """Whether there is a file of that name."""
    stdin: bytes = b""
    """The .torrent of ``-``."""
    file: str = ""
    """Its number from 1, or a pattern; empty: the largest one that is played."""
    keep: Path | None = None
    """The folder in which the files stay, absolute; None: they are removed at the end."""
    peers: Sequence[ListenAddress] = ()
    """Peers that are tried at once."""
    timeout_s: float = 0.0
    """Limit for the metadata, and again for the first bytes; 0: none."""


@dataclass(frozen=True, slots=True)
class PlayableFile:
    """One file of a torrent."""

    index: int
    """Its number in the torrent, from 0."""
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PlayStream:
    """A file, and where a player finds it."""

    info_hash: str
    name: str
    """Of the torrent."""
    file: PlayableFile
    url: str

    def to_json(self) -> dict[str, object]:
        """Return it as it is printed."""
        return {
            "type": "stream.ready",
            "info_hash": self.info_hash,
            "name": self.name,
            "file": self.file.path,
            "number": self.file.index + 1,
            "size_bytes": self.file.size_bytes,
            "url": self.url,
        }


def chosen_file(metainfo: Metainfo, wanted: str = "") -> PlayableFile:
    """Return the largest playable file, or the one that is ``wanted``: a number from 1, a pattern.

    Of several that a pattern meets it is the largest playable one. Raises ConfigError if it meets
    none, and FileNotFoundError if there is nothing that players play.
    """
    files = metainfo.files
    if wanted:
        indices = selected_files(files, [wanted], "--file")
    else:
        indices = {index for index in range(len(files)) if not files.is_pad(index)}
    found = [_file(files[index], index) for index in sorted(indices)]
    playable = [each for each in found if is_playable(each.path)]
    if not playable and (not wanted or len(found) > 1):
        count = "its file" if len(found) == 1 else f"{len(found)} files"
        reason = f"no video or audio among {count}; --file NUMBER takes any"
        raise FileNotFoundError(f"{metainfo.name}: {reason}")
    return max(playable or found, key=lambda each: each.size_bytes)


def _file(entry: FileEntry, index: int) -> PlayableFile:
    return PlayableFile(index, "/".join(entry.path), entry.length_bytes)
