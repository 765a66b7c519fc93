"""Which torrents of a manager have files of which content, by the roots of their hash trees.

They are read from the .torrents of the state folder, each once, so that torrents that do not run
need not be in memory.
Source: BEP 52 (``pieces root``).
"""

import re
from collections.abc import Iterable
from threading import Lock
from typing import Final

from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.files import TorrentCopies

MAX_ROOTS: Final = 100_000  # ours: about 25 MiB; files beyond are not found
_ROOT: Final = re.compile(rb"11:pieces root32:(.{32})", re.DOTALL)


class KnownRoots:
    """The roots of the torrents of a manager; what looks like one may be none."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._read: set[InfoHash] | None = None
        """The torrents that were read; None: there was no reason to yet."""
        self._torrents: dict[bytes, tuple[InfoHash, ...]] = {}
        self._noted: set[bytes] = set()

    def note(self, roots: Iterable[bytes]) -> None:
        """Take the files of a torrent that runs or did; it is read when that is needed."""
        if len(self._noted) < MAX_ROOTS:
            self._noted.update(roots)

    def may_have(self, roots: Iterable[bytes]) -> bool:
        """Return whether a torrent may have one of these, as far as is known at once."""
        known, noted = self._torrents, self._noted
        return self._read is None or any(root in known or root in noted for root in roots)

    def torrents_with(self, roots: Iterable[bytes], copies: TorrentCopies) -> list[InfoHash]:
        """Return the torrents of the manager that seem to have one of these; blocking."""
        with self._lock:
            present = copies.sessions()
            self._read = set() if self._read is None else self._read
            for info_hash in present - self._read:
                self._read.add(info_hash)
                self._note(info_hash, copies.unproven_bytes(info_hash))
            found = {each for root in roots for each in self._torrents.get(root, ())}
        return sorted(found & present)

    def _note(self, info_hash: InfoHash, torrent: bytes) -> None:
        for root in dict.fromkeys(_ROOT.findall(torrent)):
            if root in self._torrents or len(self._torrents) < MAX_ROOTS:
                self._torrents[root] = (*self._torrents.get(root, ()), info_hash)
